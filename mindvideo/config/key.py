"""One configuration key: its default, its meaning and the values it may take, kept beside its type in a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


def key(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a key of a section dataclass.

    ``default`` may be a list, a dict or None as well as a plain value. ``meaning`` is one line without a final stop.
    ``choices``, ``minimum`` and ``maximum`` bound the value, or every element when the value is a list.
    """
    metadata = {"meaning": meaning, "choices": choices, "minimum": minimum, "maximum": maximum}
    if isinstance(default, (list, dict)):
        frozen = default
        return dataclasses.field(default_factory=lambda: type(frozen)(frozen), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
