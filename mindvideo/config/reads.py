"""Which shared keys a family reads: groups of keys with a name, of which its ``settings.py`` makes ``READS``.

Most shared keys are read for every family, by the data, the optimiser or the trainer. The others (``by_family``) count
only for the families that state them here; a configuration that sets one for another family is refused. A test
records what is read and compares.
"""

from __future__ import annotations

from collections.abc import Mapping

# Sections of which each family reads what it states; in the others only keys that are marked by_family are its own.
FAMILY_SECTIONS = ("backbone", "loss", "matcher")
ALL = ("*",)  # every key of the section
Reads = Mapping[str, tuple[str, ...]]  # section -> keys

BACKBONE: Reads = {"backbone": ALL, "optimizer": ("backbone_learning_rate",)}
OFFSETS: Reads = {"optimizer": ("offset_factor",)}
MATCHING_COSTS: Reads = {"matcher": ("class_cost", "box_cost", "iou_cost")}
LOSS_WEIGHTS: Reads = {"loss": ("class_weight", "box_weight", "giou_weight", "mask_weight", "dice_weight")}
OWN_TERMS: Reads = {"loss": ("own_terms",)}
FRAME_SIZE: Reads = {"inference": ("short_side", "long_side")}
TRACK_LIVES: Reads = {"inference": ("min_birth", "min_life", "max_gap", "kept_frames")}
FEW_SIZES: Reads = {"inference": ("size_multiple",)}
WINDOWS: Reads = {
    "inference": (
        *("window_overlap", "link_similarity", "linking", "bank_tracks", "bank_memory", "min_affinity"),
        *TRACK_LIVES["inference"],
    )
}


def reads(*groups: Reads) -> dict[str, tuple[str, ...]]:
    """The union of groups."""
    found: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for section, keys in group.items():
            found[section] = tuple(dict.fromkeys((*found.get(section, ()), *keys)))
    return found
