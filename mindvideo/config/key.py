"""One configuration key: its default, its meaning and the values it may take, kept beside its type in a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class When:
    """A key that counts only where another key of its section has one of ``values``; ``words`` say which those are."""

    key: str
    values: tuple[Any, ...]
    words: str


@dataclasses.dataclass(frozen=True)
class Rules:
    """The values that a key may take. Bounds and choices hold for every element of a list."""

    meaning: str
    choices: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    items: tuple[int, int | None] | None = None  # how many a list may have, at least and at most
    row: int | None = None  # how many each list in a list has
    pattern: bool = False  # each string is a regular expression
    by_family: bool = False  # only families that say so read it
    when: When | None = None


UNSTATED_MAXIMUM = 100_000  # of a number that says no other: no size or count of a network comes near it
RULES = "rules"  # the place of the Rules in a field's metadata


def key(default: Any, meaning: str, *, choices: Sequence[Any] | None = None, **rules: Any) -> Any:
    """Declare a key of a section dataclass.

    ``default`` may be a list, a dict or None as well as a plain value. ``meaning`` is one line without a final stop.
    ``rules`` are the other fields of :class:`Rules`.
    """
    if "minimum" in rules:
        rules.setdefault("maximum", UNSTATED_MAXIMUM)
    metadata = {RULES: Rules(meaning, choices=None if choices is None else tuple(choices), **rules)}
    if isinstance(default, (list, dict)):
        frozen = default
        return dataclasses.field(default_factory=lambda: type(frozen)(frozen), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
