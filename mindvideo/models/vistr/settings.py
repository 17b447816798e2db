"""Section ``vistr``: the network of VisTR."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key
from mindvideo.config.reads import ALL, BACKBONE, FRAME_SIZE, WINDOWS, reads
from mindvideo.models.cards.clip_settings import DenseClipModel

# The shared keys that this family reads.
READS = reads(BACKBONE, FRAME_SIZE, WINDOWS, {"matcher": ALL, "loss": ALL})


@dataclasses.dataclass
class VisTR(DenseClipModel):
    masks: bool = key(True, "predict masks; false leaves a box model")
