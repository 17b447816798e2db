"""A number that goes from one value to another over the first steps of a training."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import ops

from mindvideo.modules.layers.dropout import FollowsIteration


class Ramp(FollowsIteration):
    """``construct()`` gives float32 []: ``start`` before the first step, ``end`` from step ``steps`` on.

    In between it grows by the same factor at each step. It follows the counter of steps that a run's checkpoints hold,
    so that a resumed run goes on where it was; see :func:`mindvideo.modules.layers.dropout.seed_dropout`.
    """

    def __init__(self, *, start: float, end: float, steps: int) -> None:
        super().__init__()
        self.start, self.growth = float(start), math.log(end / start)
        self.steps = float(max(steps, 1))

    def construct(self) -> ms.Tensor:
        share = ops.minimum(ops.cast(self.iteration, ms.float32) / self.steps, ms.Tensor(1.0, ms.float32))
        return self.start * ops.exp(self.growth * share)
