"""From frames to tokens and mask features, for the models with queries and dynamic masks.

The encoder sees every frame by itself, unless it has split attention. The networks keep their parts as their own; the
functions here take them.

Named values inside a graph are dicts, as in modules/values.py.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.heads.dynamic_mask import MaskFeatures
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.transformers.deformable_encoder import DeformableEncoder, flatten_levels, valid_ratio
from mindvideo.ops.slices import at, part

MASK_LEVELS = 3  # the three finest levels feed the masks


class EncodedFrames(TypedDict):
    """The frames of a clip after the encoder; S is the number of cells of all levels."""

    tokens: ms.Tensor  # [B * T, S, C]
    mask_features: ms.Tensor  # [B, T, c, h, w] of the finest level
    shapes: tuple[tuple[int, int], ...]  # (h, w) of each level, Python numbers
    padding: ms.Tensor  # bool [B, S], the same in all frames of a clip
    valid_ratios: ms.Tensor  # [B, L, 2], the share of a level that is not padding


def encode_frames(
    frames: ms.Tensor,
    padding: ms.Tensor,
    *,
    backbone: nn.Cell,
    projection: FeatureProjection,
    position: SinePositions2d,
    level_embed: ms.Parameter,
    encoder: DeformableEncoder,
    mask_features: MaskFeatures,
) -> EncodedFrames:
    """frames [B, T, 3, H, W], padding bool [B, T, H, W]: all frames at once."""
    B, T = frames.shape[:2]
    entering = enter_frames(
        frames, padding, backbone=backbone, projection=projection, position=position, level_embed=level_embed
    )
    return encode_entered(entering, B, T, encoder=encoder, mask_features=mask_features)


def encode_entered(
    entering: EnteringFrames, B: int, T: int, *, encoder: DeformableEncoder, mask_features: MaskFeatures
) -> EncodedFrames:
    """From where the encoder begins."""
    tokens = encode_tokens(entering, B, T, encoder=encoder)
    return encoded_frames_of(tokens, entering, B, T, mask_features=mask_features)


def encode_tokens(
    entering: EnteringFrames, B: int, T: int, *, encoder: DeformableEncoder, layers: tuple[int, int | None] = (0, None)
) -> ms.Tensor:
    """[B * T, S, C], by the layers from the first of these numbers to before the other."""
    code, padding = per_frame(entering["code"], T), per_frame(entering["padding"], T)
    ratios = per_frame(entering["valid_ratios"], T)
    return encoder(entering["tokens"], code, entering["shapes"], ratios, padding, B, *layers)


def encoded_frames_of(
    tokens: ms.Tensor, levels: Levels, B: int, T: int, *, mask_features: MaskFeatures
) -> EncodedFrames:
    """From what the encoder gave."""
    features = mask_features(*finest_maps(tokens, levels["shapes"]))
    return {
        "tokens": tokens,
        "mask_features": features.reshape(B, T, *features.shape[1:]),
        "shapes": levels["shapes"],
        "padding": levels["padding"],
        "valid_ratios": levels["valid_ratios"],
    }


class Levels(TypedDict):
    """The levels of a clip's frames, as in EncodedFrames."""

    shapes: tuple[tuple[int, int], ...]
    padding: ms.Tensor
    valid_ratios: ms.Tensor


class EnteringFrames(Levels):
    """The frames of a clip before the encoder."""

    tokens: ms.Tensor  # [B * T, S, C]
    code: ms.Tensor  # [B, S, C], of place and level


def enter_frames(
    frames: ms.Tensor,
    padding: ms.Tensor,
    *,
    backbone: nn.Cell,
    projection: FeatureProjection,
    position: SinePositions2d,
    level_embed: ms.Parameter,
) -> EnteringFrames:
    """frames [B, T, 3, H, W], padding bool [B, T, H, W]; no frame sees another."""
    maps, paddings = project_frames(frames, padding, backbone=backbone, projection=projection)
    return enter_maps(maps, paddings, position=position, level_embed=level_embed)


def project_frames(
    frames: ms.Tensor, padding: ms.Tensor, *, backbone: nn.Cell, projection: FeatureProjection
) -> tuple[tuple[ms.Tensor, ...], tuple[ms.Tensor, ...]]:
    """The levels' maps [B * T, C, h, w], and the padding of each, bool [B, h, w]."""
    B, T, _, H, W = frames.shape
    return projection(backbone(frames.reshape(B * T, 3, H, W)), at(padding, 1, 0))


