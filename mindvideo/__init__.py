"""mindvideo: video instance segmentation on MindSpore.

``import mindvideo`` prepares the process (see :mod:`mindvideo.environment`) and imports nothing heavy. The public
names below are loaded when they are first used, so that reading annotations or evaluating a result file does not wait
for MindSpore.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mindvideo.environment import prepare_environment

prepare_environment()

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names as in _PUBLIC, for editors and type checkers
    from mindvideo.api import VideoModel, VideoResult, load
    from mindvideo.assembly import VideoPredictor, build_model
    from mindvideo.assembly.configuration import load_config
    from mindvideo.errors import UserError
    from mindvideo.inference.output.results import load_results
    from mindvideo.structures import VideoInstances

_PUBLIC = {
    "load": "mindvideo.api",
    "VideoModel": "mindvideo.api",
    "VideoResult": "mindvideo.api",
    "load_config": "mindvideo.assembly.configuration",
    "build_model": "mindvideo.assembly",
    "VideoPredictor": "mindvideo.assembly",
    "VideoInstances": "mindvideo.structures",
    "load_results": "mindvideo.inference.output.results",
    "UserError": "mindvideo.errors",
}
__all__ = [
    "UserError",
    "VideoInstances",
    "VideoModel",
    "VideoPredictor",
    "VideoResult",
    "__version__",
    "build_model",
    "load",
    "load_config",
    "load_results",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mindvideo' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
