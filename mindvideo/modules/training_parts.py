"""A training graph as a row of parts, so that the backward pass can compute each of them again.

A training network whose memory can be saved in this way has ``parts()``: its forward pass, cut where little passes from
one part to the next. ``training/recomputed_gradients.py`` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import mindspore as ms
from mindspore import Parameter, nn, ops

from mindvideo.modules.values import Targets

Tensors = tuple[ms.Tensor, ...]


class TrainingClip(TypedDict, total=False):
    """The sample that every part may look at; no gradient is asked for it."""

    frames: ms.Tensor  # [B, T, 3, H, W]
    padding: ms.Tensor  # bool [B, T, H, W]
    sizes: ms.Tensor  # int [B, 2] as (h, w)
    targets: Targets


class TrainingPart(NamedTuple):
    """``run(values, clip) -> values``: what passes from part to part are tuples of float tensors.

    The first part gets no values. The last gives the total loss [], the terms [n], and what an opponent learns from, a
    tuple. ``weights`` are those that the part works with; the last part has all that no other has.
    """

    run: Callable[[Tensors, TrainingClip], Any]
    weights: tuple[Parameter, ...] = ()


def weights_of(*cells: nn.Cell | None) -> tuple[Parameter, ...]:
    return tuple(weight for cell in cells if cell is not None for weight in cell.trainable_params())


def without(weights: Sequence[Parameter], others: Sequence[Parameter]) -> tuple[Parameter, ...]:
    elsewhere = {id(weight) for weight in others}
    return tuple(weight for weight in weights if id(weight) not in elsewhere)


def noted(marks: ms.Tensor) -> ms.Tensor:
    """Whole numbers or truth values as floats, so that they can pass; no gradient comes back."""
    return ops.stop_gradient(ops.cast(marks, ms.float32))


def read_back(note: ms.Tensor, dtype: ms.Type) -> ms.Tensor:
    return ops.cast(ops.stop_gradient(note), dtype)
