"""The facts on which the results of a model depend, so that those of two models are never mixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.inference.source_facts import file_digest
from mindvideo.weights.find import find_weights

# Sections and keys that change nothing about the results of a network with given weights.
_SECTIONS_WITHOUT_EFFECT = frozenset(
    {"data", "evaluation", "loss", "matcher", "optimizer", "runtime", "schedule", "train"}
)
_KEYS_WITHOUT_EFFECT = frozenset(
    f"inference.{key}"
    for key in (
        "analysis_folder", "class_names", "confidence", "draw", "frames_per_second", "input", "max_overlap",
        "read_ahead", "write",
    )
)  # fmt: skip
_KEYS_WITH_EFFECT = ("data.num_frames", "data.num_classes")


def check_weights_file(weights: str | None) -> Path:
    """The file that is meant: a path, a published name, ``hf:owner/repository``."""
    if not weights:
        raise UserError("--weights is missing: give a .ckpt of a training, or a published .pth")
    return find_weights(weights)


def result_settings(cfg: ConfigDict, weights: Path) -> dict[str, Any]:
    """By name: the weights' content and every key of the configuration that matters."""
    keys = dict(_flat(cfg.to_dict()))
    relevant = {
        name: value
        for name, value in keys.items()
        if name in _KEYS_WITH_EFFECT
        or (name.split(".")[0] not in _SECTIONS_WITHOUT_EFFECT and name not in _KEYS_WITHOUT_EFFECT)
    }
    for name in ("name", "weights"):
        relevant.pop(name, None)
    return {"weights": file_digest(weights)[:16], **relevant}


def weights_facts(weights: Path) -> dict[str, Any]:
    found = weights.stat()
    return {"weights": str(weights.resolve()), "bytes": found.st_size, "changed_ns": found.st_mtime_ns}


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = []
    for name, value in content.items():
        path = f"{prefix}{name}"
        entries += _flat(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return entries
