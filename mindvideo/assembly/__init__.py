"""From a configuration to data, network, training and inference: the one place, beside the cards, that reads it.

The names load when they are first used: a configuration is read without MindSpore.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "VideoPredictor": "predictor",
    "build_model": "network",
    "build_network": "network",
    "build_tracker": "predictor",
    "for_videos": "network",
    "build_trainer": "training",
    "build_training_data": "data",
    "build_validation": "evaluation",
    "labelled_set": "data",
    "load_config": "configuration",
    "prepare_device": "runtime",
    "start_process": "training",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(importlib.import_module(f"mindvideo.assembly.{HOMES[name]}"), name)
    raise AttributeError(f"module 'mindvideo.assembly' has no attribute {name!r}; it has {', '.join(__all__)}")
