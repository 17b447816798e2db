"""Checks of a plain nested dict against the schema. Every problem is collected; none stops the search."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from mindvideo.config.renamed import renaming
from mindvideo.config.schema import OPTIONAL_KEYS, TOP_LEVEL_KEYS, KeySpec, Schema

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 80


def nearest_name(name: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or, where nothing is close, the list of valid names."""
    valid = sorted(valid)
    close = difflib.get_close_matches(str(name)[:200], valid, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(valid)}"


def conform(value: Any, annotation: Any) -> tuple[Any, bool]:
    """``(value converted to the annotated type, True)`` or ``(value, False)`` when it does not fit."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return _conform_list(value, arguments[0])
    if origin is dict:
        fits = isinstance(value, dict) and all(
            conform(name, arguments[0])[1] and conform(item, arguments[1])[1] for name, item in value.items()
        )
        return value, fits
    if arguments:  # a union such as `int | None`: an exact fit first, so that 1 stays an int in `float | int`
        for argument in arguments:
            converted, fits = conform(value, argument)
            if fits:
                return converted, True
        return value, False
    if annotation is type(None):
        return value, value is None
    if annotation is bool or isinstance(value, bool):
        return value, annotation is bool and isinstance(value, bool)
    if annotation is float:
        return _conform_float(value)
    return value, isinstance(value, annotation)


def _conform_list(value: Any, element: Any) -> tuple[Any, bool]:
    if not isinstance(value, (list, tuple)):
        return value, False
    converted = [conform(item, element) for item in value]
    return [item for item, _ in converted], all(fits for _, fits in converted)


def _conform_float(value: Any) -> tuple[Any, bool]:
    if isinstance(value, (int, float)):
        try:
            return float(value), True
        except OverflowError:  # an integer beyond any float
            return value, False
    # YAML 1.1 reads 1e-4 (no decimal point) as a string; everyone writes learning rates like that.
    try:
        return float(value), isinstance(value, str)
    except (TypeError, ValueError):
        return value, False


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def value_problems(spec: KeySpec, value: Any) -> list[str]:
    """Problems of a value whose type is right already; the first one is enough."""
    problem = _length_problem(spec, value)
    problems = [problem] if problem else [found for leaf in _leaves(value) if (found := _leaf_problem(spec, leaf))]
    return problems[:1]


def _length_problem(spec: KeySpec, value: Any) -> str | None:
    rules = spec.rules
    if not isinstance(value, list):
        return None
    if rules.items is not None:
        low, high = rules.items
        if len(value) < low or (high is not None and len(value) > high):
            wanted = f"{low}" if high == low else f"{low} or more" if high is None else f"{low} to {high}"
            return f"{spec.path}: {_SHOWN.repr(value)} has {len(value)} entries; give {wanted}"
    if rules.row is not None:
        odd = next((row for row in value if len(row) != rules.row), None)
        if odd is not None:
            return f"{spec.path}: {_SHOWN.repr(odd)} has {len(odd)} entries; each has {rules.row}"
    return None


def _leaf_problem(spec: KeySpec, leaf: Any) -> str | None:
    rules = spec.rules
    if leaf is None:
        return None
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return f"{spec.path}: {leaf} is not a finite number"
    if rules.choices is not None and leaf not in rules.choices:
        allowed = [str(choice) for choice in rules.choices]
        shown = str(leaf)[:80]
        return f"{spec.path}: '{shown}' is not one of {', '.join(allowed)} ({nearest_name(shown, allowed)})"
    if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
        if rules.minimum is not None and leaf < rules.minimum:
            return f"{spec.path}: {_SHOWN.repr(leaf)} is below the minimum {rules.minimum}"
        if rules.maximum is not None and leaf > rules.maximum:
            return f"{spec.path}: {_SHOWN.repr(leaf)} is above the maximum {rules.maximum}"
    if rules.pattern:
        try:
            re.compile(leaf)
        except (re.error, RecursionError, OverflowError) as error:
            return f"{spec.path}: {_SHOWN.repr(leaf)} is no regular expression ({error})"
    return None


def complete_and_check(
    given: Mapping[str, Any], schema: Schema, *, origins: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Fill defaults into ``given`` and return ``(complete config, problems)``.

    The complete configuration holds the keys that its family reads and no other: whoever reads another one fails.
    ``origins``: ``section.key`` -> where it was set, for the messages.
    """
    problems: list[str] = []
    resolved: dict[str, Any] = {}
    for name in TOP_LEVEL_KEYS:
        value = given.get(name)
        if not isinstance(value, str) or not value:
            problems.append(f"{name}: missing; give the {TOP_LEVEL_KEYS[name]}")
        resolved[name] = value
    for name in OPTIONAL_KEYS:
        resolved[name] = given.get(name) or ""
        if not isinstance(resolved[name], str):
            problems.append(f"{name}: expected string, got {_SHOWN.repr(resolved[name])}")
    family = resolved["family"]
    if isinstance(family, str) and family and family not in schema.families:
        problems.append(f"family: unknown '{family[:80]}' ({nearest_name(family, schema.families)})")
    known_family = family if isinstance(family, str) and family in schema.families else None

    for section in given:
        if section not in schema.sections and section not in (*TOP_LEVEL_KEYS, *OPTIONAL_KEYS):
            hint = nearest_name(section, [*schema.sections, *TOP_LEVEL_KEYS, *OPTIONAL_KEYS])
            problems.append(f"{section}: unknown section ({hint})")
    for section, specs in schema.sections.items():
        values = given.get(section)
        if values is None:
            values = {}
        if not isinstance(values, dict):
            problems.append(f"{section}: expected a section with keys, got {type(values).__name__}")
            continue
        if known_family and section in schema.families and section != known_family:
            problems += _foreign_section(section, known_family, values)
            continue
        completed = _Section(section, specs, values, origins or {})
        resolved[section] = completed.complete(schema, known_family)
        problems += completed.problems
    return resolved, problems


