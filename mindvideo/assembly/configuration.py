"""The configuration engine with the families of the registry. Nothing here loads MindSpore."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.config import load
from mindvideo.config.schema import FamilySettings, Schema
from mindvideo.models.registry import FAMILIES, reads_of, settings_of


def schema() -> Schema:
    """Every section and key, with what each registered family reads."""
    return _schema_of(tuple(FAMILIES))


@functools.lru_cache(maxsize=4)
def _schema_of(names: tuple[str, ...]) -> Schema:
    return Schema({name: FamilySettings(section=settings_of(name), reads=reads_of(name)) for name in names})


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Read, merge, override, check and lock a configuration, by bare name or path: ``load_config("vistr")``.

    ``overrides``: ``section.key=value`` strings. All problems are reported together, as one ``UserError``.
    """
    return load.load_config(name, overrides, schema=schema())
