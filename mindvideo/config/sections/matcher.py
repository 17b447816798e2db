"""Section ``matcher``: how predictions are given to instances in training."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Matcher:
    class_cost: float = key(1.0, "weight of the class probability", minimum=0.0, maximum=1e6)
    box_cost: float = key(5.0, "weight of the box distance", minimum=0.0, maximum=1e6)
    iou_cost: float = key(2.0, "weight of the overlap of the boxes", minimum=0.0, maximum=1e6)
    frames: str = key(
        "all", "frames that count for a cost: all of the clip, or those with the instance", choices=("all", "present")
    )
    validity: str = key(
        "matched",
        "whose presence says which frames are supervised: the matched instance's, or by rank as VisTR was released",
        choices=("matched", "released"),
    )
