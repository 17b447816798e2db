"""Every family: exported, loaded again and equal, through the tool; and a video longer than a clip through infer.py."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import yaml

from mindvideo import build_model
from mindvideo.inference.export import load_graph
from mindvideo.models.registry import FAMILIES
from tests.inference.colored_videos import write_frame_folder

BACKBONE = {"name": "resnet_small", "norm": "batch", "trainable_stages": 5}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1}
CLIPS = {**LAYERS, "num_queries": 3, "width": 48, "heads": 4, "levels": [1, 2, 3], "mask_channels": 8}
QUERIES = {
    **LAYERS,
    "num_queries": 6,
    "width": 64,
    "heads": 4,
    "hidden": 32,
    "backbone_levels": [2, 3],
}
# Name of a case -> family, its section, and the sections beside it that differ.
CASES = {
    "vistr": ("vistr", {**CLIPS, "hidden": 32, "token_levels": 2}, {}),
    "vistr_dot_product": ("vistr", {**CLIPS, "hidden": 32, "token_levels": 2, "mask_head": "dot_product"}, {}),
    "vistr_convnext": ("vistr", {**CLIPS, "hidden": 32}, {"backbone": {"name": "convnext_t"}}),
    "defvistr": ("defvistr", {**CLIPS, "tokens_per_query": 2, "encoder_hidden": 32, "decoder_hidden": 32}, {}),
    "instanceformer": ("instanceformer", {**QUERIES, "memory_frames": 3, "memory_tokens": 2}, {}),
    "seqformer": ("seqformer", {**QUERIES, "window_frames": 3}, {}),
}


def test_every_family_has_a_case() -> None:
    assert {family for family, _, _ in CASES.values()} == set(FAMILIES)


def _run_tool(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return importlib.import_module(f"mindvideo.cli.{name}").main()


@pytest.mark.parametrize("case", CASES)
def test_export_and_long_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, case: str
) -> None:
    configuration = tmp_path / "small.yaml"
    family, section, others = CASES[case]
    content = {"family": family, "name": "small", "data": {"num_classes": 5, "num_frames": 2}, "backbone": BACKBONE}
    configuration.write_text(yaml.safe_dump({**content, **others, family: section}))
    ms.save_checkpoint(build_model(configuration), str(tmp_path / "weights.ckpt"))
    given = ["-c", str(configuration), "--weights", str(tmp_path / "weights.ckpt")]

    exported = tmp_path / "m.mindir"
    assert _run_tool("export", [*given, "--size", "48x32", "--output", str(exported)], monkeypatch) == 0
    description = json.loads((tmp_path / "m.json").read_text())
    inputs = [np.zeros(entry["shape"], entry["dtype"].lower()) for entry in description["inputs"]]
    if description["state"]:
        state = np.load(tmp_path / "m.npz")
        inputs[-len(state.files) :] = [state[name] for name in description["state"]]
    outputs = load_graph(exported)(*[ms.Tensor(each) for each in inputs])
    assert [list(output.shape) for output in outputs] == [entry["shape"] for entry in description["outputs"]]
    assert ("libmindvideo" in capsys.readouterr().out) == (b"libmindvideo" in exported.read_bytes())

    folder = write_frame_folder(tmp_path / "clip", 5, (32, 48))
    arguments = [*given, "--input", str(folder), "--output", str(tmp_path / "o"), "inference.confidence=0.0"]
    assert _run_tool("infer", arguments, monkeypatch) == 0
    records = json.loads((tmp_path / "o" / "clip" / "results.json").read_text())
    assert records and all(len(record["segmentations"]) == 5 for record in records)
