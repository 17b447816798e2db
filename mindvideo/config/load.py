"""From a YAML file, its bases and the command line's overrides to one checked, locked configuration."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import yaml

from mindvideo.config.check import complete_and_check, nearest_name
from mindvideo.config.schema import Schema
from mindvideo.errors import UserError, printable
from mindvideo.resources import resource_folder

CONFIG_FOLDER_VARIABLE = "MINDVIDEO_CONFIG_DIR"
BASE_KEY = "_base_"
BASE_FOLDER = "_base_"  # in the config folder: files that others build on
COMMAND_LINE = "the command line"
# Sections that together only the YAML files of the earlier MindSpore port have.
EARLIER_PORT = {"model_name", "data_loader", "model"}
_log = logging.getLogger("mindvideo.config")


def config_folder() -> Path:
    return Path(os.environ.get(CONFIG_FOLDER_VARIABLE) or resource_folder("config"))


def known_configs() -> dict[str, Path]:
    """Bare name -> file, for every configuration of the config folder (bases are not configurations)."""
    files = sorted(config_folder().glob("*/*.yaml"))
    return {path.stem: path for path in files if not path.parent.name.startswith("_")}


def find_config(name: str | Path) -> Path:
    """The file of a configuration given by path (``my/vistr.yaml``) or by bare name (``vistr``, ``vistr.yaml``).

    A path that leads nowhere and ends like one of ours (``../../mindvideo/config/vistr/vistr.yaml``, as the earlier
    port's commands have it) is that one, with a warning.
    """
    path = Path(name)
    if is_file(path):
        return path.resolve()
    known = known_configs()
    found = _in_config_folder(path, known) or _elsewhere(path, known)
    if found is None:
        raise UserError(
            f"no configuration '{printable(name)}': not a file, nor a name in {config_folder()} "
            f"({nearest_name(_stem(path), known)})"
        )
    return found


def _in_config_folder(path: Path, named: Mapping[str, Path]) -> Path | None:
    """The file of the config folder that is meant by a bare name or by a path below it."""
    if path.parent == Path(".") and _stem(path) in named:
        return named[_stem(path)]
    return (config_folder() / path).resolve() if is_file(config_folder() / path) else None


def _elsewhere(path: Path, named: Mapping[str, Path]) -> Path | None:
    """Our configuration of that name in a folder of that family, wherever the path looks for it."""
    found = named.get(_stem(path))
    if found is None or path.suffix != ".yaml" or found.parent.name != path.parent.name:
        return None
    _warn_of_new_place(path, found)
    return found


@functools.lru_cache(maxsize=16)  # a command asks more than once
def _warn_of_new_place(path: Path, found: Path) -> None:
    _log.warning("%s is not there: taking %s ('-c %s' finds it from any folder)", path, found, _stem(found))


def _stem(path: Path) -> str:
    return path.name[: -len(".yaml")] if path.name.endswith(".yaml") else path.name


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system is no file's
        return False


def find_base(name: str, beside: Path) -> Path:
    """The file of a ``_base_`` entry: relative to the file that names it, else a configuration or base of ours."""
    path = beside.parent / name
    if is_file(path):
        return path.resolve()
    bases = {file.stem: file for file in (config_folder() / BASE_FOLDER).glob("*.yaml")}
    found = _in_config_folder(Path(name), {**bases, **known_configs()})
    if found is None:
        known = nearest_name(_stem(Path(name)), {**bases, **known_configs()})
        raise UserError(
            f"{beside}: {BASE_KEY} names {name}, but there is no file {path}, nor a configuration ({known})"
        )
    return found


def load_config(name: str | Path, overrides: Sequence[str] = (), *, schema: Schema) -> ml_collections.ConfigDict:
    """Read, merge, override, check and lock a configuration. All problems are reported together."""
    path = find_config(name)
    origins: dict[str, str] = {}
    merged = read_with_bases(path, origins=origins)
    if merged.keys() >= EARLIER_PORT:
        raise UserError(
            f"{path}: a configuration of the earlier MindSpore port; '-c vistr' is its counterpart, and "
            "docs/earlier_port.md says what its keys are called here"
        )
    given, problems = parse_overrides(overrides)
    merge_into(merged, given)
    _note_origins(origins, given, COMMAND_LINE)
    resolved, found = complete_and_check(merged, schema, origins=origins)
    problems += found
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UserError("\n  ".join([f"{path}: {count} in the configuration", *problems]))
    config = ml_collections.ConfigDict(resolved, convert_dict=True)
    config.lock()
    return config


def read_with_bases(
    path: Path, trail: tuple[Path, ...] = (), *, origins: dict[str, str] | None = None
) -> dict[str, Any]:
    """The file's content over that of its ``_base_`` files; later bases win over earlier ones.

    ``origins`` is filled with ``section.key`` -> the file that sets it.
    """
    if path in trail:
        cycle = " -> ".join(str(step) for step in (*trail, path))
        raise UserError(f"{BASE_KEY} goes in a circle: {cycle}")
    content = read_yaml(path)
    bases = content.pop(BASE_KEY, [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: {BASE_KEY} must be a list of file names, got {type(bases).__name__}")
    merged: dict[str, Any] = {}
    for base in bases:
        merge_into(merged, read_with_bases(find_base(base, path), (*trail, path), origins=origins))
    merge_into(merged, content)
    if origins is not None:
        _note_origins(origins, content, str(path))
    return merged


def _note_origins(origins: dict[str, str], content: Mapping[str, Any], place: str) -> None:
    for section, values in content.items():
        if isinstance(values, dict):
            origins.update({f"{section}.{name}": place for name in values})


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; a configuration must not lose a line like that."""


def _construct_unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        name = loader.construct_object(key_node, deep=True)
        if not isinstance(name, (str, int, float, bool, type(None))):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a string", key_node.start_mark)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{name}' stands twice", key_node.start_mark)
        seen.add(name)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise UserError(f"{path}: not a text file in UTF-8") from error
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())[:400]}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be a configuration") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections with keys, got {type(content).__name__}")
    return content


def merge_into(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    """Deep merge: sections are merged key by key, anything else is replaced. An empty section changes nothing."""
    for name, value in source.items():
        if isinstance(target.get(name), dict) and (value is None or isinstance(value, dict)):
            merge_into(target[name], value or {})
        elif isinstance(value, dict):
            target[name] = {}
            merge_into(target[name], value)
        else:
            target[name] = value


def parse_overrides(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """``section.key=value`` strings (values are YAML) as a nested dict, and the problems."""
    given: dict[str, Any] = {}
    problems = []
    for override in overrides:
        path, equals, written = override.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            problems.append(f"override '{override}': expected section.key=value")
            continue
        try:
            value = yaml.load(written, Loader=_UniqueKeyLoader)
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(f"override '{override[:200]}': '{written[:200]}' is not a YAML value")
            continue
        parent = given
        for name in names[:-1]:
            if not isinstance(parent.get(name), dict):
                parent[name] = {}
            parent = parent[name]
        parent[names[-1]] = value
    return given, problems


def dump_config(config: ml_collections.ConfigDict) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back to the same values."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True, width=100)
