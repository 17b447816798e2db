"""The card of VidEoMT: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

import math

import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.models.videomt.network import VidEoMT
from mindvideo.models.videomt.weights import videomt_tables
from mindvideo.modules.backbones.vit import VisionTransformer, build_vit_layers
from mindvideo.modules.heads.upscaled_mask import UpscaleBlock
from mindvideo.modules.layers.patches import ConvolutionStem, PatchEmbedding, PositionTable, sine_grid
from mindvideo.modules.layers.rotary import RotaryPositions
from mindvideo.weights.rules import RuleTable

STEMS = {"patch": PatchEmbedding, "convolutions": ConvolutionStem}


def build_network(cfg: ConfigDict) -> VidEoMT:
    check(cfg)
    videomt = cfg.videomt
    C, Q = videomt.width, videomt.num_queries
    is_dinov3 = videomt.backbone == "dinov3"
    epsilon = 1e-5 if is_dinov3 else 1e-6
    grid = table_grid(cfg)
    start = sine_grid(*grid, C) if videomt.sine_start else None
    backbone = VisionTransformer(
        width=C,
        patch_embed=STEMS[videomt.stem](width=C, patch_size=videomt.patch_size),
        layers=build_vit_layers(
            num_blocks=videomt.num_blocks,
            width=C,
            heads=videomt.heads,
            hidden=videomt.hidden_ratio * C,
            feed_forward=videomt.feed_forward,
            key_bias=not is_dinov3,
            epsilon=epsilon,
            scale=videomt.layer_scale,
        ),
        num_registers=videomt.num_registers,
        epsilon=epsilon,
        position=None if is_dinov3 else PositionTable(grid=grid, width=C, start=start),
        rotary=RotaryPositions(depth=C // videomt.heads) if is_dinov3 else None,
    )
    return VidEoMT(
        backbone=backbone,
        upscale=[UpscaleBlock(channels=C) for _ in range(num_doublings(videomt.patch_size))],
        num_query_blocks=videomt.query_blocks,
        num_queries=Q,
        num_classes=videomt.num_classes,
        norm_queries=videomt.norm_queries,
        start_queries=queries_at_places(Q, C, grid) if videomt.sine_start else None,
    )


def num_doublings(patch_size: int) -> int:
    """Patches of 16 pixels become mask cells of 4, and of 8 too."""
    return max(1, int(math.log2(patch_size)) - 2)


def queries_at_places(Q: int, C: int, grid: tuple[int, int]) -> np.ndarray:
    """The sine codes of Q places spread over the frame, and a little noise."""
    rows = max(1, round(math.sqrt(Q * grid[0] / grid[1])))
    columns = -(-Q // rows)
    noise = np.random.default_rng(0).standard_normal((Q, C))
    return (sine_grid(rows, columns, C)[:Q] + 0.1 * noise).astype(np.float32)


def table_grid(cfg: ConfigDict) -> tuple[int, int]:
    return tuple(side // cfg.videomt.patch_size for side in cfg.videomt.table_size)


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    """The published checkpoints of this family, or a DINO backbone to start from."""
    videomt = cfg.videomt
    return videomt_tables(
        backbone=videomt.backbone,
        query_blocks=videomt.query_blocks,
        grid=table_grid(cfg),
        patch_size=videomt.patch_size,
    )


def check(cfg: ConfigDict) -> None:
    """UserError for settings that contradict each other."""
    videomt = cfg.videomt
    p = videomt.patch_size
    if videomt.width % (4 * videomt.heads):
        raise UserError(f"videomt.width is {videomt.width}; it must be a multiple of 4 * videomt.heads, {videomt.heads}")
    if videomt.query_blocks >= videomt.num_blocks:
        raise UserError(
            f"videomt.query_blocks is {videomt.query_blocks} of videomt.num_blocks={videomt.num_blocks}; leave at least "
            "one block that sees the frame alone"
        )
    if videomt.stem == "convolutions" and p & (p - 1):
        raise UserError(f"videomt.stem=convolutions halves the frame step by step: patch_size {p} is no power of 2")
    if len(videomt.table_size) != 2 or any(side % p for side in videomt.table_size):
        raise UserError(f"videomt.table_size is {list(videomt.table_size)}; give height and width in multiples of {p}")
    if videomt.size_divisor % p or videomt.square % p:
        raise UserError(f"videomt.size_divisor and videomt.square must be multiples of videomt.patch_size, {p}")
    odd = [list(bucket) for bucket in cfg.data.buckets if any(side % p for side in bucket)]
    if odd:
        raise UserError(f"data.buckets has {odd}: use multiples of videomt.patch_size, {p}")
    if not cfg.data.buckets and 32 % p:
        raise UserError(f"data.buckets is empty, which pads to multiples of 32: no multiple of patch_size {p}; set it")
