"""The whole configuration: every section, every key, its type, default and meaning.

A section is one dataclass in ``sections/``; this module composes them and answers questions about their keys.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

from mindvideo.config import sections
from mindvideo.models.registry import FAMILIES, settings_of

TOP_LEVEL_KEYS = {
    "family": "name of the model family; its own settings are in the section of the same name",
    "name": "short name of this configuration; names the run folder",
}


@dataclasses.dataclass(frozen=True)
class KeySpec:
    """What the schema knows of one key."""

    section: str
    name: str
    type: Any
    default: Any
    meaning: str
    choices: tuple[Any, ...] | None
    minimum: float | None
    maximum: float | None

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def type_name(self) -> str:
        return describe_type(self.type)


def section_classes() -> dict[str, type]:
    """Section name -> dataclass: the shared ones of ``mindvideo.config.sections``, then each family's own."""
    found = {}
    for module_info in sorted(pkgutil.iter_modules(sections.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{sections.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                found[module_info.name] = value
    return found | {name: settings_of(name) for name in FAMILIES}


def keys_of_section(section: str, section_class: type) -> Iterator[KeySpec]:
    types = typing.get_type_hints(section_class)
    for field in dataclasses.fields(section_class):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        choices = field.metadata["choices"]
        yield KeySpec(
            section=section,
            name=field.name,
            type=types[field.name],
            default=default,
            meaning=field.metadata["meaning"],
            choices=tuple(choices) if choices is not None else None,
            minimum=field.metadata["minimum"],
            maximum=field.metadata["maximum"],
        )


def all_keys() -> dict[str, dict[str, KeySpec]]:
    """Section -> key name -> specification."""
    return {
        section: {spec.name: spec for spec in keys_of_section(section, section_class)}
        for section, section_class in section_classes().items()
    }


def describe_type(annotation: Any) -> str:
    """``int``, ``list of float``, ``text or null``: a type as the messages print it."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if annotation is type(None):
        return "null"
    if origin is list:
        return f"list of {describe_type(arguments[0])}"
    if origin is dict:
        return f"map of {describe_type(arguments[0])} to {describe_type(arguments[1])}"
    if arguments:
        return " or ".join(describe_type(argument) for argument in arguments)
    return {int: "int", float: "number", str: "text", bool: "true or false"}.get(annotation, str(annotation))
