"""Backbones against the outputs of the original classes: every folder of ``backbones/`` in the golden data.

Operator by operator: compiled backbones are part of every family's compiled case.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo.modules.backbones.catalogue import build_resnet
from mindvideo.modules.backbones.swin import Swin
from mindvideo.modules.layers.window_attention import relative_position_index
from mindvideo.ops.masks import resize_padding
from mindvideo.weights.backbone_rules import backbone_rules
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.conversion import fit_file
from mindvideo.weights.loading import assign, weights_of
from mindvideo.weights.rules import RuleTable
from mindvideo.weights.stored_tensor import from_numpy
from tests.golden.fill import fill, make_input

# The data's README names no tolerance. The largest difference seen is 8e-6 of a map's standard deviation; single
# precision over a hundred layers allows no less than about 5e-6.
RELATIVE_TO_DEVIATION = 2e-5
MANIFEST, FACTS, NUMBERS = "manifest.json", "outputs.json", "outputs.npz"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    root = Path(metafunc.config.getoption("--golden"))
    names = sorted(path.parent.name for path in (root / "backbones").glob(f"*/{FACTS}"))
    metafunc.parametrize("case", names)


def build(options: dict):
    """The network that a golden file's ``config`` describes."""
    with ms.nn.utils.no_init_parameters():
        if "embed_dim" not in options:
            return build_resnet(options["name"], dilate_last=options["dilation"])
        assert options["mlp_ratio"] == 4.0 and options["qkv_bias"] and options["patch_norm"] and not options["ape"]
        return Swin(
            embed=options["embed_dim"],
            depths=options["depths"],
            heads=options["num_heads"],
            window=options["window_size"],
            drop_path=options["drop_path_rate"],
            out_levels=options["out_indices"],
        )


def fill_weights(network: ms.nn.Cell, manifest: list, facts: dict) -> None:
    """Fill every entry of the manifest, as a file would be loaded: through the rules, strict both ways."""
    tensors = {}
    for key, shape, _, _ in manifest:
        if key.endswith("relative_position_index"):
            tensors[key] = from_numpy(relative_position_index(math.isqrt(shape[0])).astype(np.int64))
        else:
            tensors[key] = from_numpy(fill(facts["fill_name_prefix"] + key, shape, facts["fill_seed"]))
    file = CheckpointFile(Path(facts["case"]), "filled", tensors, {}, {})
    parameters = weights_of(network)
    table = RuleTable("golden", tuple(backbone_rules("body.", "")))
    fit = fit_file(file, [table], {place: p.shape for place, p in parameters.items()})
    assert fit.is_complete, fit.plan
    for place, tensor in fit.tensors.items():
        assign(parameters[place], tensor)


@pytest.mark.usefixtures("operator_by_operator")
def test_backbone_gives_the_original_maps(golden: Path, case: str):
    folder = golden / "backbones" / case
    manifest, facts = (json.loads((folder / name).read_text()) for name in (MANIFEST, FACTS))
    numbers = np.load(folder / NUMBERS)
    network = build(facts["config"])
    fill_weights(network, manifest, facts)
    kinds = {key.removeprefix("body."): kind for key, _, _, kind in manifest}
    parameters = weights_of(network)
    assert {name for name, p in parameters.items() if p.requires_grad} == {
        name for name, kind in kinds.items() if kind == "trainable"
    }
    counted = [p for name, p in parameters.items() if kinds[name] != "buffer"]
    assert sum(p.size for p in counted) == facts["params"]
    network.set_train(False)
    for tag, shape in facts["input_shapes"].items():
        frames = make_input(facts["input_names"][tag], shape, facts["input_seed"])
        maps = network(ms.Tensor(frames))
        padding = np.ones((shape[0], *shape[2:]), bool)
        for image, (rows, columns) in enumerate(facts["valid_rows_cols"][tag]):
            padding[image, :rows, :columns] = False
        for level, found in enumerate(maps):
            compare(found.asnumpy(), numbers[f"{tag}.stage{level}"], facts["tensors"][f"{tag}.stage{level}"])
            resized = resize_padding(ms.Tensor(padding), *found.shape[2:]).asnumpy()
            np.testing.assert_array_equal(resized.reshape(-1), numbers[f"{tag}.mask{level}"].reshape(-1).astype(bool))


def compare(found: np.ndarray, expected: np.ndarray, facts: dict) -> None:
    assert list(found.shape) == facts["shape"]
    allowed = RELATIVE_TO_DEVIATION * facts["std"]
    np.testing.assert_allclose(found.reshape(-1)[:: facts["flat_stride"]], expected, rtol=0, atol=allowed)
    statistics = {"mean": found.mean(), "std": found.std(), "min": found.min(), "max": found.max()}
    for name, value in statistics.items():
        assert abs(value - facts[name]) <= allowed, name
