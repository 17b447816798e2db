"""From a configuration and weights to something that takes videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.build.network import build_network
from mindvideo.build.runtime import prepare_device
from mindvideo.config import load_config
from mindvideo.families import FAMILIES
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.tracker import VideoTracker


def build_tracker(cfg: ConfigDict, network: nn.Cell) -> VideoTracker:
    """The family's way from frames to instances, around a network with its weights."""
    return FAMILIES[cfg.family].build_tracker(cfg, network)


class VideoPredictor(Predictor):
    """A model that runs on videos: ``VideoPredictor.from_config("vistr", weights="vistr_r50.pth").track("a.mp4")``."""

    @classmethod
    def from_config(cls, name: str | Path, *, weights: str | Path, overrides: Sequence[str] = ()) -> VideoPredictor:
        """``name``: a configuration by name or path; ``overrides``: ``section.key=value`` texts."""
        cfg = load_config(name, overrides)
        prepare_device(cfg)
        return cls.from_network(cfg, build_network(cfg, weights=weights))

    @classmethod
    def from_network(cls, cfg: ConfigDict, network: nn.Cell) -> VideoPredictor:
        inference = cfg.inference
        return cls(
            tracker=build_tracker(cfg, network), class_names=inference.class_names, read_ahead=inference.read_ahead
        )
