"""From a configuration to something that takes videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.data import build_catalogue
from mindvideo.assembly.network import build_network, tracker_of
from mindvideo.assembly.runtime import prepare_device
from mindvideo.data.labels.categories import read_category_file
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.trackers.tracker import VideoTracker


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
            class_names=class_names(cfg),
            read_ahead=inference.read_ahead,
        )


def class_names(cfg: ConfigDict) -> dict[int, str]:
    """Category id -> name: those of the configuration, else of the set the model was made for; empty where unknown."""
    if cfg.inference.class_names:
        return dict(enumerate(cfg.inference.class_names, start=1))
    files = build_catalogue(cfg).find(cfg.data.valid)
    categories = ()
    if files.categories is not None:
        categories = read_category_file(files.categories)
    elif files.annotations.is_file():
        categories = read_category_file(files.annotations)
    return {category.id: category.name for category in categories}


def build_tracker(cfg: ConfigDict, *, weights: str | Path | None) -> VideoTracker:
    """The family's network with its weights, as a tracker."""
    return tracker_of(cfg, build_network(cfg, weights=weights))
