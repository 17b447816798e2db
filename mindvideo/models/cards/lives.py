"""Videos of any length: when tracks begin and end."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.inference.trackers.lives import LifeRules


def life_rules(cfg: ConfigDict) -> LifeRules:
    inference = cfg.inference
    return LifeRules(
        min_birth=inference.min_birth,
        min_life=inference.min_life,
        max_gap=inference.max_gap,
        kept_frames=inference.kept_frames,
    )
