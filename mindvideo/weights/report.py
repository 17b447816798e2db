"""Reports of a conversion, name by name, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mindvideo.errors import printable
from mindvideo.weights.checkpoint_file import CheckpointFile, file_checksum, is_intact, plain_settings
from mindvideo.weights.conversion import Fit
from mindvideo.weights.rules import Shapes
from mindvideo.weights.stored_tensor import StoredTensor

SHOWN_SETTINGS = 12
FEW = 8  # names of what needs attention, where not every name is asked for


def fit_report(fit: Fit, file: CheckpointFile, shapes: Shapes, *, every_name: bool) -> str:
    """The counts of each outcome, with ``every_name`` the names too; the first names of what needs attention always."""
    plan = fit.plan
    lines = [
        f"file      {file.path}: {file.format}, {_totals(file.tensors.values())}",
        f"names of  {plan.table.describes} ({plan.table.name})",
    ]
    mapped = [f"{link.source} -> {link.parameter} {list(fit.tensors[link.parameter].shape)}" for link in plan.links]
    repeated = [f"{link.source}: follows from {link.parameter}" for link in plan.derived]
    wrong = [
        f"{name}: {list(fit.tensors[name].shape)} in the file, {list(shapes[name])} in the network"
        for name in fit.wrong_shapes
    ]
    lines += _section("mapped", mapped, every_name)
    lines += _section("repeats of others", repeated, every_name)
    lines += _section("dropped on purpose", plan.dropped, every_name)
    lines += _section("fresh: not in such files", plan.fresh, every_name)
    lines += _section(
        "left over", [*plan.unknown, *(f"{n.source} -> {n.parameter}?" for n in plan.astray)], every_name, FEW
    )
    lines += _section("missing", plan.missing, every_name, FEW)
    lines += _section("ambiguous", plan.ambiguous, every_name, FEW)
    lines += _section("of another shape", wrong, every_name, FEW)
    lines += _section("repeats that differ", fit.differing_copies, every_name, FEW)
    return "\n".join(lines)


def leaving_report(
    published: dict[str, StoredTensor], recomputed: Sequence[str], nameless: Sequence[str], *, every_name: bool
) -> str:
    """For the way back to published names."""
    lines = _section("written", [f"{name} {list(tensor.shape)}" for name, tensor in published.items()], every_name)
    lines += _section("of these recomputed from others", list(recomputed), every_name)
    lines += _section("without a published name", list(nameless), every_name, FEW)
    return "\n".join(lines)


def describe_file(file: CheckpointFile) -> str:
    """Describe a file to somebody who found it: its format, its parts, its origin, whether it is intact."""
    lines = [
        f"{file.path}",
        f"format    {file.format}, {file.path.stat().st_size / 1e6:.1f} MB",
        f"sha256    {file_checksum(file.path)}",
        f"tensors   {_totals(file.tensors.values())}",
        f"parts     {_parts(file.tensors)}",
    ]
    for key, value in file.provenance.items():
        if isinstance(value, (str, int)):
            lines.append(printable(f"{key:<9} {value}"))
    if file.class_names:
        lines.append(
            f"classes   {len(file.class_names)}: {', '.join(list(file.class_names.values())[:SHOWN_SETTINGS])}"
        )
    if file.renamed:
        lines.append(f"renamed   {len(file.renamed)} parameters, to their present names")
    intact = is_intact(file)
    if intact is not None:
        lines.append(f"check     {'the tensors are those that were written' if intact else 'DAMAGED: tensors differ'}")
    settings = plain_settings(file.others)
    shown = [printable(f"{name}={value}") for name, value in list(settings.items())[:SHOWN_SETTINGS]]
    if shown:
        more = f" and {len(settings) - len(shown)} more" if len(settings) > len(shown) else ""
        lines.append(f"beside    {', '.join(shown)}{more}")
    return "\n".join(lines)


def _totals(tensors: Iterable[StoredTensor]) -> str:
    tensors = list(tensors)
    kinds = sorted({tensor.dtype for tensor in tensors})
    return f"{len(tensors)} tensors, {sum(tensor.size for tensor in tensors):,} numbers, {', '.join(kinds)}"


def _parts(tensors: dict[str, Any]) -> str:
    """The first parts of the names, with counts."""
    counts: dict[str, int] = {}
    for name in tensors:
        part = ".".join(name.split(".")[:2]) if name.count(".") > 1 else name.split(".")[0]
        counts[part] = counts.get(part, 0) + 1
    shown = [f"{part} ({count})" for part, count in list(counts.items())[:SHOWN_SETTINGS]]
    return ", ".join(shown) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")


def _section(title: str, names: Sequence[str], every_name: bool, few: int = 0) -> list[str]:
    if not names:
        return []
    shown = names if every_name else names[:few]
    more = [f"  ... and {len(names) - len(shown)} more (--report names all)"] if few and len(names) > len(shown) else []
    return [f"{title}: {len(names)}", *(f"  {name}" for name in shown), *more]
