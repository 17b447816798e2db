"""Multi-scale deformable attention: one public function over every backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import auto_generate, constexpr

from mindvideo.errors import UserError
from mindvideo.ops.backend import native_op, runs_as
from mindvideo.ops.ms_deform_attn_ref import ms_deform_attn_ref

INT32_LIMIT = 2**31 - 1
_zeros_like = ops.ZerosLike()
_FLOAT_TYPES = (mstype.float32, mstype.float16, mstype.bfloat16, mstype.float64)


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: tuple[tuple[int, int], ...] | Tensor,
    level_start_index: tuple[int, ...] | Tensor | None,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sum bilinear samples of several feature levels, weighted by attention.

    value [N, S, M, D]: the pixels of all levels, row by row, one level after the other; S = sum of H*W.
    spatial_shapes: (H, W) of each level, as Python numbers (preferred: checked while compiling) or int tensor [L, 2].
    level_start_index: first row of each level in S, tuple or int tensor [L]; None to derive it from Python shapes.
    sampling_locations [N, Lq, M, L, P, 2]: (x, y), 0..1 over the level; outside and non-finite ones contribute nothing.
    attention_weights [N, Lq, M, L, P]: any real numbers.
    Returns [N, Lq, M*D] of value's type. Gradients flow to value, locations and weights. Half types accumulate in
    float32; give locations in float32, since float16 cannot tell sub-pixels apart on wide maps.
    """
    check_arguments(
        value.shape,
        sampling_locations.shape,
        attention_weights.shape,
        static_shapes(spatial_shapes),
        static_shapes(level_start_index),
        value.dtype,
    )
    if level_start_index is None:
        level_start_index = level_starts(spatial_shapes)
    N, _, M, D = value.shape
    Lq = sampling_locations.shape[1]
    if N * Lq * M * D == 0:
        return ops.zeros((N, Lq, M * D), value.dtype)
    if value.size == 0 or attention_weights.size == 0:
        return ops.zeros((N, Lq, M * D), value.dtype)

    # The kernels accumulate in float32; only the CUDA library reads half types itself.
    result_type = value.dtype
    working_type = mstype.float64 if result_type == mstype.float64 else mstype.float32
    if not runs_as("native", "ms_deform_attn", result_type):
        value = ops.cast(value, working_type)
    sampling_locations = ops.cast(sampling_locations, working_type)
    attention_weights = ops.cast(attention_weights, working_type)
    L = sampling_locations.shape[3]
    if runs_as("native", "ms_deform_attn", value.dtype):
        shapes, starts = as_int_tensor(spatial_shapes), as_int_tensor(level_start_index)
        output = _forward_op()(value, shapes, starts, sampling_locations, attention_weights)
    elif runs_as("ascend", "ms_deform_attn", value.dtype, (L, Lq, D)):
        shapes, starts = as_int_tensor(spatial_shapes), as_int_tensor(level_start_index)
        output = _ascend_op()(value, shapes, starts, sampling_locations, attention_weights)
    else:
        output = ms_deform_attn_ref(value, spatial_shapes, level_start_index, sampling_locations, attention_weights)
    return ops.cast(output, result_type)


def static_shapes(given: Any) -> Any:
    """The argument when it is known while compiling (a tuple), else None."""
    if isinstance(given, Tensor):
        return None
    return given


def as_int_tensor(given: Any) -> Tensor:
    """int32 tensor of a Python tuple or of an integer tensor."""
    if isinstance(given, Tensor):
        return ops.cast(given, mstype.int32)
    return _constant(given)


@constexpr
def _constant(given: Any) -> Tensor:
    return Tensor(np.asarray(given, np.int32))


