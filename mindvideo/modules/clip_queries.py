"""Queries that hold an instance through a whole clip: decoding, masks, and matching, for the networks that have them.

The networks keep their parts as their own; the functions here take them, as in modules/encoded_frames.py.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.encoded_frames import EncodedFrames, class_logits, per_frame, starting_queries
from mindvideo.modules.heads.dynamic_mask import DynamicMasks
from mindvideo.modules.layers.reference_points import in_pixels
from mindvideo.modules.losses.matched import of_instances, rows_of
from mindvideo.modules.transformers.two_stream_decoder import ClipDecoding, TwoStreamDecoder
from mindvideo.modules.values import Predictions, Targets
from mindvideo.ops.slices import swapped


class MatchedClip(TypedDict):
    """A clip as the criterion takes it."""

    predictions: Predictions  # masks are made for the matched queries only, so not here
    query: ms.Tensor  # int [D, B, N], of each instance; -1 for none
    masks: ms.Tensor  # logits [D, B, N, T, h, w], of the matched queries


def decode_clip(
    encoded: EncodedFrames, *, query_embed: ms.Parameter, reference_points: nn.Cell, decoder: TwoStreamDecoder
) -> ClipDecoding:
    """All decoder layers on the frames of the clips."""
    B, T = encoded["mask_features"].shape[:2]
    content, position = starting_queries(query_embed, B)
    return decoder(
        content,
        position,
        first_reference(position, reference_points),
        encoded["tokens"],
        per_frame(encoded["padding"], T),
        encoded["shapes"],
        per_frame(encoded["valid_ratios"], T),
    )


def first_reference(query_position: ms.Tensor, reference_points: nn.Cell) -> ms.Tensor:
    """[B, Q, C] -> [B, Q, 2]."""
    return ops.sigmoid(reference_points(query_position))


def masks_of_clip(
    features: ms.Tensor,
    content: ms.Tensor,
    points: ms.Tensor,
    sizes: ms.Tensor,
    *,
    controller: nn.Cell,
    dynamic_masks: DynamicMasks,
) -> ms.Tensor:
    """features [B, T, c, h, w], content [B, N, C], points [B, N, T, 2], sizes [B, 2] as (h, w) -> mask logits

    [B, N, T, 2 h, 2 w].
    """
    B, T = features.shape[:2]
    N = content.shape[1]
    points = swapped(points, 1, 2).reshape(B * T, N, 2)
    parameters = per_frame(controller(content), T)
    flat_features = features.reshape(B * T, *features.shape[2:])
    masks = dynamic_masks(flat_features, parameters, in_pixels(points, per_frame(sizes, T)))
    return swapped(masks.reshape(B, T, *masks.shape[1:]), 1, 2)


def match_clip(
    network: nn.Cell, matcher: nn.Cell, encoded: EncodedFrames, sizes: ms.Tensor, targets: Targets
) -> MatchedClip:
    """``network`` decodes, classifies by ``class_embed`` and makes the ``masks``; sizes [B, 2] as (h, w)."""
    decoding = network.decode(encoded)
    content, points = decoding["content"], decoding["points"]
    logits = class_logits(network.class_embed, content).expand_dims(3)  # [D, B, Q, 1, K]
    predictions: Predictions = {"logits": logits, "boxes": decoding["boxes"], "masks": None}
    query = matcher(predictions, targets)
    rows = rows_of(query, content.shape[2])  # [D, B, N, Q]
    content, points = of_instances(rows, content), of_instances(rows, points)
    masks: tuple[ms.Tensor, ...] = ()
    for layer in range(query.shape[0]):
        masks += (network.masks(encoded["mask_features"], content[layer], points[layer], sizes),)
    return {"predictions": predictions, "query": query, "masks": ops.stack(masks, 0)}
