"""Gradients before the optimiser takes them: norms, accumulation, clipping, and zeros where there is no update."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from mindvideo.training.optimizer import zeros_for

CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_

# Per-parameter work goes through HyperMap, with primitives in functions that the compiler makes few nodes of, as in
# training/optimizer.py.
_reshape, _product, _square, _sum = ops.Reshape(), ops.MatMul(transpose_b=True), ops.Square(), ops.ReduceSum()
_times, _plus, _fill, _assign = ops.Mul(), ops.Add(), ops.MaskedFill(), ops.Assign()


def _square_by_product(gradient: ms.Tensor) -> ms.Tensor:
    """[1, 1]."""
    row = _reshape(gradient, (1, -1))
    return _product(row, row)


def _square_by_sum(gradient: ms.Tensor) -> ms.Tensor:
    """[1, 1]."""
    return _reshape(_sum(_square(gradient)), (1, 1))


def _rescale(infinite: ms.Tensor, factor: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    # A condition of the gradient's own shape: with one number MindSpore's kernel on CPU keeps 24 bytes for every number
    # of the gradient, see docs/performance.md.
    return _fill(_times(gradient, factor), ops.broadcast_to(infinite, gradient.shape), 0.0)


def _add_share(share: ms.Tensor, summed: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return _plus(summed, _times(gradient, share))


def _keep_or_clear(keep: ms.Tensor, summed: ms.Tensor, mean: ms.Tensor) -> ms.Tensor:
    return _assign(summed, _times(mean, keep))


class SquaredNorms(nn.Cell):
    """Squared L2 norm of each gradient, float32 [n]."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        # A row times itself is 9 times faster than a reduction on CPU, and as precise; other devices may multiply in
        # a shorter format.
        self.square = _square_by_product if ms.get_context("device_target") == "CPU" else _square_by_sum
        self.map = ops.HyperMap()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        return _reshape(ops.concat(self.map(self.square, gradients)), (-1,))


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
        apply = ops.cast(finite, ms.float32)
        if self.accumulate == 1:
            norm = ops.sqrt(ops.sum(squares))
            return self.rescaled(gradients, finite, unscale * self.clip(norm)), norm, apply
        gradients, apply = self.accumulated(self.rescaled(gradients, finite, unscale), apply)
        norm = ops.sqrt(ops.sum(self.squared_norms(gradients)))
        return self.rescaled(gradients, finite, self.clip(norm)), norm, apply

    def rescaled(self, gradients: tuple[ms.Tensor, ...], finite: ms.Tensor, factor: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """Each gradient times ``factor``, or zeros."""
        return self.map(ops.partial(_rescale, ops.logical_not(finite), factor), gradients)

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
        full = ops.cast(count >= self.accumulate, ms.float32)
        share = Tensor(1.0 / self.accumulate, ms.float32)
        means = self.map(ops.partial(_add_share, share), self.sums, gradients)
        self.map(ops.partial(_keep_or_clear, 1.0 - full), self.sums, means)
        ops.assign(self.summed, count * (1.0 - full))
        return means, full
