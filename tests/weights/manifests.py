"""The manifests of the golden data: every name, shape and type of a model's published checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from mindvideo.modules.layers.window_attention import relative_position_index
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy
from tests.golden.fill import fill

Entry = tuple[str, tuple[int, ...], str]
# Two families' manifests lie beside each other under one name per variant.
PATTERNS = ("*/*manifest*.json", "*/*/manifest*.json")
REPEATED = ("detr.transformer.decoder.bbox_embed.", "detr.bbox_embed.")


def manifest_paths(root: Path) -> list[str]:
    """Every manifest below ``root``, those of operators left out."""
    found = {path for pattern in PATTERNS for path in root.glob(pattern)}
    return sorted(str(path.relative_to(root)) for path in found if "ms_deform_attn" not in path.parts)


def read_manifest(path: Path) -> tuple[list[Entry], dict]:
    """(entries in the order of the file, the configuration where the manifest has one)."""
    content = json.loads(path.read_text())
    config = content.get("config", {}) if isinstance(content, dict) else {}
    index = path.parents[1] / "goldens.json"  # where several codes share their numbers
    if not config and index.is_file():
        root = path.parents[2]
        cases = json.loads(index.read_text())["cases"].values()
        numbers = {case["manifest"]: case["numbers"][0] for case in cases}[str(path.relative_to(root))]
        config = {"args": json.loads((root / f"{numbers}.json").read_text())["args"]}
    entries = content["state_dict"] if isinstance(content, dict) else content
    if isinstance(entries, dict):
        entries = [(name, entry["shape"], entry["dtype"]) for name, entry in entries.items()]
    return [(name, tuple(shape), dtype) for name, shape, dtype, *_ in entries], config


def filled(entries: list[Entry], *, largest_side: int | None = None) -> dict[str, StoredTensor]:
    """The checkpoint with the golden weights, or a small one of the same names with every side cut."""
    tensors = {}
    for name, shape, dtype in entries:
        sides = shape if largest_side is None else tuple(min(side, largest_side) for side in shape)
        if name.endswith("relative_position_index"):
            values = relative_position_index(math.isqrt(sides[0])).astype(np.int64)
        else:
            values = fill(name.replace(*REPEATED), sides, 0).astype(dtype)
        tensors[name] = from_numpy(values)
    return tensors


def hollow(entries: list[Entry]) -> dict[str, StoredTensor]:
    """The names and full shapes with zeros that take no memory."""
    tensors = {}
    for name, shape, dtype in entries:
        if name.endswith("relative_position_index"):
            tensors[name] = from_numpy(relative_position_index(math.isqrt(shape[0])).astype(np.int64))
        else:
            tensors[name] = from_numpy(np.broadcast_to(np.zeros((), dtype), shape))
    return tensors


def configuration_of(path: str, config: dict) -> tuple[str, list[str]]:
    """(configuration name, overrides) for the network that a manifest of one of our families describes."""
    family = path.split("/", maxsplit=1)[0]
    flags = config.get("args", config)
    overrides = {
        f"{family}.heads": flags["nheads"],
        f"{family}.encoder_layers": flags["enc_layers"],
        f"{family}.decoder_layers": flags["dec_layers"],
        "backbone.name": flags["backbone"],
        "backbone.dilate_last": str(flags["dilation"]).lower(),
    }
    if family == "seqformer":
        name = "seqformer_ytvis2019_r50"
        overrides |= {
            "seqformer.width": flags["hidden_dim"],
            "seqformer.hidden": flags["dim_feedforward"],
            "seqformer.num_queries": flags["num_queries"],
        }
    elif family == "instanceformer":
        name = "instanceformer_ytvis2021_r50"
        overrides |= {
            "instanceformer.width": flags["hidden_dim"],
            "instanceformer.hidden": flags["dim_feedforward"],
            "data.num_classes": flags["num_classes"],
            "instanceformer.num_queries": flags["num_queries"],
            "instanceformer.propagate_class": str(flags["propagate_class"]).lower(),
            "instanceformer.memory_tokens": flags["memory_token"],
            "instanceformer.memory_frames": max(flags["memory_support"], 1),
        }
    else:
        name = "gmpvis_ytvis2019_r50" if family == "gmpvis" else family
        overrides |= {
            f"{family}.width": flags["hidden_dim"],
            f"{family}.num_queries": flags["num_ins"],
            "data.num_frames": flags["num_frames"],
        }
    if family == "vistr":
        overrides |= {"vistr.hidden": flags["dim_feedforward"], "vistr.pre_norm": str(flags["pre_norm"]).lower()}
        overrides |= {"vistr.masks": str(flags["masks"]).lower()}
    if family == "gmpvis":
        overrides |= {"gmpvis.hidden": flags["dim_feedforward"], "gmpvis.second_class_weight": 1.0}
    if family == "defvistr":
        constants = config["constants"]
        overrides |= {
            "defvistr.encoder_hidden": flags["dim_feedforward"],
            "defvistr.decoder_hidden": flags["dim_feedforward"],
            "defvistr.points": constants["enc_n_points"],
            "defvistr.tokens_per_query": constants["tokens_per_instance"],
        }
    return name, [f"{key}={value}" for key, value in overrides.items()]
