"""Keys that the sections of all models have whose clip is one sequence of tokens, each attending to each."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import When, key

_BY_ATTENTION = When("mask_head", ("attention",), "mask_head: attention")


@dataclasses.dataclass
class DenseClipModel:
    num_queries: int = key(10, "queries in each frame: instances a clip can hold", minimum=1)
    width: int = key(384, "width of tokens and queries; a multiple of 6 and of the heads", minimum=6)
    heads: int = key(8, "heads of every attention and of the attention maps", minimum=1)
    encoder_layers: int = key(6, "layers over the tokens", minimum=0)
    decoder_layers: int = key(6, "layers over the queries", minimum=1)
    hidden: int = key(2048, "inner width of the feed-forward parts", minimum=1)
    dropout: float = key(0.1, "dropout in the transformer", minimum=0.0, maximum=0.99)
    pre_norm: bool = key(False, "norms before the sub-layers instead of after them")
    mask_head: str = key(
        "attention",
        "masks from attention maps, as published, or from dot products of queries and pixels (ours)",
        choices=("attention", "dot_product"),
    )
    levels: list[int] = key([0, 1, 2, 3], "maps of the backbone that are used, fine to coarse", minimum=0, maximum=3)
    token_levels: int = key(1, "how many of them, the coarsest, become tokens (on the finest one's grid)", minimum=1)
    mask_widths: list[int] = key(
        [],
        "channels of the mask head, coarse to fine, one a finer map; empty halves the width each time",
        minimum=1,
        when=_BY_ATTENTION,
    )
    mask_channels: int = key(
        0,
        "channels of the maps that the sequence head reads, 0: width / 16; dot_product: of an embedding, 0: width / 4",
        minimum=0,
    )
    unit_maps: bool = key(
        False, "scale attention maps to a mean of 1 before the mask head: not in the paper", when=_BY_ATTENTION
    )
    maps_per_portion: int = key(30, "masks computed at a time in evaluation; bounds the memory", minimum=1)
    position_in_tokens: bool = key(False, "add the position code to the tokens, so that values carry it too")
    query_anchors: list[int] = key(
        [],
        "rows and columns of a grid on which the queries start, in place of random ones; empty for none",
        minimum=1,
    )
    content_from_queries: bool = key(False, "start decoding from the queries' own table instead of zeros")
