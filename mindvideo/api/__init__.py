"""A model in one line, and its results in the forms that other tools take."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindvideo.api.model import VideoModel, load
    from mindvideo.api.result import VideoResult

# Loaded when they are first used: results are read without MindSpore.
HOMES = {"VideoModel": "model", "load": "model", "VideoResult": "result"}
__all__ = ["VideoModel", "VideoResult", "load"]


def __getattr__(name: str) -> object:
    if name in HOMES:
        return getattr(importlib.import_module(f"mindvideo.api.{HOMES[name]}"), name)
    raise AttributeError(f"module 'mindvideo.api' has no attribute {name!r}; it has {', '.join(__all__)}")
