"""The golden files of SeqFormer (and of the MS-STS VIS code, which computes the same): facts, network, weights."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.seqformer import card
from mindvideo.weights.rules import plan_leaving
from tests.parity.golden_weights import golden_value


class Case:
    """One golden file: ``facts`` (the json) and ``arrays`` (the npz)."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.arrays = np.load(folder / f"{name}.npz")
        reference = runpy.run_path(str(folder.parents[1] / "fill.py"))
        self.fill, self.make_input = reference["fill"], reference["make_input"]
        self.alias = json.loads((folder / "recipe.json").read_text())["alias"]

    def config(self):
        """The configuration that the original's flags amount to."""
        args = self.facts["args"]
        values = {
            "data.num_classes": self.facts.get("num_classes", 42),
            "seqformer.num_queries": args["num_queries"],
            "seqformer.width": args["hidden_dim"],
            "seqformer.heads": args["nheads"],
            "seqformer.encoder_layers": args["enc_layers"],
            "seqformer.decoder_layers": args["dec_layers"],
            "seqformer.hidden": args["dim_feedforward"],
            "seqformer.dropout": 0.0,  # the golden runs had none
            "seqformer.encoder_points": args["enc_n_points"],
            "seqformer.decoder_points": args["dec_n_points"],
            "seqformer.extra_levels": args["num_feature_levels"] - 3,
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
        return load_config("seqformer_ytvis2019_r50", [f"{key}={json.dumps(v)}" for key, v in values.items()])

    def value(self, source: str, shape) -> np.ndarray:
        """The original's tensor of this name."""
        return golden_value(self, source, shape)

    def stored(self, name: str) -> tuple[np.ndarray, dict[str, Any]]:
        """(numbers, what the json says of the whole tensor)."""
        return self.arrays[name], self.facts["tensors"][name]


def fill_network(case: Case, network: nn.Cell, cfg) -> dict[str, str]:
    """Give every parameter the original's value; returns parameter -> published name."""
    table = card.weight_rules(cfg)[0]
    links, nameless = plan_leaving(table, [name for name, _ in network.parameters_and_names()])
    assert not nameless, nameless
    names = {link.parameter: link.source for link in links if link.rule.derived is None}
    for name, parameter in network.parameters_and_names():
        if not names[name].endswith("relative_position_index"):
            parameter.set_data(ms.Tensor(case.value(names[name], parameter.shape)))
    return names


def padded_input(case: Case, source: dict[str, Any], canvas, valid) -> tuple[np.ndarray, np.ndarray]:
    """Frames [1, T, 3, H, W] with zeros outside the valid area, padding bool [1, T, H, W]."""
    (H, W), (h, w) = canvas, valid
    frames = case.make_input(source["name"], source["shape"], source["seed"]).copy()
    T = len(frames)
    padding = np.ones((1, T, H, W), bool)
    padding[..., :h, :w] = False
    frames[:, :, h:], frames[..., w:] = 0, 0
    return frames[None].astype(np.float32), padding


def assert_close(got: np.ndarray, case: Case, name: str, tolerance: float) -> None:
    """Largest difference, relative to the largest number of the original."""
    numbers, whole = case.stored(name)
    assert np.prod(got.shape) == np.prod(whole["shape"]), f"{name}: {got.shape} against {whole['shape']}"
    ours = np.asarray(got).reshape(-1)[:: whole["flat_stride"]]
    scale = max(np.abs(numbers).max(), 1e-3)
    error = np.abs(ours - numbers).max() / scale
    assert error <= tolerance, f"{name}: differs by {error:.2e} of {scale:.3g}"
