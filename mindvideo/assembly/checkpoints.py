"""Published checkpoints and configurations: conversion both ways, and which configuration a file is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mindspore import nn
from mindspore.nn.utils import no_init_parameters
from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.config import known_configs
from mindvideo.errors import UserError
from mindvideo.models.registry import FAMILIES, card_of
from mindvideo.weights.checkpoint_file import NATIVE, CheckpointFile
from mindvideo.weights.conversion import (
    Fit,
    explain_misfit,
    fit_file,
    provenance_of,
    to_published_names,
    verify_checksum,
    write_native_file,
    write_published_file,
)
from mindvideo.weights.loading import native_table, weights_of
from mindvideo.weights.renamed import NAMES_ENTRY, PRESENT_NAMES, has_present_names
from mindvideo.weights.report import fit_report, leaving_report
from mindvideo.weights.rules import RuleTable, Shapes, as_tables, plan_loading


def shapes_of(cfg: ConfigDict) -> Shapes:
    """Parameter -> shape of the configured network, built without drawing its initial values."""
    with no_init_parameters():
        network: nn.Cell = card_of(cfg.family).build_network(cfg)
    return {place: tuple(parameter.shape) for place, parameter in weights_of(network).items()}


def tables_of(cfg: ConfigDict) -> list[RuleTable]:
    return as_tables(card_of(cfg.family).weight_rules(cfg))


def fit_of(file: CheckpointFile, cfg: ConfigDict, *, source: str | None = None) -> tuple[Fit, Shapes]:
    """The file against the configured network."""
    shapes, tables = shapes_of(cfg), tables_of(cfg)
    if file.is_native:
        return fit_file(file, [native_table(file, tables)], shapes), shapes
    names = [table.name for table in tables]
    if source is not None and source not in names:
        raise UserError(f"--source {source}: {cfg.family} has {', '.join(names)}")
    return fit_file(file, tables, shapes, source=source), shapes


def configs_that_fit(file: CheckpointFile) -> list[str]:
    """The configurations for whose network the file is complete.

    Only those are built of whose family a table knows the file's names, or, for our own files, all.
    """
    found = []
    for name in known_configs():
        cfg = load_config(name)
        if cfg.family not in FAMILIES or not (file.is_native or _names_known(file, tables_of(cfg))):
            continue
        fit, _ = fit_of(file, cfg)
        if fit.is_complete and not fit.plan.fresh:
            found.append(name)
    return found


def _names_known(file: CheckpointFile, tables: Sequence[RuleTable]) -> bool:
    return any(not plan_loading(table, file.tensors, ()).unknown for table in tables)


def convert_to_native(
    file: CheckpointFile, destination: Path, cfg: ConfigDict, *, source: str | None, every_name: bool
) -> tuple[str, str]:
    """Write ``destination`` (.ckpt); returns (report, why nothing was written or nothing)."""
    if file.is_native:
        verify_checksum(file)
    fit, shapes = fit_of(file, cfg, source=source)
    report = fit_report(fit, file, shapes, every_name=every_name)
    if not fit.is_complete:
        return report, _misfit(fit, file, shapes, cfg)
    provenance = provenance_of(
        file, names=fit.plan.table.name, configuration=cfg.name, fresh_patterns=list(fit.plan.table.fresh)
    )
    if not fit.plan.fresh:
        del provenance["fresh_patterns"]
    write_native_file(destination, fit.tensors, provenance, class_names=file.class_names)
    return report, ""


def _misfit(fit: Fit, file: CheckpointFile, shapes: Shapes, cfg: ConfigDict) -> str:
    fitting = configs_that_fit(file)
    advice = f"It fits {', '.join(fitting)}" if fitting else "No configuration of this project fits it"
    return f"{file.path} does not fit {cfg.name}: {explain_misfit(fit, file, shapes)}. {advice}"


def convert_to_torch(
    file: CheckpointFile, destination: Path, cfg: ConfigDict, *, source: str | None, every_name: bool
) -> tuple[str, str]:
    """Write ``destination`` (.pth, .safetensors) under published names; returns (report, why nothing was written)."""
    verify_checksum(file)
    fit, shapes = fit_of(file, cfg)
    if not file.is_native:
        return "", f"{file.path} is a {file.format} file already; --to-torch takes a .ckpt"
    if not fit.is_complete:
        return fit_report(fit, file, shapes, every_name=every_name), _misfit(fit, file, shapes, cfg)
    wanted = source or file.provenance.get("names")
    table = next((table for table in tables_of(cfg) if table.name == wanted), tables_of(cfg)[0])
    published, recomputed, nameless = to_published_names(fit.tensors, table)
    report = leaving_report(published, recomputed, nameless, every_name=every_name)
    if nameless:
        return report, (
            f"{cfg.name} is no published architecture: {len(nameless)} parameters have no published name, the first "
            f"{', '.join(nameless[:3])}; --as-is instead of --model writes the file under our names"
        )
    write_published_file(destination, published, provenance_of(file, configuration=cfg.name))
    return report, ""


def convert_as_is(file: CheckpointFile, destination: Path, *, to_torch: bool) -> None:
    """Change the format and keep every name, but for those of our own that have changed since."""
    if file.is_native:
        verify_checksum(file)  # or the copy would carry a good check sum of damaged numbers
    # Old names of ours stay old ones on the way through a .pth; published names are nobody's old names.
    was_ours = not file.is_native and file.provenance.get("source_format") == NATIVE
    is_old = was_ours and not has_present_names(file.provenance.get(NAMES_ENTRY))
    version = 1 if is_old else PRESENT_NAMES
    provenance = provenance_of(file)
    if to_torch:
        write_published_file(destination, file.tensors, {**provenance, NAMES_ENTRY: version})
    else:
        write_native_file(destination, file.tensors, provenance, class_names=file.class_names, names_version=version)
