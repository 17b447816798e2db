"""The golden files of InstanceFormer: facts, network (built by the family card), weights and inputs of a case."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.instanceformer import card
from mindvideo.weights.rules import plan_leaving
from tests.parity.golden_weights import golden_value
from tests.parity.rounding import Row

TEMPORAL = "detr.temporal_class_embed."  # its gradients are rounding noise in the original


class Case:
    """One golden file: ``facts`` (the json) and ``arrays`` (the npz)."""

    def __init__(self, folder: Path, name: str, *, facts_name: str | None = None) -> None:
        self.folder, self.name = folder, name
        self.facts: dict[str, Any] = json.loads((folder / f"{facts_name or name}.json").read_text())
        self.arrays = np.load(folder / f"{name}.npz")
        reference = runpy.run_path(str(folder.parents[1] / "fill.py"))
        self.fill, self.make_input = reference["fill"], reference["make_input"]
        self.alias = json.loads((folder.parent / "recipe.json").read_text())["alias"]
        self.manifest = json.loads((folder / self.facts["manifest"]).read_text())

    def config(self):
        """The configuration that the original's flags amount to."""
        args, switches = self.facts["args"], self.facts["switches"]
        additive = "add" if args["propagate_ref_additive"] else "multiply"
        values = {
            "data.num_classes": args["num_classes"],
            "instanceformer.num_queries": args["num_queries"],
            "instanceformer.width": args["hidden_dim"],
            "instanceformer.heads": args["nheads"],
            "instanceformer.encoder_layers": args["enc_layers"],
            "instanceformer.decoder_layers": args["dec_layers"],
            "instanceformer.hidden": args["dim_feedforward"],
            "instanceformer.dropout": 0.0,  # the golden runs had none
            "instanceformer.encoder_points": args["enc_n_points"],
            "instanceformer.decoder_points": args["dec_n_points"],
            "instanceformer.locate_by_position": switches["dec_cross_attn_query_pos"],
            "instanceformer.reference_propagation": additive if args["propagate_ref_points"] else "none",
            "instanceformer.propagate_class": args["propagate_class"],
            "instanceformer.memory_frames": args["memory_support"],
            "instanceformer.memory_tokens": args["memory_token"],
            "instanceformer.memory_mixes_clips": not switches["memory_attention_per_clip"],
            "instanceformer.aux_masks_from_last_layer": not switches["aux_mask_loss_uses_own_assignment"],
            "instanceformer.contrastive_weight": 2.0 if args["supcon"] else 0.0,
            "data.num_frames": self.facts["frames"],
            "backbone.name": args["backbone"],
            "matcher.class_cost": args["set_cost_class"],
            "matcher.box_cost": args["set_cost_bbox"],
            "matcher.iou_cost": args["set_cost_giou"],
            "loss.class_weight": args["cls_loss_coef"],
            "loss.box_weight": args["bbox_loss_coef"],
            "loss.giou_weight": args["giou_loss_coef"],
            "loss.mask_weight": args["mask_loss_coef"],
            "loss.dice_weight": args["dice_loss_coef"],
        }
        return load_config("instanceformer_ytvis2021_r50", [f"{key}={json.dumps(v)}" for key, v in values.items()])

    def value(self, source: str, shape) -> np.ndarray:
        """The original's tensor of this name."""
        return golden_value(self, source, shape)


def fullest_case(folder: Path, names: list[str]) -> str:
    """The first of the cases in which the most of the code runs: the one that is worth compiling."""

    def switched_on(name: str) -> int:
        facts = json.loads((folder / f"{name}.json").read_text())
        args = facts["args"]
        return sum(map(bool, [*facts["switches"].values(), args["memory_token"], args["supcon"]]))

    return max(names, key=switched_on)


def source_names(network: nn.Cell, cfg) -> dict[str, str]:
    """Parameter of the network -> its name in the published checkpoint, by the card's own rules."""
    table = card.weight_rules(cfg)[0]
    links, nameless = plan_leaving(table, [name for name, _ in network.parameters_and_names()])
    assert not nameless, nameless
    return {link.parameter: link.source for link in links if link.rule.derived is None}


def fill_network(case: Case, network: nn.Cell, cfg) -> dict[str, str]:
    """Give every parameter the original's value; returns parameter -> published name."""
    names = source_names(network, cfg)
    for name, parameter in network.parameters_and_names():
        assert name in names, name
        parameter.set_data(ms.Tensor(case.value(names[name], parameter.shape)))
    return names


def thinned(got: np.ndarray, arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(ours, the original's) of an entry stored whole or as every k-th number."""
    flat = np.asarray(got).reshape(-1)
    if f"{name}_sub" in arrays:
        return flat[:: int(arrays[f"{name}_stride"])], arrays[f"{name}_sub"]
    if f"{name}_stride" in arrays:
        return flat[:: int(arrays[f"{name}_stride"])], arrays[name]
    return flat, arrays[name].reshape(-1)


def row_of(got, arrays, name: str, tolerance: float) -> Row:
    """Compared relative to the largest number of the original."""
    ours, theirs = thinned(got, arrays, name)
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} against {theirs.shape}"
    return Row(ours, theirs, tolerance, max(float(np.abs(theirs).max()), 1e-3))


def assert_close(got, arrays, name: str, tolerance: float) -> None:
    """Largest difference, relative to the largest number of the original."""
    row = row_of(got, arrays, name, tolerance)
    error = row.off_by(row.theirs)
    assert error <= tolerance, f"{name}: differs by {error:.2e} of {row.scale:.3g}"
