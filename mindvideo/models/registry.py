"""The families: one row each, with the package that holds everything about it.

Nothing is imported before it is asked for, so that reading a configuration does not load MindSpore.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindvideo.models.family import Family

# The name that a configuration gives in `family` -> package with `card` and `settings`.
FAMILIES: dict[str, str] = {
    "vistr": "mindvideo.models.vistr",
    "defvistr": "mindvideo.models.defvistr",
    "instanceformer": "mindvideo.models.instanceformer",
    "seqformer": "mindvideo.models.seqformer",
    "videomt": "mindvideo.models.videomt",
    "gmpvis": "mindvideo.models.gmpvis",
    "mssts": "mindvideo.models.mssts",
}


def card_of(name: str) -> Family:
    """The card of a family: what the rest of the project asks it for."""
    return importlib.import_module(f"{FAMILIES[name]}.card").FAMILY


def reads_of(name: str) -> Mapping[str, tuple[str, ...]]:
    """The shared keys that the family reads, by section: ``READS`` of its settings."""
    return importlib.import_module(f"{FAMILIES[name]}.settings").READS


def settings_of(name: str) -> type:
    """The dataclass of the family's own configuration section."""
    module = importlib.import_module(f"{FAMILIES[name]}.settings")
    [settings] = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and getattr(value, "__module__", "") == module.__name__
    ]
    return settings
