"""From a configuration to a network with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.assembly.checkpoints import configs_that_fit
from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.runtime import prepare_device
from mindvideo.errors import UserError
from mindvideo.inference.trackers.scenes import SceneTracker
from mindvideo.inference.trackers.tracker import VideoTracker
from mindvideo.models.registry import card_of
from mindvideo.weights.loading import load_weights


def build_network(
    cfg: ConfigDict,
    *,
    weights: str | Path | None = None,
    start_of_training: bool = False,
    class_names: Mapping[int, str] | None = None,
) -> nn.Cell:
    """The family's network; ``weights``, in any format that ``mindvideo convert`` reads, are loaded strictly.

    At the ``start_of_training`` they may lack what their kind of file never holds, and be for another class list
    (``class_names``: that of the training).
    """
    family = card_of(cfg.family)
    network = family.build_network(cfg)
    if weights is not None:
        load_weights(
            network,
            weights,
            rules=family.weight_rules(cfg),
            start_of_training=start_of_training,
            suggest=configs_that_fit,
            class_names=class_names,
        )
    return network


def tracker_of(cfg: ConfigDict, network: nn.Cell) -> VideoTracker:
    """The family's tracker over a network with weights."""
    tracker: Any = card_of(cfg.family).build_tracker(cfg, network)  # what it offers besides differs by family
    tracker.graph_name = cfg.name
    if cfg.inference.analysis_folder and getattr(tracker, "observer", None) is None:
        raise UserError(
            f"inference.analysis_folder: {cfg.family} records nothing here; choose a family that goes frame by frame "
            "(instanceformer) or windows linked by inference.linking=features, or leave it empty"
        )
    return tracker


def for_videos(cfg: ConfigDict, tracker: Any, *, evaluated: bool) -> VideoTracker:
    """The tracker as the keys ``any_length`` and ``scene_cuts`` want it; ``evaluated``: for labelled videos.

    What an online model saw is recorded of the published procedure in one scene, so nothing is changed then.
    """
    inference = cfg.inference
    wanted = ("everywhere",) if evaluated else ("everywhere", "videos")
    if inference.analysis_folder:
        return tracker
    if inference.any_length in wanted and hasattr(tracker, "of_any_length"):
        tracker = tracker.of_any_length()
    if inference.scene_cuts in wanted:
        tracker = SceneTracker(tracker)
    tracker.graph_name = cfg.name
    return tracker


def build_model(name: str | Path, overrides: Sequence[str] = (), *, weights: str | Path | None = None) -> nn.Cell:
    """The network of a configuration, by name or path: ``build_model("vistr", weights="vistr_r50.pth")``."""
    cfg = load_config(name, overrides)
    prepare_device(cfg)
    return build_network(cfg, weights=weights)
