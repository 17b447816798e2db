"""The golden files of VidEoMT: facts, network (built by the family's card), weights and inputs of a case."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.videomt import card
from mindvideo.weights.rules import plan_leaving

NOT_FILLED = re.compile(r"attn_mask_probs|criterion\.empty_weight|embeddings\.mask_token")


class Case:
    """One golden file: ``facts`` (the json) and ``arrays`` (the npz); ``path`` is "tiny/online_square"."""

    def __init__(self, folder: Path, path: str) -> None:
        self.facts: dict[str, Any] = json.loads((folder / f"{path}.json").read_text())
        self.arrays = np.load(folder / f"{path}.npz")
        reference = runpy.run_path(str(folder.parent / "fill.py"))
        self.fill, self.make_input = reference["fill"], reference["make_input"]

    def config(self):
        args = self.facts["args"]
        values = {
            "videomt.backbone": args["family"],
            "data.num_classes": args["classes"] + 1,
            "videomt.num_queries": args["queries"],
            "videomt.width": args["hidden"],
            "videomt.heads": args["heads"],
            "videomt.num_blocks": args["layers"],
            "videomt.query_blocks": args["query_blocks"],
            "videomt.hidden_ratio": args["mlp_ratio"],
            "videomt.patch_size": args["patch"],
            "videomt.num_registers": args["registers"],
            "videomt.table_size": [args["image_size"]] * 2,
            "videomt.norm_queries": self.facts.get("switches", {}).get("norm_queries", False),
            "videomt.num_points": self.facts.get("points", 12544),
        }
        return load_config("videomt_ytvis2019_s", [f"{key}={json.dumps(v)}" for key, v in values.items()])

    def frames(self) -> np.ndarray:
        source = self.facts["input"]["make_input"]
        return self.make_input(source["name"], source["shape"], source["seed"])

    def value(self, name: str, shape) -> np.ndarray:
        """The tensor of this canonical name."""
        value = self.fill(name, shape, self.facts["fill_seed"])
        for pattern, factor in self.facts["scale"]:
            if re.search(pattern, name):
                value = value * np.float32(factor)
        return value


def canonical_names(network: nn.Cell, cfg) -> dict[str, str]:
    """Parameter of the network -> its name in transformers, by the card's own rules."""
    [table] = [table for table in card.weight_rules(cfg) if table.name == "transformers"]
    links, nameless = plan_leaving(table, [name for name, _ in network.parameters_and_names()])
    assert not nameless, nameless
    return {link.parameter: link.source for link in links if link.rule.derived is None}


def filled_network(case: Case, cfg) -> tuple[nn.Cell, dict[str, str]]:
    """The family's network with the original's values, and parameter -> canonical name."""
    network = card.build_network(cfg)
    names = canonical_names(network, cfg)
    for name, parameter in network.parameters_and_names():
        parameter.set_data(ms.Tensor(case.value(names[name], parameter.shape)))
    return network, names


def assert_close(got, arrays, name: str, tolerance: float) -> None:
    """Largest difference, relative to the largest number of the original."""
    got, expected = np.asarray(got), arrays[name]
    if f"{name}_shape" in arrays:
        assert tuple(arrays[f"{name}_shape"]) == got.shape, name
        got = got.reshape(-1)[:: int(arrays[f"{name}_stride"])]
    assert got.shape == expected.shape, f"{name}: {got.shape} against {expected.shape}"
    if f"{name}_stats" in arrays:
        low, high = arrays[f"{name}_stats"][2:]
        scale = max(abs(low), abs(high))
    else:
        scale = np.abs(expected).max()
    error = np.abs(got - expected).max() / scale
    assert error <= tolerance, f"{name}: differs by {error:.2e} of {scale:.3g}"
