"""The network of VidEoMT from its configuration."""

from __future__ import annotations

import math

import numpy as np
from ml_collections import ConfigDict

from mindvideo.models.videomt.checks import check
from mindvideo.models.videomt.network import VidEoMT
from mindvideo.modules.backbones.vit import VisionTransformer, build_vit_layers
from mindvideo.modules.heads.upscaled_mask import UpscaleBlock
from mindvideo.modules.layers.patches import ConvolutionStem, PatchEmbedding, PositionTable, sine_grid
from mindvideo.modules.layers.rotary import RotaryPositions

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
        num_classes=cfg.data.num_classes - 1,  # the class outputs count from 0, category ids from 1
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
