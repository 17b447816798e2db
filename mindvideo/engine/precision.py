"""Half precision where it pays: matrix products and convolutions of the network. Weights and losses stay float32."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from mindvideo.engine.loss_scale import LossScale
from mindvideo.errors import UserError

_TYPES = {"fp16": ms.float16, "bf16": ms.bfloat16}


def apply_precision(network: nn.Cell, precision: str) -> None:
    """Let the parts of ``network`` multiply in ``precision`` (fp32, fp16, bf16).

    Products and convolutions run in the half format; norms, softmax, exponentials and sums in float32; what is
    between takes the type of its inputs. Each part is set by itself, and the losses are not part of the network, so
    they compute in float32 whatever the network hands them: a training network casts its outputs before its losses.
    """
    if precision == "fp32":
        return
    if precision not in _TYPES:
        raise UserError(f"train.precision is {precision!r}; choose fp32, fp16 or bf16")
    device = ms.get_context("device_target")
    if precision == "bf16" and device == "CPU":
        raise UserError("train.precision=bf16: MindSpore has no bf16 products on CPU; choose fp16 or fp32")
    for part in callable_parts(network):
        ms.amp.auto_mixed_precision(part, "auto", _TYPES[precision])


def callable_parts(network: nn.Cell) -> list[nn.Cell]:
    """The direct parts of a network; of a list of parts, its members."""
    parts = []
    for part in network.name_cells().values():
        parts += callable_parts(part) if isinstance(part, nn.CellList) else [part]
    return parts


def loss_scale_for(precision: str, *, initial: float, patience: int) -> LossScale:
    """Only float16 needs scaling: bf16 has the range of float32."""
    if precision == "fp16":
        return LossScale(initial, dynamic=True, patience=patience)
    return LossScale()
