"""One training step as one graph: forward, matching, losses, gradients, clipping, optimiser, average, loss scale."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindvideo.training.distributed import MeanOverRanks, gradient_reducer
from mindvideo.training.ema import WeightAverage
from mindvideo.training.loss_scale import LossScale
from mindvideo.training.optimizer import GroupedOptimizer, zeros_for

# These stand before the loss terms in a step's summary.
SUMMARY = ("total", "gradient_norm", "loss_scale", "learning_rate_factor", "finite", "stop_requests")
CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_


class ScaledLoss(nn.Cell):
    """The training network with its loss multiplied by the loss scale, which is what gets differentiated."""

    def __init__(self, training: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.training_network = training

    def construct(self, images, sizes, labels, boxes, masks, present, exists, scale):
        total, terms = self.training_network(images, sizes, labels, boxes, masks, present, exists)
        if total.dtype != ms.float32 or terms.dtype != ms.float32:
            raise TypeError("losses have to be computed in float32: cast the network's outputs before them")
        return total * scale, total, terms


# Per-parameter work goes through HyperMap: a Python loop that builds a tuple costs the compiler tens of seconds.
_square_by_product = ops.MultitypeFuncGraph("square_by_product")
_square_by_sum = ops.MultitypeFuncGraph("square_by_sum")
_rescale = ops.MultitypeFuncGraph("rescale")
_accumulate = ops.MultitypeFuncGraph("accumulate")
_clear = ops.MultitypeFuncGraph("clear")
_copy = ops.MultitypeFuncGraph("copy")
_restore = ops.MultitypeFuncGraph("restore")


@_square_by_product.register("Tensor")
def _square_by_product_of(gradient):
    row = gradient.reshape(1, -1)
    return ops.matmul(row, row.reshape(-1, 1)).reshape(1)


@_square_by_sum.register("Tensor")
def _square_by_sum_of(gradient):
    return ops.square(gradient).sum().reshape(1)


@_rescale.register("Tensor", "Tensor", "Tensor")
def _rescale_or_zero(finite, factor, gradient):
    # A condition of the gradient's own shape: with one number MindSpore's kernel on CPU keeps 24 bytes for every number
    # of the gradient, see docs/performance.md.
    finite = ops.broadcast_to(finite, gradient.shape)
    return ops.masked_fill(gradient * factor, ops.logical_not(finite), 0.0)


@_accumulate.register("Tensor", "Tensor", "Tensor")
def _accumulate_share(share, summed, gradient):
    return summed + gradient * share


@_clear.register("Tensor", "Tensor", "Tensor")
def _keep_or_clear(keep, summed, mean):
    return ops.assign(summed, mean * keep)


@_copy.register("Tensor")
def _copy_of(statistic):
    return statistic + 0.0


@_restore.register("Tensor", "Tensor", "Tensor", "Tensor")
def _restore_unless_finite(finite, after, statistic, before):
    return ops.assign(statistic, ops.select(finite, ops.depend(statistic, after), before))


class SquaredNorms(nn.Cell):
    """Squared L2 norm of each gradient, float32 [n]."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        # A row times itself is 9 times faster than a reduction on CPU, and as precise; other devices may multiply in
        # a shorter format.
        self.square = _square_by_product if ms.get_context("device_target") == "CPU" else _square_by_sum
        self.map = ops.HyperMap()

    def construct(self, gradients):
        return ops.concat(self.map(self.square, gradients))


def running_statistics(network: nn.Cell) -> list[Parameter]:
    """Parameters that the forward pass itself moves: the untrained ones of a layer that also has trained ones."""
    found = []
    for _, cell in network.cells_and_names():
        own = list(cell.parameters_and_names(expand=False))
        if any(p.requires_grad for _, p in own):
            found += [p for _, p in own if not p.requires_grad]
    return found


