"""The whole configuration: every section, every key, its type, default and meaning, and which family reads it.

A shared section is one dataclass in ``sections/``. The families' own sections, and what they read of the shared ones,
come in from outside, so that this room knows none of them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from mindvideo.config import sections
from mindvideo.config.key import RULES, Rules, When
from mindvideo.config.reads import ALL, FAMILY_SECTIONS, Reads

TOP_LEVEL_KEYS = {
    "family": "name of the model family; its own settings are in the section of the same name",
    "name": "short name of this configuration; names the run folder",
}
# Strings that may be left out.
OPTIONAL_KEYS = {
    "weights": "weights file of train, eval, infer and export, where the command names none with --weights",
}


@dataclasses.dataclass(frozen=True)
class FamilySettings:
    """One family's part of the schema: the dataclass of its own section and the shared keys that it reads."""

    section: type
    reads: Reads


@dataclasses.dataclass(frozen=True)
class KeySpec:
    """One key as the schema has it."""

    section: str
    name: str
    type: Any
    default: Any
    rules: Rules

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def meaning(self) -> str:
        return self.rules.meaning

    @property
    def type_name(self) -> str:
        return describe_type(self.type)


@dataclasses.dataclass(frozen=True)
class Schema:
    """All sections: the shared ones and those of ``families``."""

    families: Mapping[str, FamilySettings]

    @functools.cached_property
    def sections(self) -> dict[str, dict[str, KeySpec]]:
        """Section -> key name -> specification; the shared sections come first."""
        classes = {**shared_sections(), **{name: family.section for name, family in self.families.items()}}
        return {name: {spec.name: spec for spec in keys_of_section(name, each)} for name, each in classes.items()}

    def keys(self) -> list[KeySpec]:
        return [spec for specs in self.sections.values() for spec in specs.values()]

    def read_by(self, spec: KeySpec, family: str) -> bool:
        """Whether a configuration of ``family`` can do something with the key."""
        if spec.section in self.families:
            return spec.section == family
        by_family = spec.rules.by_family or spec.section in FAMILY_SECTIONS
        return not by_family or names_key(self.families[family].reads, spec)

    def why_dead(self, spec: KeySpec, family: str, values: Mapping[str, Any]) -> str | None:
        """Why the key has no effect beside the other ``values`` of its section, or None where it has one."""
        if not self.read_by(spec, family):
            others = [name for name in self.sections[spec.section] if self.read_by(self.key(spec, name), family)]
            return f"{family} does not read it (of this section it reads {', '.join(others) or 'nothing'})"
        when = spec.rules.when
        if when is not None:
            chosen = values.get(when.key, self.key(spec, when.key).default)
            if chosen not in when.values:
                return f"it is for {when.words}, and {spec.section}.{when.key} is {chosen}"
        return None

    def key(self, beside: KeySpec, name: str) -> KeySpec:
        return self.sections[beside.section][name]


def names_key(reads: Reads, spec: KeySpec) -> bool:
    named = reads.get(spec.section, ())
    return named == ALL or spec.name in named


@functools.cache
def shared_sections() -> dict[str, type]:
    """Section name -> dataclass, of the modules of ``mindvideo.config.sections``."""
    found = {}
    for module_info in sorted(pkgutil.iter_modules(sections.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{sections.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                found[module_info.name] = value
    return found


def keys_of_section(section: str, section_class: type) -> Iterator[KeySpec]:
    types = typing.get_type_hints(section_class)
    for field in dataclasses.fields(section_class):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        rules: Rules = field.metadata[RULES]
        if rules.when is not None:
            assert isinstance(rules.when, When) and rules.when.key in types, f"{section}.{field.name}: when"
        yield KeySpec(section=section, name=field.name, type=types[field.name], default=default, rules=rules)


def describe_type(annotation: Any) -> str:
    """``int``, ``list of number``, ``string or null``: a type as the messages print it."""
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
    return {int: "int", float: "number", str: "string", bool: "true or false"}.get(annotation, str(annotation))