def _foreign_section(section: str, family: str, values: Mapping[str, Any]) -> list[str]:
    renamed = [line for name in values if (line := renaming(f"{section}.{name}"))]
    if not values:
        return []
    return renamed or [f"{section}: the section of another family; this configuration is of {family}, remove it"]


class _Section:
    """One section on its way from what was given to what is complete."""

    def __init__(
        self, name: str, specs: Mapping[str, KeySpec], values: Mapping[str, Any], origins: Mapping[str, str]
    ) -> None:
        self.name, self.specs, self.values, self.origins = name, specs, values, origins
        self.problems: list[str] = []

    def complete(self, schema: Schema, family: str | None) -> dict[str, Any]:
        for name in self.values:
            if name not in self.specs:
                path = f"{self.name}.{name}"
                self.problems.append(renaming(path) or f"{path}: unknown key ({nearest_name(name, self.specs)})")
        complete = {}
        for name, spec in self.specs.items():
            reason = schema.why_dead(spec, family, self.values) if family else None
            if reason is None:
                complete[name] = self._checked(spec)
            elif self.values.get(name) is not None:  # null takes back what a base sets
                self.problems.append(self._dead(spec, reason))
        return complete

    def _dead(self, spec: KeySpec, reason: str) -> str:
        origin = self.origins.get(spec.path)
        place = f" (set in {origin}; {spec.path}=null takes it back)" if origin else ""
        return f"{spec.path}: {reason}; remove it{place}"

    def _checked(self, spec: KeySpec) -> Any:
        value, fits = conform(self.values.get(spec.name, spec.default), spec.type)
        if not fits:
            given = f"{type(value).__name__} {_SHOWN.repr(value)}"
            self.problems.append(f"{spec.path}: expected {spec.type_name}, got {given}")
        else:
            self.problems.extend(value_problems(spec, value))
        return value