@constexpr
def level_starts(spatial_shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """First row of each level: the running sum of H*W."""
    if spatial_shapes is None:
        raise UserError("ms_deform_attn: level_start_index=None needs spatial_shapes as Python numbers, not a tensor")
    starts, total = [], 0
    for height, width in spatial_shapes:
        starts.append(total)
        total += height * width
    return tuple(starts)


@constexpr
def check_arguments(
    value: Sequence[int],
    locations: Sequence[int],
    weights: Sequence[int],
    spatial_shapes: Sequence[Sequence[int]] | None,
    starts: Sequence[int] | None,
    dtype: Any,
) -> bool:
    """Compare shapes with each other; every message names what was expected and what came."""
    if len(value) != 4 or len(locations) != 6 or len(weights) != 5:
        raise UserError(
            "ms_deform_attn: expected value [N, S, M, D], sampling_locations [N, Lq, M, L, P, 2] and "
            f"attention_weights [N, Lq, M, L, P]; got {value}, {locations} and {weights}"
        )
    N, S, M, _ = value
    if locations[0] != N or locations[2] != M or locations[5] != 2:
        raise UserError(
            f"ms_deform_attn: with value {value} sampling_locations must be [{N}, Lq, {M}, L, P, 2]; got {locations}"
        )
    if tuple(weights) != tuple(locations[:5]):
        raise UserError(f"ms_deform_attn: attention_weights must be {tuple(locations[:5])}; got {tuple(weights)}")
    if dtype not in _FLOAT_TYPES:
        raise UserError(f"ms_deform_attn: value must be a floating type; got {dtype}")
    _check_levels(S, locations[3], spatial_shapes, starts)
    output = N * locations[1] * M * value[3]
    for name, size in (("value", math.prod(value)), ("locations", math.prod(locations)), ("output", output)):
        if size > INT32_LIMIT:
            raise UserError(
                f"ms_deform_attn: {name} would have {size} elements, more than 2**31 - 1; use fewer frames or queries"
            )
    return True


def _check_levels(S: int, L: int, spatial_shapes: Sequence[Sequence[int]] | None, starts: Sequence[int] | None) -> None:
    if spatial_shapes is not None:
        if len(spatial_shapes) != L or any(len(pair) != 2 or min(pair) < 0 for pair in spatial_shapes):
            raise UserError(
                f"ms_deform_attn: spatial_shapes must be {L} pairs (H, W), one per level of the locations; "
                f"got {spatial_shapes}"
            )
        pixels = sum(height * width for height, width in spatial_shapes)
        if pixels != S:
            raise UserError(f"ms_deform_attn: spatial_shapes {spatial_shapes} make {pixels} pixels, value has {S}")
    if starts is not None and len(starts) != L:
        raise UserError(f"ms_deform_attn: level_start_index must have {L} entries; got {starts}")
    if starts is not None and spatial_shapes is not None:
        expected, total = [], 0
        for height, width in spatial_shapes:
            expected.append(total)
            total += height * width
        if list(starts) != expected:
            raise UserError(f"ms_deform_attn: level_start_index must be {expected}; got {list(starts)}")


def _output_shape(
    value: list[int], shapes: list[int], starts: list[int], locations: list[int], weights: list[int]
) -> list[int]:
    return [locations[0], locations[1], value[2] * value[3]]


def _output_type(value: Any, shapes: Any, starts: Any, locations: Any, weights: Any) -> Any:
    return value


def _gradient_shapes(
    value: list[int],
    shapes: list[int],
    starts: list[int],
    locations: list[int],
    weights: list[int],
    gradient: list[int],
) -> tuple[list[int], list[int], list[int]]:
    return (value, locations, weights)


def _gradient_types(
    value: Any, shapes: Any, starts: Any, locations: Any, weights: Any, gradient: Any
) -> tuple[Any, Any, Any]:
    return (value, locations, weights)


def _bprop(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_value, grad_locations, grad_weights = _backward_op()(value, shapes, starts, locations, weights, gradient)
    return grad_value, _zeros_like(shapes), _zeros_like(starts), grad_locations, grad_weights


@constexpr
def _forward_op() -> ops.Custom:
    return native_op("MsDeformAttnForward", out_shape=_output_shape, out_dtype=_output_type, bprop=_bprop)


@constexpr
def _ascend_op() -> ops.Primitive:
    """MindSpore's primitive, which has its own gradient. It exists only for Ascend, and we have not run it."""
    return auto_generate.MultiScaleDeformableAttn()


@constexpr
def _backward_op() -> ops.Custom:
    return native_op("MsDeformAttnBackward", out_shape=_gradient_shapes, out_dtype=_gradient_types)
