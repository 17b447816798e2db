"""Section ``defvistr``: the network of Deformable VisTR."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key
from mindvideo.config.reads import ALL, BACKBONE, FRAME_SIZE, OFFSETS, WINDOWS, reads

# The shared keys that this family reads.
READS = reads(BACKBONE, OFFSETS, FRAME_SIZE, WINDOWS, {"matcher": ALL, "loss": ALL})


@dataclasses.dataclass
class DefVisTR:
    num_queries: int = key(8, "instances a clip can hold", minimum=1)
    tokens_per_query: int = key(20, "learned tokens of each query; 0, with decoder: deformable, has none", minimum=0)
    width: int = key(384, "width of tokens and queries; a multiple of 12 and of the heads", minimum=12)
    heads: int = key(8, "heads of every attention and of the attention maps", minimum=1)
    points: int = key(6, "points a head samples on each level", minimum=1)
    encoder_layers: int = key(6, "layers over the tokens", minimum=1)
    decoder_layers: int = key(6, "layers over the queries", minimum=1)
    encoder_hidden: int = key(2048, "inner width of the encoder's feed-forward parts", minimum=1)
    decoder_hidden: int = key(2048, "inner width of the decoder's feed-forward parts", minimum=1)
    dropout: float = key(0.1, "dropout in the transformer", minimum=0.0, maximum=0.99)
    decoder: str = key(
        "dense",
        "how queries read the memory: all of it, as published, or sampled around a reference in every frame (ours)",
        choices=("dense", "deformable"),
    )
    decoder_points: int = key(4, "decoder: deformable: points a head samples on each level", minimum=1)
    query_layout: str = key(
        "instance",
        "decoder: dense: which state serves which query and frame; released repeats the published code's mix-up",
        choices=("instance", "released"),
    )
    levels: list[int] = key([0, 1, 2, 3], "maps of the backbone that are used, fine to coarse", minimum=0, maximum=3)
    token_levels: int = key(1, "how many of them, the coarsest, are levels of each frame; published: 1", minimum=1)
    query_anchors: list[int] = key(
        [], "decoder: deformable: rows and columns of a grid on which the queries start; empty: at random", minimum=1
    )
    mask_widths: list[int] = key(
        [], "channels of the mask head, coarse to fine, one a finer map; empty halves the width each time", minimum=1
    )
    mask_channels: int = key(0, "channels of the maps that the sequence head reads; 0 takes width / 16", minimum=0)
    unit_maps: bool = key(False, "scale attention maps to a mean of 1 before the mask head: not in the paper")
    maps_per_portion: int = key(60, "masks computed at a time in evaluation; bounds the memory", minimum=1)
