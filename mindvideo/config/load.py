"""From a YAML file, its bases and the command line's overrides to one checked, locked configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import yaml

from mindvideo.config.check import complete_and_check, nearest_name
from mindvideo.errors import UserError
from mindvideo.models.registry import FAMILIES

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "config"
CONFIG_FOLDER_VARIABLE = "MINDVIDEO_CONFIG_DIR"
BASE_KEY = "_base_"


def config_folder() -> Path:
    return Path(os.environ.get(CONFIG_FOLDER_VARIABLE, CONFIG_FOLDER))


def known_configs() -> dict[str, Path]:
    """Bare name -> file, for every configuration of the config folder (bases are not configurations)."""
    files = sorted(config_folder().glob("*/*.yaml"))
    return {path.stem: path for path in files if not path.parent.name.startswith("_")}


def find_config(name: str | Path) -> Path:
    """The file of a configuration given by path (``my/vistr.yaml``) or by bare name (``vistr``, ``vistr.yaml``)."""
    path = Path(name)
    if path.is_file():
        return path.resolve()
    known = known_configs()
    stem = path.name[: -len(".yaml")] if path.name.endswith(".yaml") else path.name
    if path.parent == Path(".") and stem in known:
        return known[stem]
    if (config_folder() / path).is_file():
        return (config_folder() / path).resolve()
    raise UserError(
        f"no configuration '{name}': not a file, nor a name in {config_folder()} ({nearest_name(stem, known)})"
    )


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Read, merge, override, check and lock a configuration. All problems are reported together."""
    path = find_config(name)
    merged = read_with_bases(path)
    problems = apply_overrides(merged, overrides)
    resolved, found = complete_and_check(merged, FAMILIES)
    problems += found
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UserError("\n  ".join([f"{path}: {count} in the configuration", *problems]))
    config = ml_collections.ConfigDict(resolved, convert_dict=True)
    config.lock()
    return config


def read_with_bases(path: Path, trail: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's content over that of its ``_base_`` files; later bases win over earlier ones."""
    if path in trail:
        cycle = " -> ".join(str(step) for step in (*trail, path))
        raise UserError(f"{BASE_KEY} goes in a circle: {cycle}")
    content = read_yaml(path)
    bases = content.pop(BASE_KEY, [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: {BASE_KEY} must be a list of file names, got {bases!r}")
    merged: dict[str, Any] = {}
    for base in bases:
        base_path = (path.parent / base).resolve()
        if not base_path.is_file():
            raise UserError(f"{path}: {BASE_KEY} names {base}, but there is no file {base_path}")
        merge_into(merged, read_with_bases(base_path, (*trail, path)))
    merge_into(merged, content)
    return merged


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; a configuration must not lose a line like that."""


def _construct_unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        name = loader.construct_object(key_node, deep=True)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{name}' stands twice", key_node.start_mark)
        seen.add(name)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections with keys, got {type(content).__name__}")
    return content


def merge_into(target: dict[str, Any], source: dict[str, Any]) -> None:
    """Deep merge: sections are merged key by key, anything else is replaced."""
    for name, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            merge_into(target[name], value)
        else:
            target[name] = value


def apply_overrides(config: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Apply ``section.key=value`` texts in place (values are YAML); return the problems."""
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            problems.append(f"override '{override}': expected section.key=value")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"override '{override}': '{text}' is not a YAML value")
            continue
        parent = config
        for name in names[:-1]:
            if not isinstance(parent.get(name), dict):
                parent[name] = {}
            parent = parent[name]
        parent[names[-1]] = value
    return problems


def dump_config(config: ml_collections.ConfigDict) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back to the same values."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True, width=100)
