"""The catalogue of published weights: who made them, what they reach, and where they are to be had."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import yaml

from mindvideo.errors import UserError
from mindvideo.resources import cache_folder

CATALOGUE = Path(__file__).with_name("published.yaml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """One published file. None stands for what its publisher does not state.

    ``file`` is its name in the cache folder. ``url`` is the address of the file itself; where there is none ``page`` is
    where a person downloads it. ``sha256`` may be only the first digits, as far as they are stated. ``configuration``
    is the one that the file is complete for, None for files that only start a training; ``families`` are those that
    load it.
    """

    name: str
    file: str
    families: tuple[str, ...]
    paper: str
    dataset: str
    page: str
    configuration: str | None = None
    ap: float | None = None
    url: str | None = None
    licence: str | None = None
    size: int | None = None
    sha256: str | None = None
    note: str = ""

    @property
    def place(self) -> Path:
        return weights_folder() / self.file


def weights_folder() -> Path:
    """Where published files are kept."""
    return cache_folder() / "weights"


@functools.lru_cache(maxsize=4)
def read_catalogue(path: Path = CATALOGUE) -> dict[str, PublishedWeights]:
    """Name -> entry, in the order of the file."""
    entries: dict[str, PublishedWeights] = {}
    for group in yaml.safe_load(path.read_text(encoding="utf-8")):
        shared = {key: value for key, value in group.items() if key != "files"}
        for values in group["files"]:
            facts = {**shared, **values}
            facts["families"] = tuple(facts["families"])
            entry = PublishedWeights(**facts)
            if entry.name in entries:
                raise ValueError(f"{path}: two entries are called {entry.name}")
            entries[entry.name] = entry
    return entries


def published_for(configuration: str) -> list[PublishedWeights]:
    """The files that are complete for a configuration."""
    return [entry for entry in read_catalogue().values() if entry.configuration == configuration]


def how_to_get(entry: PublishedWeights) -> UserError:
    """The line for a person, where a download needs one."""
    return UserError(
        f"weights {entry.name} have to be downloaded by hand: open {entry.page} , then put the file at {entry.place}"
        + (f" ({entry.note})" if entry.note else "")
    )
