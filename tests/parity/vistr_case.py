"""A case of the VisTR goldens: its configuration, network with the golden weights, frames and numbers."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.vistr import card
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.conversion import fit_file
from mindvideo.weights.loading import assign, weights_of
from mindvideo.weights.stored_tensor import from_numpy


def case_names(root: Path, pattern: str) -> list[str]:
    """Names of the files of the golden folder that match, without their ending."""
    return sorted(path.name.split(".")[0] for path in (root / "vistr").glob(pattern))


class Reference:
    """The rules by which weights and inputs are made."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "vistr"
        rules = runpy.run_path(str(root / "fill.py"))
        self.fill, self.make_input = rules["fill"], rules["make_input"]

    def facts(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    def numbers(self, name: str):
        return np.load(self.folder / f"{name}.npz")

    def frames(self, given: dict) -> tuple[np.ndarray, np.ndarray]:
        """The rule ``blk_images``: frames [B,T,3,H,W], padding bool [B,T,H,W]."""
        (H, W), T, block = given["canvas"], given["frames_per_clip"], given["block"]
        frames = np.zeros((len(given["names"]), T, 3, H, W), np.float32)
        padding = np.ones((len(given["names"]), T, H, W), bool)
        for clip, (name, (rows, columns)) in enumerate(zip(given["names"], given["valid"])):
            cells = self.make_input(name, given["base_shape"], given["seed"])
            cells = cells.repeat(block, axis=2).repeat(block, axis=3) * 2
            for t in range(T):
                shift = t % block
                frames[clip, t, :, :rows, :columns] = cells[t, :, :rows, shift : shift + columns]
            padding[clip, :, :rows, :columns] = False
        return frames, padding


class Model:
    """The network of a case, built from configuration and filled through the family's weight names."""

    def __init__(self, reference: Reference, facts: dict, state: list, *, validity: str = "matched") -> None:
        self.cfg = load_config("vistr", overrides(facts, validity))
        self.network = card.build_network(self.cfg)
        tensors = {key: from_numpy(weight(reference, facts, key, shape)) for key, shape, _ in state}
        parameters = weights_of(self.network)
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        fit = fit_file(CheckpointFile(Path("golden"), "filled", tensors, {}, {}), card.weight_rules(self.cfg), shapes)
        assert fit.is_complete and fit.plan.table.name == "published", fit.plan
        self.values = fit.tensors
        self.published = {link.parameter: link.source for link in fit.plan.links}
        self.refill()

    def refill(self) -> None:
        """Put the golden weights (back) in."""
        parameters = weights_of(self.network)
        for name, tensor in self.values.items():
            assign(parameters[name], tensor)


def weight(reference: Reference, facts: dict, key: str, shape: list[int]) -> np.ndarray:
    value = reference.fill(key, shape, facts["fill_seed"])
    for pattern, factor in facts["scale"].items():
        if re.search(pattern, key):
            value = (value * np.float32(factor)).astype(value.dtype)
    return value


def overrides(facts: dict, validity: str) -> list[str]:
    given = facts["config"]
    assert given["position_embedding"] == "sine"
    settings = {
        "backbone.name": given["backbone"],
        "backbone.dilate_last": given["dilation"],
        "data.num_frames": given["num_frames"],
        "vistr.num_queries": given["num_queries"] // given["num_frames"],
        "data.num_classes": facts["num_classes"],
        "vistr.width": given["hidden_dim"],
        "vistr.heads": given["nheads"],
        "vistr.encoder_layers": given["enc_layers"],
        "vistr.decoder_layers": given["dec_layers"],
        "vistr.hidden": given["dim_feedforward"],
        "vistr.dropout": given.get("dropout", 0.1),
        "vistr.pre_norm": given["pre_norm"],
        "vistr.masks": given["masks"],
        "loss.aux_layers": given["aux_loss"],
        "loss.no_object_weight": given["eos_coef"],
        "matcher.validity": validity,
    }
    if "matcher_costs" in facts:
        costs, weights, focal = facts["matcher_costs"], facts["weights"], facts["focal"]
        settings |= {
            "matcher.class_cost": costs["cost_class"],
            "matcher.box_cost": costs["cost_bbox"],
            "matcher.iou_cost": costs["cost_iou"],
            "loss.class_weight": weights["loss_ce"],
            "loss.box_weight": weights["loss_bbox"],
            "loss.giou_weight": weights["loss_giou"],
            "loss.mask_weight": weights.get("loss_mask", 1.0),
            "loss.dice_weight": weights.get("loss_dice", 1.0),
            "loss.focal_alpha": focal["alpha"],
            "loss.focal_gamma": focal["gamma"],
        }
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


class GivenFrames(nn.Cell):
    """Stands in for the normalisation of pixels: the frames are given as they are, with their padding."""

    def __init__(self, padding: np.ndarray) -> None:
        super().__init__(auto_prefix=False)
        self.padding = ms.Tensor(padding)

    def construct(self, frames, sizes):
        return frames, self.padding


def flat_queries(values: np.ndarray) -> np.ndarray:
    """[B,Q,T,...] -> [B,T*Q,...]: the published order, row = frame * queries + query."""
    B, Q, T = values.shape[:3]
    return values.swapaxes(1, 2).reshape(B, T * Q, *values.shape[3:])
