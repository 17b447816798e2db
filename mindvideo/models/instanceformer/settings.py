"""Section ``instanceformer``: the online model that carries its queries from frame to frame."""

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
    TRACK_LIVES,
    reads,
)
from mindvideo.models.cards.query_settings import QueryModel

PROPAGATIONS = ["none", "multiply", "add", "box"]


# The shared keys that this family reads.
READS = reads(BACKBONE, OFFSETS, MATCHING_COSTS, LOSS_WEIGHTS, OWN_TERMS, FRAME_SIZE, FEW_SIZES, TRACK_LIVES)


@dataclasses.dataclass
class InstanceFormer(QueryModel):
    locate_by_position: bool = key(
        True, "where the decoder looks depends on the query's position code too; false is the last public revision"
    )
    reference_propagation: str = key(
        "none",
        "how a frame's reference points follow from the frame before, in training; box: they are its boxes",
        choices=PROPAGATIONS,
    )
    inference_propagation: str = key(
        "same", "the same at inference; 'same' is what training does", choices=["same", *PROPAGATIONS]
    )
    propagate_class: bool = key(
        False, "carry the published class-propagation weights; what they computed leaves the classes as they are"
    )
    memory_frames: int = key(
        0, "frames of the memory at inference, the current one included; training sees its clip", minimum=0
    )
    memory_tokens: int = key(0, "queries remembered of each frame; 0 builds the model without memory", minimum=0)
    memory_mixes_clips: bool = key(False, "train as the published models did: memory attention reads across the batch")
    aux_masks_from_last_layer: bool = key(
        False, "train as the published models did: early layers' masks follow the last layer's matching"
    )
    match_on: str = key(
        "first_frame",
        "frames that decide which query an instance belongs to; the clip's need a model without memory",
        choices=["first_frame", "clip"],
    )
    absent_as_positive: bool = key(
        True, "an instance that is out of the frame is taught its class and an empty mask, as published"
    )
    contrastive_weight: float = key(
        0.0, "weight of the contrastive loss between the remembered queries of a clip; needs memory", minimum=0
    )
    first_frames: int = key(3, "frames at the start from which the candidates are picked", minimum=1)
    candidate_pairs: int = key(50, "best (frame, query, class) of those frames whose queries are kept", minimum=1)
    frames_per_vote: int = key(4, "a track's class and score are the vote of its best T / this many", minimum=1)
