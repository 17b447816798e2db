"""The named values that travel through the graphs: one layout and one order in every family.

Letters as in docs/shapes.md: B clips, T frames, N instances, Q queries, K classes, D decoder layers. An instance or a
query comes before its frames, in targets, predictions and results alike.
"""

from __future__ import annotations

from typing import NamedTuple

from mindspore import Tensor


class Targets(NamedTuple):
    """What a clip shows, padded to N rows a clip; in the order of a ClipBatch's columns."""

    labels: Tensor  # int [B, N]
    boxes: Tensor  # [B, N, T, 4], cxcywh in units of the valid picture
    masks: Tensor  # uint8 [B, N, T, h, w], at the pixels that the family's loss compares
    present: Tensor  # bool [B, N, T]: the instance has pixels in the frame
    exists: Tensor  # bool [B, N]: the row is no padding


class Predictions(NamedTuple):
    """What the network says of its queries."""

    logits: Tensor  # of the classes, [D, B, Q, T, K]; [D, B, Q, 1, K] where a query has one class for the clip
    boxes: Tensor | None  # [D, B, Q, T, 4], cxcywh in units of the valid picture; None in a model without boxes
    masks: Tensor | None  # logits of the last decoder layer, [B, Q, T, h, w]; None in a model without masks
