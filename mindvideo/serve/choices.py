"""The configurations and weights that the page offers. A visitor names one of them; paths never come from the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mindvideo.config.headers import read_header
from mindvideo.config.load import find_config, known_configs
from mindvideo.errors import UserError
from mindvideo.run_folder import RESOLVED_CONFIG, kept_weights
from mindvideo.weights.published import read_catalogue

WEIGHT_SUFFIXES = (".ckpt", ".pth", ".pt", ".safetensors")
_OF_A_RUN = ("best.ckpt", "last.ckpt")


@dataclasses.dataclass(frozen=True)
class Choice:
    """``name``: shown and sent back; ``file``: the YAML file or the weights; ``note``: a line about it.

    ``configuration``: with weights of a run, the name of the configuration they were trained with.
    """

    name: str
    file: Path
    note: str = ""
    configuration: str = ""


@dataclasses.dataclass(frozen=True)
class Choices:
    configurations: dict[str, Choice]
    weights: dict[str, Choice]

    def configuration(self, name: object) -> Choice:
        return _chosen(self.configurations, name, "configuration")

    def weights_file(self, name: object) -> Choice:
        return _chosen(self.weights, name, "weights")


def find_choices(*, configuration: str | None, weights: str | None, folders: Sequence[Path]) -> Choices:
    """All that is offered now: the pair of the command line first; runs and weights files in ``folders``; published
    weights that are in their cache folder; all configurations of the package."""
    configurations: dict[str, Choice] = {}
    found: dict[str, Choice] = {}
    if configuration is not None:
        _add(configurations, Choice(configuration, find_config(configuration), "of the command line"))
    if weights is not None:
        _add(found, Choice(Path(weights).name, Path(weights).resolve(), "of the command line", configuration or ""))
    for folder in folders:
        _add_of_folder(folder, configurations, found)
    for entry in read_catalogue().values():
        if entry.place.is_file():
            _add(found, Choice(entry.name, entry.place, f"published, {entry.dataset}", entry.configuration or ""))
    for name, file in known_configs().items():
        if name not in configurations:
            configurations[name] = Choice(name, file, read_header(file)["What"])
    return Choices(configurations, found)


def _add_of_folder(folder: Path, configurations: dict[str, Choice], weights: dict[str, Choice]) -> None:
    """The folder itself and those directly below it, as runs or as places of weights files."""
    if not folder.is_dir():
        return
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        resolved = place / RESOLVED_CONFIG
        of_run = [place / name for name in _OF_A_RUN if (place / name).is_file()]
        if resolved.is_file() and of_run:
            name = f"{place.name} (its own)"
            _add(configurations, Choice(name, resolved.resolve(), f"configuration of the run {place.name}"))
            for file in (*of_run, *kept_weights(place)):
                _add(weights, Choice(f"{place.name}/{file.name}", file.resolve(), "of a training", name))
            continue
        for file in sorted(path for path in place.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file()):
            _add(weights, Choice(file.name, file.resolve(), str(place)))


def _add(into: dict[str, Choice], choice: Choice) -> None:
    """The same file is offered once; another of the same name says where it lies."""
    if any(other.file == choice.file for other in into.values()):
        return
    if choice.name in into:
        choice = dataclasses.replace(choice, name=str(choice.file))
    into[choice.name] = choice


def _chosen(among: dict[str, Choice], name: object, what: str) -> Choice:
    if not isinstance(name, str) or name not in among:
        raise UserError(f"{what} '{str(name)[:80]}': not among those that are offered here")
    return among[name]
