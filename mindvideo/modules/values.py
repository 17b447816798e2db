"""The named values that travel through the graphs: one layout and one order in every family.

Letters as in docs/shapes.md: B clips, T frames, N instances, Q queries, K classes, D decoder layers. An instance or a
query comes before its frames, in targets, predictions and results alike.

In a graph such a value is written as a dict: MindSpore compiles those. A NamedTuple or a dataclass that is built inside
a graph is handed to the Python interpreter instead: its fields have no shape, and no gradient passes. What a network's
``construct`` gives is a tuple in the order of the fields. See docs/shapes.md.
"""

from __future__ import annotations

from typing import TypedDict

from mindspore import Tensor


class Targets(TypedDict):
    """The instances of a clip, padded to N rows a clip; in the order of a ClipBatch's columns."""

    labels: Tensor  # int [B, N]
    boxes: Tensor  # [B, N, T, 4], cxcywh in units of the valid picture
    masks: Tensor  # uint8 [B, N, T, h, w], at the pixels that the family's loss compares
    present: Tensor  # bool [B, N, T]: the instance has pixels in the frame
    exists: Tensor  # bool [B, N]: the row is no padding


class MatchTargets(TypedDict):
    """The targets as far as queries are matched to them by class and box; a :class:`Targets` is one too."""

    labels: Tensor
    boxes: Tensor
    present: Tensor
    exists: Tensor


class Predictions(TypedDict):
    """The network's answer for its queries."""

    logits: Tensor  # of the classes, [D, B, Q, T, K]; [D, B, Q, 1, K] where a query has one class for the clip
    boxes: Tensor | None  # [D, B, Q, T, 4], cxcywh in units of the valid picture; None in a model without boxes
    masks: Tensor | None  # logits of the last decoder layer, [B, Q, T, h, w]; None in a model without masks


class Scene(TypedDict):
    """A mask head of a clip network reads this besides queries; frames lie in one row, clip after clip."""

    memory: Tensor  # the encoder's output on the grid of the finest tokens, [B*T, C, h, w]
    fine_maps: tuple[Tensor, ...]  # maps of the backbone that are finer than that grid, [B*T, C', ., .], coarse to fine
    padding: Tensor | None  # bool [B*T, h, w], True where the grid holds no picture; None where all of it does


class DecodedClip(TypedDict):
    """A clip network knows this of a clip before any mask is made."""

    logits: Tensor  # [D, B, Q, T, K]
    boxes: Tensor  # [D, B, Q, T, 4]
    queries: Tensor  # the last decoder layer's states, [B, Q, T, C]
    scene: Scene
