"""Section ``videomt``: the vision transformer whose own blocks carry queries from frame to frame."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key
from mindvideo.config.reads import FRAME_SIZE, OWN_TERMS, TRACK_LIVES, reads

# The shared keys that this family reads.
READS = reads(
    FRAME_SIZE,
    OWN_TERMS,
    TRACK_LIVES,
    {"matcher": ("class_cost",), "loss": ("class_weight", "mask_weight", "dice_weight", "no_object_weight")},
)


@dataclasses.dataclass
class VidEoMT:
    num_queries: int = key(200, "queries, each of which can follow one instance", minimum=1)
    backbone: str = key(
        "dinov2",
        "dinov2: a table of positions, norms with 1e-6; dinov3: rotary positions, no key bias, norms with 1e-5",
        choices=("dinov2", "dinov3"),
    )
    width: int = key(384, "channels of tokens and queries: 384 (S), 768 (B), 1024 (L); a multiple of heads", minimum=8)
    heads: int = key(6, "attention heads: width / 64 in the published models", minimum=1)
    num_blocks: int = key(12, "blocks of the transformer", minimum=2)
    query_blocks: int = key(3, "how many of the last blocks see the queries", minimum=1)
    hidden_ratio: int = key(4, "inner width of the feed-forward blocks, in widths", minimum=1)
    feed_forward: str = key("gelu", "form of the feed-forward blocks", choices=("gelu", "swiglu"))
    patch_size: int = key(16, "pixels of a patch in both directions; frames are padded to multiples of it", minimum=4)
    num_registers: int = key(4, "register tokens beside the class token", minimum=0)
    table_size: list[int] = key([640, 640], "height and width of the frames that the position table is for", minimum=4)
    layer_scale: float = key(1.0, "start of the factors on each block's branches", minimum=0.0)
    stem: str = key(
        "patch",
        "how pixels become tokens: one step, or small convolutions that learn from nothing",
        choices=("patch", "convolutions"),
    )
    sine_start: bool = key(False, "position table and queries start as sine codes of places in the frame, not randomly")
    norm_queries: bool = key(False, "queries are handed on, and auxiliary predictions made, after the final norm")
    num_points: int = key(12544, "points at which a mask is compared", minimum=1)
    mask_cost: float = key(5.0, "weight of the cross-entropy of masks in the matching", minimum=0.0)
    dice_cost: float = key(5.0, "weight of the dice loss of masks in the matching", minimum=0.0)
    absent_as_positive: bool = key(
        True, "an instance is taught its class and an empty mask where it is out of the frame, as published"
    )
    layer_decay: float = key(
        0.6, "each block learns at this share of the rate of the one after", minimum=0.0, maximum=1
    )
    max_tracks: int = key(10, "best (query, class) pairs of a video that become results: 10, OVIS 20", minimum=1)
    max_frames: int = key(
        1000, "frames of a video that are kept to look at again for tracks that come out on top late", minimum=1
    )
    square: int = key(0, "inference on frames squeezed to squares of this side; 0 keeps the aspect", minimum=0)
    size_divisor: int = key(32, "frames are padded to multiples of this in inference, as published", minimum=1)
