"""From a published checkpoint to ours and back, tensor by tensor, with a report of every name."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.errors import UserError
from mindvideo.files import atomic_path
from mindvideo.weights.checkpoint_file import (
    CHECKSUM_ENTRY,
    PROVENANCE_ENTRY,
    CheckpointFile,
    file_checksum,
    is_intact,
    tensors_checksum,
)
from mindvideo.weights.class_names import CLASS_NAMES_ENTRY, class_names_entry
from mindvideo.weights.formats.native import storable_natively, write_native
from mindvideo.weights.formats.safetensors import write_safetensors
from mindvideo.weights.formats.torch_writer import storable_in_torch, write_torch
from mindvideo.weights.renamed import NAMES_ENTRY, PRESENT_NAMES
from mindvideo.weights.rules import Link, Plan, Rule, RuleTable, Shapes, best_plan, identity, plan_leaving
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

logger = logging.getLogger("mindvideo.weights")
_WITHOUT_CHECKSUM: set[Path] = set()  # files without a check sum of which the log knows

SAFETENSORS_SUFFIX = ".safetensors"
SHOWN = 3  # names of each kind that a message shows


@dataclasses.dataclass
class Fit:
    """A file against a network: the plan by names, and the shapes that differ."""

    plan: Plan
    tensors: dict[str, StoredTensor]  # by parameter, transformed
    wrong_shapes: list[str]  # parameters
    differing_copies: list[str]  # derived source entries that do not follow from the parameter they repeat

    @property
    def is_complete(self) -> bool:
        return self.plan.is_complete and not self.wrong_shapes and not self.differing_copies

    @property
    def only_class_heads_differ(self) -> bool:
        heads = all(self.plan.table.is_class_head(name) for name in self.wrong_shapes)
        return self.plan.is_complete and not self.differing_copies and bool(self.wrong_shapes) and heads


def fit_file(file: CheckpointFile, tables: Sequence[RuleTable], shapes: Shapes, *, source: str | None = None) -> Fit:
    """Match a published file with a network of these parameters and shapes."""
    plan = best_plan(tables, list(file.tensors), list(shapes), name=source)
    tensors: dict[str, StoredTensor] = {}
    for link in plan.links:
        tensors[link.parameter] = _taken(file.tensors[link.source], link.rule)
    for link in plan.added:
        if link.parameter in tensors:
            more = _taken(file.tensors[link.source], link.rule).numpy()
            tensors[link.parameter] = from_numpy(tensors[link.parameter].numpy() + more)
    wrong = [name for name, tensor in tensors.items() if tensor.shape != tuple(shapes[name])]
    differing = [link.source for link in plan.derived if not _follows(link, file, tensors)]
    return Fit(plan, tensors, wrong, differing)


def _taken(stored: StoredTensor, rule: Rule) -> StoredTensor:
    """The result of a rule for an entry."""
    if rule.part is not None:
        index, count = rule.part
        length, rest = divmod(stored.shape[0], count) if stored.shape else (0, 1)
        if rest:
            raise UserError(f"an entry of shape {list(stored.shape)} cannot be cut into {count} parts: {rule.pattern}")
        stored = dataclasses.replace(stored, bits=stored.bits[index * length : (index + 1) * length])
    return stored if rule.transform is None else from_numpy(rule.transform(stored.numpy()))


def _follows(link: Link, file: CheckpointFile, tensors: Mapping[str, StoredTensor]) -> bool:
    if link.parameter not in tensors:
        return False
    if not link.rule.compared or link.rule.derived is None:
        return True
    expected = link.rule.derived(tensors[link.parameter].numpy())
    return np.array_equal(expected, file.tensors[link.source].numpy(), equal_nan=expected.dtype.kind == "f")


def explain_misfit(fit: Fit, file: CheckpointFile, shapes: Shapes) -> str:
    """Everything that does not fit, the first names of each kind, in one line."""
    plan = fit.plan
    parts = []
    if plan.table.diagnose is not None:
        sentence = plan.table.diagnose({name: tensor.shape for name, tensor in file.tensors.items()})
        parts += [sentence] if sentence else []
    if not plan.links:
        parts.append("no entry of the file belongs to this network")
    parts += _some("only in the file", [*plan.unknown, *(link.source for link in plan.astray)])
    parts += _some("only in the network", plan.missing)
    parts += _some("ambiguous", plan.ambiguous)
    differences = [
        f"{name} is {list(fit.tensors[name].shape)} in the file and {list(shapes[name])} in the network"
        for name in fit.wrong_shapes
    ]
    parts += _some("shapes", differences)
    parts += _some("copies that differ from what they repeat", fit.differing_copies)
    return "; ".join(parts)


def _some(label: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{label} ({len(names)}): {', '.join(names[:SHOWN])}{more}"]


def provenance_of(file: CheckpointFile, **facts: Any) -> dict[str, Any]:
    """The entry with which a written file says where it came from."""
    return {
        "source": file.path.name,
        "source_format": file.format,
        "source_sha256": file_checksum(file.path),
        **facts,
    }


def write_native_file(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    provenance: Mapping[str, Any],
    *,
    class_names: Mapping[int, str] | None = None,
    names_version: int = PRESENT_NAMES,
) -> None:
    """Write a .ckpt, whole or not at all, with its check sum.

    ``class_names`` by category id; ``names_version`` is for names that were carried over as they were.
    """
    strings = {NAMES_ENTRY: str(names_version)}
    if provenance:
        strings[PROVENANCE_ENTRY] = json.dumps(provenance, sort_keys=True)
    if class_names is not None:
        strings[CLASS_NAMES_ENTRY] = class_names_entry(class_names)
    strings[CHECKSUM_ENTRY] = tensors_checksum(tensors, as_written=storable_natively)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        write_native(stream, tensors.items(), strings)


def verify_checksum(file: CheckpointFile) -> None:
    """Refuse a file of ours whose tensors are not those it was written with; say once of a file that it has no sum."""
    intact = is_intact(file)
    if intact is None and file.path not in _WITHOUT_CHECKSUM:
        _WITHOUT_CHECKSUM.add(file.path)
        logger.warning("weights %s: no check sum in the file, so damage to its numbers would go unseen", file.path)
    if intact is False:
        raise UserError(
            f"weights {file.path}: the check sum stored in the file does not fit its tensors; it is damaged: "
            "fetch or convert it again"
        )


def to_published_names(
    tensors: Mapping[str, StoredTensor], table: RuleTable
) -> tuple[dict[str, StoredTensor], list[str], list[str]]:
    """(tensors under their published names, entries recomputed from others, parameters without a published name)."""
    links, nameless = plan_leaving(table, list(tensors))
    published: dict[str, StoredTensor] = {}
    parts: dict[str, dict[int, StoredTensor]] = {}
    for link in links:
        stored, rule = tensors[link.parameter], link.rule
        if rule.derived is not None and rule.derived is not identity:
            stored = from_numpy(rule.derived(stored.numpy()))
        elif rule.inverse is not None:
            stored = from_numpy(rule.inverse(stored.numpy()))
        if rule.part is not None:
            of_entry = parts.setdefault(link.source, {})
            of_entry[rule.part[0]] = stored
            stored = _joined(list(dict(sorted(of_entry.items())).values()))
        published[link.source] = stored
    return published, [link.source for link in links if link.rule.derived is not None], nameless


def _joined(parts: Sequence[StoredTensor]) -> StoredTensor:
    """The parts of an entry, one after the other along axis 0."""
    kinds = {part.dtype for part in parts}
    if len(kinds) > 1:
        raise UserError(
            f"parts of one entry are stored as {' and '.join(sorted(kinds))}; convert them to one type first"
        )
    return dataclasses.replace(parts[0], bits=np.concatenate([part.bits for part in parts]))


def write_published_file(path: Path, tensors: Mapping[str, StoredTensor], provenance: Mapping[str, Any]) -> None:
    """Write a file that other programs open, in the format that its suffix names: .safetensors, else PyTorch's."""
    if path.suffix == SAFETENSORS_SUFFIX:
        facts = {**provenance, "tensors_sha256": tensors_checksum(tensors)}
        write_safetensors(path, tensors, {PROVENANCE_ENTRY: json.dumps(facts, sort_keys=True), "format": "pt"})
    else:
        write_torch_file(path, tensors, provenance)


def write_torch_file(path: Path, tensors: Mapping[str, StoredTensor], provenance: Mapping[str, Any]) -> None:
    """Write a .pth that PyTorch opens, whole or not at all; what it holds besides the weights is its provenance."""
    facts = {**provenance, "tensors_sha256": tensors_checksum(tensors, as_written=storable_in_torch)}
    write_torch(path, tensors, others={PROVENANCE_ENTRY: facts})
