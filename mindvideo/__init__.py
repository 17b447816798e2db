"""mindvideo: video instance segmentation on MindSpore.

``import mindvideo`` prepares the process (see :mod:`mindvideo.environment`) and imports nothing heavy. The public
names below are loaded when they are first used, so that reading annotations or evaluating a result file does not wait
for MindSpore.
"""

from __future__ import annotations

import importlib

from mindvideo.environment import prepare_environment

prepare_environment()

__version__ = "0.1.0"

_PUBLIC = {
    "load_config": "mindvideo.assembly.configuration",
    "build_model": "mindvideo.assembly",
    "VideoPredictor": "mindvideo.assembly",
    "VideoInstances": "mindvideo.structures",
    "load_results": "mindvideo.inference.output.results",
    "UserError": "mindvideo.errors",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mindvideo' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
