"""Section ``loss``: the terms of the training loss and their weights."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Loss:
    class_weight: float = key(1.0, "weight of the classification term", minimum=0.0, maximum=1e6)
    box_weight: float = key(5.0, "weight of the L1 distance of boxes", minimum=0.0, maximum=1e6)
    giou_weight: float = key(2.0, "weight of the generalised IoU of boxes", minimum=0.0, maximum=1e6)
    mask_weight: float = key(1.0, "weight of the focal loss of masks", minimum=0.0, maximum=1e6)
    dice_weight: float = key(1.0, "weight of the dice loss of masks", minimum=0.0, maximum=1e6)
    no_object_weight: float = key(0.1, "weight of the class 'no object' in the cross-entropy", minimum=0.0, maximum=1.0)
    aux_layers: bool = key(True, "apply class and box terms to every decoder layer, not only to the last")
    focal_alpha: float = key(0.25, "share of the positive pixels in the focal loss", minimum=0.0, maximum=1.0)
    focal_gamma: float = key(2.0, "how much the focal loss favours hard pixels", minimum=0.0, maximum=100.0)
    mask_stride: int = key(1, "masks are compared at every this many pixels in both directions", minimum=1, maximum=64)
    own_terms: list[str] = key(
        [], "terms of your own as NAME=WEIGHT, registered by the file of mindvideo train --import (docs/own_data.md)"
    )
    empty_frames: bool = key(False, "the focal term also asks for empty masks in frames without the instance")
