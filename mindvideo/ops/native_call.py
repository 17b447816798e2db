"""Parts that calls of the compiled library share: constants for its inputs, shapes and types of its results."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

from mindvideo.ops.backend import instruction_set


@constexpr
def numbers(*values: int) -> Tensor:
    """int32 [n]; a constant inside graphs."""
    return Tensor(values, mstype.int32)


@constexpr
def one_number(number: float) -> Tensor:
    """float32 [1]; a constant inside graphs."""
    return Tensor([number], mstype.float32)


def like_first(first: Any, *others: Any) -> Any:
    """Shape or type of the only result, from those of the inputs."""
    return first


def two_like_first(first: Any, *others: Any) -> Any:
    """Types of two results."""
    return first, first


def has_wide_vectors() -> bool:
    """Without them the library's products are slower than MindSpore's."""
    return instruction_set() != "plain"


def told_apart(op: ops.Custom, *geometry: int) -> ops.Custom:
    """Step by step MindSpore takes operators of one name and attributes for one, whose result has one shape."""
    op.add_prim_attr("geometry", "_".join(map(str, geometry)))
    return op
