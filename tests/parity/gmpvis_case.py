"""A case of the GMP-VIS goldens: its configuration, network with the golden weights, frames and numbers."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np

from mindvideo import load_config
from mindvideo.models.gmpvis import card
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.conversion import fit_file
from mindvideo.weights.loading import assign, weights_of
from mindvideo.weights.stored_tensor import from_numpy


class Reference:
    """The rules by which weights and inputs are made."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "gmpvis"
        rules = runpy.run_path(str(root / "fill.py"))
        self.fill, self.make_input = rules["fill"], rules["make_input"]

    def facts(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    def numbers(self, name: str):
        return np.load(self.folder / f"{name}.npz")

    def frames(self, config: dict) -> tuple[np.ndarray, np.ndarray]:
        """Frames [1, T, 3, H, W] and padding bool [1, T, H, W]; every frame holds the valid part of its own noise."""
        given = config["images_input"]
        frames = self.make_input(given["name"], given["shape"], given["seed"])[None]
        rows, columns = config["valid"]
        padding = np.ones((*frames.shape[:2], *frames.shape[3:]), bool)
        padding[:, :, :rows, :columns] = False
        return frames * ~padding[:, :, None], padding

    def weight(self, key: str, shape: list[int]) -> np.ndarray:
        recipe = self.facts("recipe.json")
        value = self.fill(key, shape, recipe["seed"])
        for pattern, factor in recipe["scale"].items():
            if re.search(pattern, key):
                value = (value * np.float32(factor)).astype(value.dtype)
        return value


class Model:
    """The network of a case, built from configuration and filled through the family's table of published names."""

    def __init__(self, reference: Reference, case: str) -> None:
        self.facts = reference.facts(f"{case}.manifest.json")
        self.cfg = load_config("gmpvis_ytvis2019_r50", overrides(self.facts["config"]))
        self.network = card.build_network(self.cfg)
        tensors = {key: from_numpy(reference.weight(key, shape)) for key, shape, _ in self.facts["state_dict"]}
        parameters = weights_of(self.network)
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        fit = fit_file(CheckpointFile(Path("golden"), "filled", tensors, {}, {}), card.weight_rules(self.cfg), shapes)
        assert fit.is_complete and fit.plan.table.name == "published", fit.plan
        self.published = {link.parameter: link.source for link in fit.plan.links}
        for name, tensor in fit.tensors.items():
            assign(parameters[name], tensor)


def overrides(config: dict) -> list[str]:
    given = config["args"]
    settings = {
        "backbone.name": given["backbone"],
        "data.num_frames": given["num_frames"],
        "data.windows": 1,
        "gmpvis.num_queries": config["slots_per_frame"],
        "gmpvis.width": given["hidden_dim"],
        "gmpvis.heads": given["nheads"],
        "gmpvis.encoder_layers": given["enc_layers"],
        "gmpvis.decoder_layers": given["dec_layers"],
        "gmpvis.hidden": given["dim_feedforward"],
        "gmpvis.dropout": 0.0,
        "gmpvis.second_class_weight": 1.0,
        "loss.aux_layers": given["aux_loss"],
        "loss.no_object_weight": given["eos_coef"],
    }
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def flat_queries(values: np.ndarray) -> np.ndarray:
    """[B, Q, T, ...] -> [B, T * Q, ...]: the published order, row = frame * queries + query."""
    B, Q, T = values.shape[:3]
    return values.swapaxes(1, 2).reshape(B, T * Q, *values.shape[3:])
