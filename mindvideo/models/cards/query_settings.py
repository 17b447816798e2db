"""Keys that the sections of all models with queries and dynamic masks have."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class QueryModel:
    num_queries: int = key(300, "queries, each of which can follow one instance", minimum=1)
    width: int = key(256, "width of tokens and queries; a multiple of 32 and of heads", minimum=32)
    heads: int = key(8, "attention heads", minimum=1)
    encoder_layers: int = key(6, "layers of the deformable encoder", minimum=1)
    decoder_layers: int = key(6, "layers of the decoder", minimum=1)
    hidden: int = key(1024, "inner width of the feed-forward blocks", minimum=1)
    dropout: float = key(0.1, "dropout rate of the transformer", minimum=0, maximum=0.9)
    backbone_levels: list[int] = key(
        [1, 2, 3],
        "stages of the backbone whose maps are used; masks: half the finest one's stride",
        minimum=0,
        maximum=3,
        items=(1, 4),
    )
    extra_levels: int = key(1, "coarser levels added after them, each at half the size", minimum=0, maximum=3)
    mask_channels: int = key(0, "channels of the map that masks are made from; 0 takes width / 32", minimum=0)
    encoder_points: int = key(4, "points a head reads on each level, encoder", minimum=1)
    decoder_points: int = key(4, "points a head reads on each level, decoder", minimum=1)
