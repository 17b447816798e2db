"""A training graph as a row of parts, so that the backward pass can compute each of them again.

A training network whose memory can be saved in this way has ``parts()``: its forward pass, cut where little passes from
one part to the next. ``training/recomputed_gradients.py`` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import mindspore as ms
from mindspore import Parameter, nn

from mindvideo.modules.values import Targets

Tensors = tuple[ms.Tensor, ...]


class TrainingClip(TypedDict, total=False):
    """What every part may look at; no gradient is asked for it."""

    frames: ms.Tensor  # [B, T, 3, H, W]
    padding: ms.Tensor  # bool [B, T, H, W]
    sizes: ms.Tensor  # int [B, 2] as (h, w)
    targets: Targets


class TrainingPart(NamedTuple):
    """``run(values, notes, clip) -> values, notes``: gradients pass through the values, none through the notes.

    The first part gets no values and no notes. The last gives the total loss as its only value, and as notes the terms
    [n] and what an opponent learns from, a tuple. ``weights`` are those that the part works with; the last part
    has all that no other has.
    """

    run: Callable[[Tensors, Tensors, TrainingClip], tuple[Tensors, Any]]
    weights: tuple[Parameter, ...] = ()


def weights_of(*cells: nn.Cell | None) -> tuple[Parameter, ...]:
    return tuple(weight for cell in cells if cell is not None for weight in cell.trainable_params())


def run_in_row(parts: Sequence[Callable[..., tuple[Tensors, Any]]], clip: TrainingClip) -> tuple[Tensors, Any]:
    """What the last of them gives."""
    values: Tensors = ()
    notes: Any = ()
    for part in parts:
        values, notes = part(values, notes, clip)
    return values, notes
