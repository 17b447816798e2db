"""From a configuration to something that takes videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.build.network import build_network
from mindvideo.build.runtime import prepare_device
from mindvideo.config import load_config
from mindvideo.families import FAMILIES
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.tracker import VideoTracker


class VideoPredictor(Predictor):
    """``VideoPredictor.from_config("vistr", weights="vistr_r50.pth").track("clip.mp4")``: see ``docs/inference.md``."""

    @classmethod
    def from_config(
        cls, config: str | Path | ConfigDict, overrides: Sequence[str] = (), *, weights: str | Path | None
    ) -> VideoPredictor:
        """``config``: a name, a YAML file, or what ``load_config`` gave. ``weights=None`` leaves them random."""
        cfg = config if isinstance(config, ConfigDict) else load_config(config, overrides)
        prepare_device(cfg)
        inference = cfg.inference
        return cls(
            tracker=build_tracker(cfg, weights=weights),
            class_names=inference.class_names,
            read_ahead=inference.read_ahead,
        )


def build_tracker(cfg: ConfigDict, *, weights: str | Path | None) -> VideoTracker:
    """The family's network with its weights, as a tracker."""
    return FAMILIES[cfg.family].build_tracker(cfg, build_network(cfg, weights=weights))
