"""Section ``mssts``: SeqFormer with what the paper of MS-STS VIS adds, each part to be switched off."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key
from mindvideo.config.reads import (
    BACKBONE,
    FEW_SIZES,
    FRAME_SIZE,
    LOSS_WEIGHTS,
    MATCHING_COSTS,
    OFFSETS,
    OWN_TERMS,
    WINDOWS,
    reads,
)
from mindvideo.models.cards.query_settings import QueryModel

# The shared keys that this family reads.
READS = reads(BACKBONE, OFFSETS, MATCHING_COSTS, LOSS_WEIGHTS, OWN_TERMS, FRAME_SIZE, FEW_SIZES, WINDOWS)


@dataclasses.dataclass
class MSSTS(QueryModel):
    split_attention: bool = key(True, "attention over frames and scales in the encoder")
    split_width: int = key(
        0, "width inside the split attention, a multiple of heads; 0 takes a quarter of width", minimum=0
    )
    temporal_attention: bool = key(True, "attention of an instance's box queries over the frames in the decoder")
    adversarial: bool = key(True, "a discriminator of annotated and predicted masks, while training")
    adversarial_weight: float = key(0.01, "weight of the loss of not deceiving the discriminator", minimum=0)
    discriminator_learning_rate: float = key(1.0e-4, "learning rate of the discriminator", minimum=0)
    absent_boxes: bool = key(
        True, "where an instance is out of the frame, its box is taught to be a speck in the corner, as published"
    )
    window_frames: int = key(
        36, "frames that are seen together; a longer video is seen in overlapping windows", minimum=2
    )
    candidate_pairs: int = key(10, "best (query, class) pairs of a video that become results", minimum=1)
