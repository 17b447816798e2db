"""Checks of a plain nested dict against the schema. Every problem is collected; none stops the search."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Iterable
from typing import Any

from mindvideo.config.renamed import renaming
from mindvideo.config.schema import TOP_LEVEL_KEYS, KeySpec, all_keys


def nearest_name(name: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or, where nothing is close, the list of valid names."""
    valid = sorted(valid)
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
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
        return float(value), True
    # YAML 1.1 reads 1e-4 (no decimal point) as text; everyone writes learning rates like that.
    try:
        return float(value), isinstance(value, str)
    except (TypeError, ValueError):
        return value, False


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def value_problems(spec: KeySpec, value: Any) -> list[str]:
    """Problems of a value whose type is right already."""
    for leaf in _leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            return [f"{spec.path}: {leaf} is not a finite number"]
        if leaf is None:
            continue
        if spec.choices is not None and leaf not in spec.choices:
            hint = nearest_name(leaf, [str(choice) for choice in spec.choices])
            allowed = ", ".join(str(choice) for choice in spec.choices)
            return [f"{spec.path}: '{leaf}' is not one of {allowed} ({hint})"]
        if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
            if spec.minimum is not None and leaf < spec.minimum:
                return [f"{spec.path}: {leaf} is below the least allowed value {spec.minimum}"]
            if spec.maximum is not None and leaf > spec.maximum:
                return [f"{spec.path}: {leaf} is above the greatest allowed value {spec.maximum}"]
    return []


def complete_and_check(given: dict[str, Any], families: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Fill defaults into ``given`` and return ``(complete config, problems)``."""
    problems: list[str] = []
    sections = all_keys()
    resolved: dict[str, Any] = {}
    for name in TOP_LEVEL_KEYS:
        value = given.get(name)
        if not isinstance(value, str) or not value:
            problems.append(f"{name}: missing; give the {TOP_LEVEL_KEYS[name]}")
        resolved[name] = value
    families = sorted(families)
    if isinstance(resolved["family"], str) and resolved["family"] not in families:
        problems.append(f"family: unknown '{resolved['family']}' ({nearest_name(resolved['family'], families)})")

    for section in given:
        if section not in sections and section not in TOP_LEVEL_KEYS:
            hint = nearest_name(section, [*sections, *TOP_LEVEL_KEYS])
            problems.append(f"{section}: unknown section ({hint})")
    for section, specs in sections.items():
        values = given.get(section, {})
        if values is None:
            values = {}
        if not isinstance(values, dict):
            problems.append(f"{section}: expected a section with keys, got {type(values).__name__}")
            continue
        resolved[section] = _complete_section(section, specs, values, problems)
    return resolved, problems


def _complete_section(
    section: str, specs: dict[str, KeySpec], values: dict[str, Any], problems: list[str]
) -> dict[str, Any]:
    for name in values:
        if name not in specs:
            path = f"{section}.{name}"
            problems.append(renaming(path) or f"{path}: unknown key ({nearest_name(name, specs)})")
    complete = {}
    for name, spec in specs.items():
        value = values.get(name, spec.default)
        value, fits = conform(value, spec.type)
        if not fits:
            problems.append(f"{spec.path}: expected {spec.type_name}, got {type(value).__name__} {value!r}")
        else:
            problems.extend(value_problems(spec, value))
        complete[name] = value
    return complete
