"""Gradients before the optimiser takes them: norms, accumulation, clipping, and zeros where there is no update."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from mindvideo.training.optimizer import zeros_for

CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_

# Per-parameter work goes through HyperMap: a Python loop that builds a tuple costs the compiler tens of seconds.
_square_by_product = ops.MultitypeFuncGraph("square_by_product")
_square_by_sum = ops.MultitypeFuncGraph("square_by_sum")
_rescale = ops.MultitypeFuncGraph("rescale")
_accumulate = ops.MultitypeFuncGraph("accumulate")
_clear = ops.MultitypeFuncGraph("clear")


@_square_by_product.register("Tensor")
def _square_by_product_of(gradient: ms.Tensor) -> ms.Tensor:
    row = gradient.reshape(1, -1)
    return ops.matmul(row, row.reshape(-1, 1)).reshape(1)


@_square_by_sum.register("Tensor")
def _square_by_sum_of(gradient: ms.Tensor) -> ms.Tensor:
    return ops.square(gradient).sum().reshape(1)


@_rescale.register("Tensor", "Tensor", "Tensor")
def _rescale_or_zero(finite: ms.Tensor, factor: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    # A condition of the gradient's own shape: with one number MindSpore's kernel on CPU keeps 24 bytes for every number
    # of the gradient, see docs/performance.md.
    finite = ops.broadcast_to(finite, gradient.shape)
    return ops.masked_fill(gradient * factor, ops.logical_not(finite), 0.0)


@_accumulate.register("Tensor", "Tensor", "Tensor")
def _accumulate_share(share: ms.Tensor, summed: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return summed + gradient * share


@_clear.register("Tensor", "Tensor", "Tensor")
def _keep_or_clear(keep: ms.Tensor, summed: ms.Tensor, mean: ms.Tensor) -> ms.Tensor:
    return ops.assign(summed, mean * keep)


class SquaredNorms(nn.Cell):
    """Squared L2 norm of each gradient, float32 [n]."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        # A row times itself is 9 times faster than a reduction on CPU, and as precise; other devices may multiply in
        # a shorter format.
        self.square = _square_by_product if ms.get_context("device_target") == "CPU" else _square_by_sum
        self.map = ops.HyperMap()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        return ops.concat(self.map(self.square, gradients))


class PreparedGradients(nn.Cell):
    """Gradients of one step -> those of an update of ``weights``.

    ``clip_norm``: what the norm of all of them is brought down to; 0 leaves it. With ``accumulate`` of K the gradients
    of K steps are averaged into one update. ``owner`` tells the sums of one optimiser from those of another.
    """

    def __init__(
        self, weights: Sequence[Parameter], *, clip_norm: float = 0.0, accumulate: int = 1, owner: str = ""
    ) -> None:
        super().__init__(auto_prefix=False)
        self.clip_norm, self.accumulate = clip_norm, accumulate
        self.squared_norms = SquaredNorms()
        self.map = ops.HyperMap()
        if accumulate > 1:
            self.sums = zeros_for(weights, f"{owner}accumulated")
            self.summed = Parameter(Tensor(0.0, ms.float32), name=f"{owner}accumulated.steps", requires_grad=False)

    def construct(
        self, gradients: tuple[ms.Tensor, ...], squares: ms.Tensor, unscale: ms.Tensor, finite: ms.Tensor
    ) -> tuple[tuple[ms.Tensor, ...], ms.Tensor, ms.Tensor]:
        """``squares`` float32 [n], the squared norms; ``unscale`` [] multiplies; ``finite`` bool [].

        The gradients of this update, clipped; their norm before that; and whether there is an update (1.0, 0.0).
        """
        apply = finite.astype(ms.float32)
        if self.accumulate == 1:
            norm = ops.sqrt(squares.sum())
            return self.map(ops.partial(_rescale, finite, unscale * self.clip(norm)), gradients), norm, apply
        gradients = self.map(ops.partial(_rescale, finite, unscale), gradients)
        gradients, apply = self.accumulated(gradients, apply)
        norm = ops.sqrt(self.squared_norms(gradients).sum())
        return self.map(ops.partial(_rescale, finite, self.clip(norm)), gradients), norm, apply

    def clip(self, norm: ms.Tensor) -> ms.Tensor:
        """The factor that brings a gradient of this norm down to ``clip_norm``."""
        one = Tensor(1.0, ms.float32)
        return ops.minimum(self.clip_norm / (norm + CLIP_EPS), one) if self.clip_norm > 0 else one

    def accumulated(
        self, gradients: tuple[ms.Tensor, ...], apply: ms.Tensor
    ) -> tuple[tuple[ms.Tensor, ...], ms.Tensor]:
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
