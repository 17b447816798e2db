"""Parameters that had another name in an earlier version, so that its checkpoints still load.

A checkpoint of ours says with which names it was written (:data:`NAMES_ENTRY`); one that says nothing has the first
ones. Its names are brought up to date when it is opened, so that loading, resuming, inspecting and converting see the
present ones only. Whoever renames a parameter adds a row here; the mark changes only when a row would also match a name
that a marked file may hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mindvideo.errors import UserError
from mindvideo.weights.rules import Rule

NAMES_ENTRY = "mindvideo_names"  # key in the metadata of a checkpoint, and in the header of a training state
PRESENT_NAMES = 2

# Old name -> present name, whole names; the first rule that matches counts. See ``Rule`` for what a pattern may hold.
RENAMED: tuple[Rule, ...] = (
    # The shared mask features of the models with dynamic masks.
    Rule(r"mask_head\.lay3\.(.*)", r"mask_features.coarse.\1"),
    Rule(r"mask_head\.lay4\.(.*)", r"mask_features.middle.\1"),
    Rule(r"mask_head\.dcn\.(.*)", r"mask_features.fine.\1"),
    Rule(r"mask_head\.lay1\.(.*)", r"mask_features.narrow.\1"),
    Rule(r"mask_head\.lay2\.(.*)", r"mask_features.out.\1"),
    # Deformable VisTR's learned tokens.
    Rule(r"slot_tokens\.(.*)", r"query_tokens.\1"),
)


def present_name(name: str) -> str:
    """The present name of a parameter that was written under ``name``."""
    for rule in RENAMED:
        present = rule.target(name)
        if present is not None:
            return present
    return name


def present_names(names: Iterable[str], *, written_with: Any, prefixes: Iterable[str] = ()) -> dict[str, str]:
    """Stored name -> present name of all ``names``.

    ``written_with`` is the file's mark, None where it has none. ``prefixes``: what a training state puts before the
    name of the parameter that a moment or an average belongs to ("average.").
    """
    if has_present_names(written_with):
        return {name: name for name in names}
    prefixes = ("", *prefixes)
    renamed = {name: _renamed_after_prefix(name, prefixes) for name in names}
    if len(set(renamed.values())) < len(renamed):
        twice = next(name for name in renamed.values() if list(renamed.values()).count(name) > 1)
        raise UserError(f"the file holds '{twice}' twice, under its old name and its present one; it is damaged")
    return renamed


def has_present_names(mark: Any) -> bool:
    """Whether a file with this mark (None: without one) holds present names."""
    return str(mark).isdecimal() and int(mark) >= PRESENT_NAMES


def _renamed_after_prefix(name: str, prefixes: Iterable[str]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            present = present_name(name[len(prefix) :])
            if present != name[len(prefix) :]:
                return prefix + present
    return name