class TrainStep(nn.Cell):
    """The network that ``mindspore.train.Model`` calls with the columns of a ClipBatch.

    Returns the summary, float32 [len(SUMMARY) + terms], and the gradient norm of every parameter, float32 [n]. When
    the loss or a gradient is not finite, nothing is updated (parameters, moments, running statistics, average) and
    ``finite`` is 0. With ``accumulate`` of K the gradients of K steps are averaged into one update. ``factors`` float32
    [steps]: what the learning rates are multiplied by at each step of the run; [steps, 2] has a second column for the
    groups that start late.
    """

    def __init__(
        self,
        *,
        training: nn.Cell,
        optimizer: GroupedOptimizer,
        factors: np.ndarray,
        clip_norm: float = 0.0,
        accumulate: int = 1,
        average: WeightAverage | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.weights = optimizer.parameters
        self.scaled_loss = ScaledLoss(training)
        self.differentiate = ops.value_and_grad(self.scaled_loss, None, self.weights, has_aux=True)
        self.factors = Tensor(factors, ms.float32)
        self.last_factor = len(factors) - 1
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.average = average
        self.loss_scale = loss_scale or LossScale()
        self.reduce_gradients = gradient_reducer(self.weights)
        self.mean_over_ranks = MeanOverRanks()
        self.squared_norms = SquaredNorms()
        self.map = ops.HyperMap()
        self.statistics = ParameterTuple(running_statistics(training))
        self.iteration = Parameter(Tensor(0, ms.int32), name="iteration", requires_grad=False)
        self.stop_request = Parameter(Tensor(0.0, ms.float32), name="stop_request", requires_grad=False)
        if accumulate > 1:
            self.sums = zeros_for(self.weights, "accumulated")
            self.summed = Parameter(Tensor(0.0, ms.float32), name="accumulated.steps", requires_grad=False)

    def construct(self, images, sizes, labels, boxes, masks, present, exists, clip_ids):  # noqa: ARG002
        scale = self.loss_scale.scale + 0.0
        before = self.read_statistics()
        (_, total, terms), gradients = self.differentiate(
            images, sizes, labels, boxes, masks, present, exists, ops.depend(scale, before)
        )
        gradients = self.reduce_gradients(gradients)
        squares = self.squared_norms(gradients) / ops.square(scale)
        losses = self.mean_over_ranks(ops.concat((total.reshape(1), self.stop_request.reshape(1), terms.reshape(-1))))
        finite = ops.logical_and(ops.isfinite(squares.sum()), ops.isfinite(losses[0]))
        self.restore_statistics(before, finite, total)

        gradients, norm, apply = self.prepared(gradients, squares, 1.0 / scale, finite)
        factor = self.factors[ops.minimum(self.iteration, Tensor(self.last_factor, ms.int32))]
        done = self.optimizer(gradients, factor, apply)
        if self.average is not None:
            done = self.average(ops.depend(apply, done))
        done = self.loss_scale(ops.depend(finite, done))
        iteration = ops.depend(self.iteration + 1, (done, total))
        shown = factor[0] if factor.ndim else factor
        head = ops.stack((losses[0], norm, scale, shown, finite.astype(ms.float32), losses[1]))
        summary = ops.depend(ops.concat((head, losses[2:])), ops.assign(self.iteration, iteration))
        return summary, ops.sqrt(squares)

    def prepared(self, gradients, squares, unscale, finite):
        """The gradients of this update, clipped; their norm before that; and whether there is an update (1.0, 0.0)."""
        apply = finite.astype(ms.float32)
        if self.accumulate == 1:
            norm = ops.sqrt(squares.sum())
            return self.map(ops.partial(_rescale, finite, unscale * self.clip(norm)), gradients), norm, apply
        gradients = self.map(ops.partial(_rescale, finite, unscale), gradients)
        gradients, apply = self.accumulated(gradients, apply)
        norm = ops.sqrt(self.squared_norms(gradients).sum())
        return self.map(ops.partial(_rescale, finite, self.clip(norm)), gradients), norm, apply

    def clip(self, norm):
        """The factor that brings a gradient of this norm down to ``clip_norm``."""
        one = Tensor(1.0, ms.float32)
        return ops.minimum(self.clip_norm / (norm + CLIP_EPS), one) if self.clip_norm > 0 else one

    def accumulated(self, gradients, apply):
        """The mean over the last ``accumulate`` finite steps and, at the last of them, apply = 1.

        A step that is not finite is left out and not counted.
        """
        count = self.summed + apply
        full = (count >= self.accumulate).astype(ms.float32)
        share = Tensor(1.0 / self.accumulate, ms.float32)
        means = self.map(ops.partial(_accumulate, share), self.sums, gradients)
        self.map(ops.partial(_clear, 1.0 - full), self.sums, means)
        ops.assign(self.summed, count * (1.0 - full))
        return means, full

    def read_statistics(self):
        return self.map(_copy, self.statistics) if len(self.statistics) > 0 else ()

    def restore_statistics(self, before, finite, after):
        """Undo what the forward pass of a step that is not finite did to the running statistics."""
        if len(self.statistics) > 0:
            self.map(ops.partial(_restore, finite, after), self.statistics, before)