def enter_maps(
    maps: tuple[ms.Tensor, ...],
    paddings: tuple[ms.Tensor, ...],
    *,
    position: SinePositions2d,
    level_embed: ms.Parameter,
) -> EnteringFrames:
    """As ``enter_frames``, from what ``project_frames`` gave."""
    return enter_tokens(flatten_levels(maps), paddings, position=position, level_embed=level_embed)


def enter_tokens(
    tokens: ms.Tensor, paddings: tuple[ms.Tensor, ...], *, position: SinePositions2d, level_embed: ms.Parameter
) -> EnteringFrames:
    """As ``enter_frames``, for tokens [B * T, S, C]; ``paddings`` as there."""
    levels = describe_levels(paddings)
    return {
        "tokens": tokens,
        "code": code_of_levels(paddings, position, level_embed),
        "shapes": levels["shapes"],
        "padding": levels["padding"],
        "valid_ratios": levels["valid_ratios"],
    }


def describe_levels(paddings: tuple[ms.Tensor, ...]) -> Levels:
    """``paddings``, bool [B, h, w], one a level."""
    shapes: tuple[tuple[int, int], ...] = ()
    ratios: tuple[ms.Tensor, ...] = ()
    flat_paddings: tuple[ms.Tensor, ...] = ()
    for padding in paddings:
        B, h, w = padding.shape
        shapes += ((h, w),)
        ratios += (valid_ratio(padding),)
        flat_paddings += (padding.reshape(B, h * w),)
    return {"shapes": shapes, "padding": ops.cat(flat_paddings, 1), "valid_ratios": ops.stack(ratios, 1)}


def code_of_levels(paddings: tuple[ms.Tensor, ...], position: SinePositions2d, level_embed: ms.Parameter) -> ms.Tensor:
    """``paddings``, bool [B, h, w], one a level -> the code of place and level, [B, S, C]."""
    positions: tuple[ms.Tensor, ...] = ()
    for level, padding in enumerate(paddings):
        B, h, w = padding.shape
        positions += ((position(padding).reshape(B, h * w, -1) + at(level_embed, 0, level)),)
    return ops.cat(positions, 1)


def finest_maps(tokens: ms.Tensor, shapes: tuple[tuple[int, int], ...]) -> tuple[ms.Tensor, ...]:
    """The three finest levels of tokens [F, S, C] as maps [F, C, h, w]."""
    start = 0
    maps: tuple[ms.Tensor, ...] = ()
    for h, w in shapes[:MASK_LEVELS]:
        level = part(tokens, 1, start, start + h * w)
        maps += (level.transpose(0, 2, 1).reshape(-1, tokens.shape[-1], h, w),)
        start += h * w
    return maps


def level_shapes(size: tuple[int, int], *, strides: tuple[int, ...], num_levels: int) -> tuple[tuple[int, int], ...]:
    """((h, w), ...) of frames of ``size`` (H, W): a backbone's maps, then levels at half the size of the one before."""
    shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]
    while len(shapes) < num_levels:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return tuple(shapes)


def starting_queries(query_embed: ms.Tensor, B: int) -> tuple[ms.Tensor, ms.Tensor]:
    """Position codes and contents in one, [Q, 2 C] -> content and query_position, the same for every clip [B, Q, C]."""
    Q, width = query_embed.shape[0], query_embed.shape[1] // 2
    position = part(query_embed, 1, 0, width).expand_dims(0).broadcast_to((B, Q, width))
    content = part(query_embed, 1, width).expand_dims(0).broadcast_to((B, Q, width))
    return content, position


def class_logits(heads: nn.CellList, content: ms.Tensor) -> ms.Tensor:
    """content [D, ..., C] -> [D, ..., K], each layer by its own head."""
    logits: tuple[ms.Tensor, ...] = ()
    for layer, head in enumerate(heads):
        logits += (head(at(content, 0, layer)),)
    return ops.stack(logits, 0)


def frame_sizes(padding: ms.Tensor) -> ms.Tensor:
    """padding bool [B, T, H, W] -> the valid area of each clip's frames as (h, w), float32 [B, 2]."""
    valid = ops.cast(ops.logical_not(at(padding, 1, 0)), ms.float32)
    return ops.stack((ops.sum(at(valid, 2, 0), 1), ops.sum(at(valid, 1, 0), 1)), -1)


def per_frame(of_clip: ms.Tensor, T: int) -> ms.Tensor:
    """[B, ...] -> [B * T, ...], each clip's row once for each of its frames."""
    B, rest = of_clip.shape[0], of_clip.shape[1:]
    return of_clip.expand_dims(1).broadcast_to((B, T, *rest)).reshape(B * T, *rest)
