"""Rules that tie several keys of InstanceFormer's section together."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.models.cards.queries import check_encoded_frames


def check(cfg: ConfigDict) -> None:
    """UserError for settings that contradict each other."""
    check_encoded_frames(cfg, "instanceformer")
    instanceformer = cfg.instanceformer
    if instanceformer.memory_tokens and instanceformer.memory_frames < 2:
        raise UserError(
            f"instanceformer.memory_tokens is {instanceformer.memory_tokens}, so instanceformer.memory_frames must be "
            f"2 or more (the current frame counts), not {instanceformer.memory_frames}"
        )
    if instanceformer.memory_tokens > instanceformer.num_queries:
        raise UserError(
            f"instanceformer.memory_tokens is {instanceformer.memory_tokens}, but there are only "
            f"{instanceformer.num_queries} queries to remember (instanceformer.num_queries)"
        )
    if instanceformer.memory_tokens and instanceformer.match_on == "clip":
        raise UserError(
            "instanceformer.match_on=clip needs instanceformer.memory_tokens=0: the memory holds the matched queries "
            "of the frames so far"
        )
    propagations = {instanceformer.reference_propagation, instanceformer.inference_propagation} - {"same"}
    if "box" in propagations and len(propagations) > 1:
        raise UserError(
            "instanceformer.inference_propagation must be 'same' where boxes are carried, and box only there"
        )
    if instanceformer.contrastive_weight and not instanceformer.memory_tokens:
        raise UserError("instanceformer.contrastive_weight needs remembered queries: set instanceformer.memory_tokens")
