"""Half precision where it pays: dense layers and convolutions of the network. Everything else stays float32."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn, ops

from mindvideo.errors import UserError
from mindvideo.native_library import CHOICE_VARIABLE
from mindvideo.ops.backend import BUILD_COMMAND, backend, half_instructions

_TYPES = {"fp16": ms.float16, "bf16": ms.bfloat16}
_each = ops.HyperMap()
_whole = ops.MultitypeFuncGraph("whole")


@_whole.register("Tensor")
def _whole_tensor(value: ms.Tensor) -> ms.Tensor:
    return ops.cast(value, ms.float32) if value.dtype in (ms.float16, ms.bfloat16) else value


def class_in_half(layer_class: type) -> type:
    """The class with a ``construct`` that returns float32 whatever its products ran in."""

    class Half(layer_class):
        # MindSpore reads super() as "above the class of self", so this has to stand in the layer's very class.
        def construct(self, *inputs: Any, **options: Any) -> Any:
            return _each(_whole, super().construct(*inputs, **options))

    Half.__name__ = f"Half{layer_class.__name__}"
    return Half


def chosen_precision(given: str) -> str:
    """``auto`` is fp16 on Ascend, whose matrix unit takes no float32, and fp32 elsewhere."""
    if given != "auto":
        return given
    return "fp16" if ms.get_context("device_target") == "Ascend" else "fp32"


def apply_precision(network: nn.Cell, precision: str, *, for_training: bool) -> list[str]:
    """Let the parts of ``network`` multiply in ``precision`` (fp32, fp16, bf16); returns the names of these parts.

    Weights stay float32, and so does what a part hands on: norms, attention products, the accumulation of deformable
    operators and the losses compute in float32. Inside a part softmax, exponentials and sums do as well. On CPU bf16 is
    for inference, by the compiled library: see :func:`multiply_in_bfloat16`.
    """
    if precision == "fp32":
        return []
    if precision not in _TYPES:
        raise UserError(f"the precision is {precision!r}; choose auto, fp32, fp16 or bf16")
    if precision == "bf16" and ms.get_context("device_target") == "CPU":
        if for_training:
            raise UserError("train.precision=bf16: on CPU bf16 is for inference only; choose fp32")
        require_half_products()
        return multiply_in_bfloat16(network)
    parts = half_parts(network)
    for _, part in parts:
        part.__class__ = class_in_half(type(part))
        ms.amp.auto_mixed_precision(part, "auto", _TYPES[precision])
    return [name for name, _ in parts]


def multiply_in_bfloat16(network: nn.Cell) -> list[str]:
    """Let the compiled library round factors to bfloat16; sums and all that layers hand on stay float32.

    These are the layers with an attribute ``half_products``: linear layers, convolutions and attention.
    """
    layers = [(name, cell) for name, cell in network.cells_and_names() if hasattr(cell, "half_products")]
    for _, layer in layers:
        layer.half_products = True
    return [name for name, _ in layers]


def require_half_products() -> None:
    """UserError where the compiled library cannot multiply in bfloat16 on this machine."""
    if backend() != "cpu":
        raise UserError(
            f"inference.precision=bf16 needs the native operators, which are not used here; run: {BUILD_COMMAND} "
            f"(and leave {CHOICE_VARIABLE} alone), or choose fp32"
        )
    if half_instructions() == "none":
        raise UserError(
            "inference.precision=bf16: this processor has no instructions for it (AMX or AVX512-BF16), or the compiler "
            "of the native operators knew none (GCC 11 does); choose fp32"
        )


def half_parts(network: nn.Cell, prefix: str = "") -> list[tuple[str, nn.Cell]]:
    """The largest parts that hold weights and no layer with a backward pass or a native operator of its own."""
    found = []
    for name, part in network.name_cells().items():
        place = prefix + name
        if is_container(part) or any(keeps_float32(cell) for _, cell in part.cells_and_names()):
            found += half_parts(part, f"{place}.")
        elif any(parameter.ndim > 1 for parameter in part.get_parameters()):
            found.append((place, part))
    return found


def is_container(cell: nn.Cell) -> bool:
    """A list of layers is not called itself, so it cannot change how they compute."""
    return isinstance(cell, nn.CellList)


def keeps_float32(cell: nn.Cell) -> bool:
    return hasattr(type(cell), "bprop") or getattr(cell, "keeps_float32", False)
