"""From a configuration to something that takes videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.data import build_catalogue
from mindvideo.assembly.network import build_network, for_videos, tracker_of
from mindvideo.assembly.runtime import prepare_device
from mindvideo.data.labels.categories import Category, read_category_file
from mindvideo.errors import UserError
from mindvideo.execution.precision import apply_precision, chosen_precision
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.trackers.tracker import VideoTracker
from mindvideo.weights.checkpoint_file import class_names_of
from mindvideo.weights.find import find_weights


class VideoPredictor(Predictor):
    """``VideoPredictor.from_config("vistr", weights="vistr_r50.pth").track("clip.mp4")``: see ``docs/inference.md``."""

    @classmethod
    def from_config(
        cls, config: str | Path | ConfigDict, overrides: Sequence[str] = (), *, weights: str | Path | None
    ) -> VideoPredictor:
        """``config``: a name, a YAML file, or what ``load_config`` gave.

        ``weights``: a file, a name of ``mindvideo weights``, ``hf:owner/repository``; None leaves them random.
        """
        cfg = config if isinstance(config, ConfigDict) else load_config(config, overrides)
        weights = None if weights is None else find_weights(weights)
        prepare_device(cfg)
        inference = cfg.inference
        return cls(
            tracker=for_videos(cfg, build_tracker(cfg, weights=weights), evaluated=False),
            class_names=class_names(cfg, weights),
            read_ahead=inference.read_ahead,
        )


def class_names(cfg: ConfigDict, weights: str | Path | None = None) -> dict[int, str]:
    """Category id -> name: of the configuration, else of the weights, else of the set the model was made for.

    Names of the configuration must be as many as the weights know. Empty where nothing is known.
    """
    of_weights = None if weights is None else class_names_of(weights)
    given = dict(enumerate(cfg.inference.class_names, start=1))
    if given and of_weights and len(given) != len(of_weights):
        raise UserError(
            f"inference.class_names has {len(given)} names, but {weights} was trained with {len(of_weights)} classes: "
            f"{_listed(of_weights)}; leave the key out to take those"
        )
    return given or of_weights or _names_of_set(cfg)


def _listed(names: Mapping[int, str], limit: int = 5) -> str:
    return ", ".join(list(names.values())[:limit]) + (", ..." if len(names) > limit else "")


def _names_of_set(cfg: ConfigDict) -> dict[int, str]:
    files = build_catalogue(cfg).find(cfg.data.valid)
    categories: Sequence[Category] = ()
    if files.categories is not None:
        categories = read_category_file(files.categories)
    elif files.annotations.is_file():
        categories = read_category_file(files.annotations)
    return {category.id: category.name for category in categories}


def build_tracker(cfg: ConfigDict, *, weights: str | Path | None) -> VideoTracker:
    """The family's network with its weights, as a tracker."""
    network = build_network(cfg, weights=weights)
    require_finite_weights(network, weights)
    apply_precision(network, chosen_precision(cfg.inference.precision), for_training=False)
    return tracker_of(cfg, network)


def require_finite_weights(network: nn.Cell, weights: str | Path | None) -> None:
    """UserError for weights of NaN or infinity: such a network finds nothing, whatever it is shown."""
    for parameter in network.get_parameters():
        values = parameter.asnumpy()
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise UserError(
                f"weights {weights}: {parameter.name} holds NaN or infinity; the file is damaged, or its training "
                "diverged: take an earlier checkpoint"
            )
