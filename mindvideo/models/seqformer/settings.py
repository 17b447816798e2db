"""Section ``seqformer``: the model whose queries hold an instance for a whole clip."""

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
class SeqFormer(QueryModel):
    absent_boxes: bool = key(
        True, "where an instance is out of the frame, its box is taught to be a speck in the corner, as published"
    )
    window_frames: int = key(
        64, "frames that are seen together; a longer video is seen in overlapping windows", minimum=2
    )
    candidate_pairs: int = key(10, "best (query, class) pairs of a video that become results", minimum=1)
