"""Loss scaling for float16: small gradients are lifted out of the range where half precision rounds them to zero."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

SMALLEST_SCALE = 1.0


class LossScale(nn.Cell):
    """The factor on the loss. Dynamic: halved at an overflow, doubled after ``patience`` steps without one."""

    def __init__(self, initial: float = 1.0, *, dynamic: bool = False, patience: int = 2000) -> None:
        super().__init__(auto_prefix=False)
        self.scale = Parameter(Tensor(initial, ms.float32), name="loss_scale.scale", requires_grad=False)
        self.good_steps = Parameter(Tensor(0, ms.int32), name="loss_scale.good_steps", requires_grad=False)
        self.dynamic = dynamic
        self.patience = patience
        self.smallest = Tensor(SMALLEST_SCALE, ms.float32)

    def construct(self, finite: ms.Tensor) -> ms.Tensor:
        """finite bool []: whether the gradients at the present scale were. Returns the scale of the next step."""
        if not self.dynamic:
            return self.scale
        good_steps = ops.select(finite, self.good_steps + 1, ops.zeros_like(self.good_steps))
        grown = good_steps >= self.patience
        halved = ops.maximum(self.scale * 0.5, self.smallest)
        scale = ops.select(finite, ops.select(grown, self.scale * 2.0, self.scale), halved)
        good_steps = ops.select(grown, ops.zeros_like(good_steps), good_steps)
        good_steps = ops.assign(self.good_steps, good_steps)
        return ops.depend(ops.assign(self.scale, scale), good_steps)


def scaled(total: ms.Tensor, terms: ms.Tensor, scale: ms.Tensor) -> ms.Tensor:
    """The loss to be differentiated."""
    if total.dtype != ms.float32 or terms.dtype != ms.float32:
        raise TypeError("losses have to be computed in float32: cast the network's outputs before them")
    return total * scale


def loss_scale_for(precision: str, *, initial: float, patience: int) -> LossScale:
    """Only float16 needs scaling: bf16 has the range of float32."""
    if precision == "fp16":
        return LossScale(initial, dynamic=True, patience=patience)
    return LossScale()
