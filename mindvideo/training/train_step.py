"""One training step as one graph: forward, matching, losses, gradients, clipping, optimiser, average, loss scale."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindvideo.ops.slices import at, part
from mindvideo.processes import give_back_memory
from mindvideo.training.distributed import MeanOverRanks, gradient_reducer
from mindvideo.training.ema import WeightAverage
from mindvideo.training.gradients import PreparedGradients
from mindvideo.training.loss_scale import LossScale, scaled
from mindvideo.training.opponent import Opponent
from mindvideo.training.optimizer import GroupedOptimizer
from mindvideo.training.recomputed_gradients import RecomputedGradients
from mindvideo.training.running_statistics import running_statistics

# These stand before the loss terms in a step's summary.
SUMMARY = ("total", "gradient_norm", "loss_scale", "learning_rate_factor", "finite", "stop_requests")


class ScaledLoss(nn.Cell):
    """The training network with its loss multiplied by the loss scale, which is what gets differentiated.

    ``plays``: there is an opponent, so what it learns from comes out as well.
    """

    def __init__(self, training: nn.Cell, *, plays: bool) -> None:
        super().__init__(auto_prefix=False)
        self.training_network, self.plays = training, plays

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
        scale: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, tuple[ms.Tensor, ...]]:
        if self.plays:
            total, terms, material = self.training_network.play(images, sizes, labels, boxes, masks, present, exists)
        else:
            total, terms = self.training_network(images, sizes, labels, boxes, masks, present, exists)
            material = ()
        return scaled(total, terms, scale), total, terms, material


_plus, _assign, _select, _depend = ops.Add(), ops.Assign(), ops.Select(), ops.Depend()


def _copy(statistic: ms.Tensor) -> ms.Tensor:
    return _plus(statistic, 0.0)


def _restore(finite: ms.Tensor, statistic: ms.Tensor, before: ms.Tensor) -> ms.Tensor:
    # ``finite`` is known when all gradients are: no pass over the network is still to come that could move it.
    return _assign(statistic, _select(finite, _depend(statistic, finite), before))


class TrainStep(nn.Cell):
    """The network that ``mindspore.train.Model`` calls with the columns of a ClipBatch.

    Returns the summary, float32 [len(SUMMARY) + terms], and the gradient norm of every parameter, float32 [n]. When
    the loss or a gradient is not finite, nothing is updated (parameters, moments, running statistics, average) and
    ``finite`` is 0. With ``accumulate`` of K the gradients of K steps are averaged into one update. ``factors`` float32
    [steps]: what the learning rates are multiplied by at each step of the run; [steps, 2] has a second column for the
    groups that start late. ``opponent``: the other player, where ``training`` has one; its values come after the terms.
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
        opponent: Opponent | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.weights = optimizer.parameters
        if recompute:
            self.differentiate = RecomputedGradients(training, self.weights)
        else:
            self.scaled_loss = ScaledLoss(training, plays=opponent is not None)
            self.differentiate = ops.value_and_grad(self.scaled_loss, None, self.weights, has_aux=True)
        self.factors = Tensor(factors, ms.float32)
        self.last_factor = len(factors) - 1
        self.prepare = PreparedGradients(self.weights, clip_norm=clip_norm, accumulate=accumulate)
        self.opponent = opponent
        self.average = average
        self.loss_scale = loss_scale or LossScale()
        self.reduce_gradients = gradient_reducer(self.weights)
        self.mean_over_ranks = MeanOverRanks()
        self.map = ops.HyperMap()
        self.statistics = ParameterTuple(running_statistics(training))
        self.iteration = Parameter(Tensor(0, ms.int32), name="iteration", requires_grad=False)
        self.stop_request = Parameter(Tensor(0.0, ms.float32), name="stop_request", requires_grad=False)

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
        clip_ids: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor]:  # noqa: ARG002
        scale = self.loss_scale.scale + 0.0
        before = self.read_statistics()
        (_, total, terms, material), gradients = self.differentiate(
            images, sizes, labels, boxes, masks, present, exists, ops.depend(scale, before)
        )
        gradients = self.reduce_gradients(gradients)
        squares = self.prepare.squared_norms(gradients) / ops.square(scale)
        losses = self.mean_over_ranks(ops.concat((total.reshape(1), self.stop_request.reshape(1), terms.reshape(-1))))
        finite = ops.logical_and(ops.isfinite(ops.sum(squares)), ops.isfinite(at(losses, 0, 0)))
        self.restore_statistics(before, finite)

        gradients, norm, apply = self.prepare(gradients, squares, 1.0 / scale, finite)
        factor = ops.gather(self.factors, ops.minimum(self.iteration, Tensor(self.last_factor, ms.int32)), 0)
        done = self.optimizer(gradients, factor, apply)
        shown_terms = part(losses, 0, 2)
        if self.opponent is not None:
            values, done = self.opponent(material, factor, finite, done)
            shown_terms = ops.concat((shown_terms, values))
        if self.average is not None:
            done = self.average(ops.depend(apply, done))
        done = self.loss_scale(ops.depend(finite, done))
        iteration = ops.depend(self.iteration + 1, (done, total))
        shown = at(factor, 0, 0) if factor.ndim else factor
        head = ops.stack((at(losses, 0, 0), norm, scale, shown, ops.cast(finite, ms.float32), at(losses, 0, 1)))
        summary = ops.depend(ops.concat((head, shown_terms)), ops.assign(self.iteration, iteration))
        return summary, ops.sqrt(squares)

    def compile(self, *columns: ms.Tensor, **options: Any) -> None:
        """As every cell, and then gives back the memory that compiling took: half a gigabyte with ``recompute``."""
        known = len(self.compile_cache)
        super().compile(*columns, **options)
        if len(self.compile_cache) > known:
            give_back_memory()

    def read_statistics(self) -> tuple[ms.Tensor, ...]:
        return self.map(_copy, self.statistics) if len(self.statistics) > 0 else ()

    def restore_statistics(self, before: tuple[ms.Tensor, ...], finite: ms.Tensor) -> None:
        """Undo what the forward pass of a step that is not finite did to the running statistics."""
        if len(self.statistics) > 0:
            self.map(ops.partial(_restore, finite), self.statistics, before)
