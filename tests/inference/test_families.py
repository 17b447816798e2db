"""Every family: exported, loaded again and equal, through the tool; and a video longer than a clip through infer.py."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.analysis.matches import is_match_record
from mindvideo.inference.export import load_graph
from mindvideo.models.registry import FAMILIES, card_of
from tests.inference.colored_videos import write_frame_folder
from tests.models.small_models import Sizes, small_overrides


def _run_tool(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return importlib.import_module(f"mindvideo.cli.{name}").main()


@pytest.mark.parametrize("family", FAMILIES)
def test_export_and_long_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, family: str
) -> None:
    overrides = small_overrides(family, Sizes())
    cfg = load_config(f"{family}_toy", overrides)
    network = card_of(family).build_network(cfg)
    ms.save_checkpoint(network, str(tmp_path / "weights.ckpt"))
    given = ["-c", f"{family}_toy", "--weights", str(tmp_path / "weights.ckpt")]

    exported = tmp_path / "m.mindir"
    arguments = [*given, "--size", "48x32", "--output", str(exported), *overrides]
    assert _run_tool("export", arguments, monkeypatch) == 0
    description = json.loads((tmp_path / "m.json").read_text())
    inputs = [np.zeros(entry["shape"], entry["dtype"].lower()) for entry in description["inputs"]]
    if description["state"]:
        state = np.load(tmp_path / "m.npz")
        inputs[-len(state.files) :] = [state[name] for name in description["state"]]
    outputs = load_graph(exported)(*[ms.Tensor(each) for each in inputs])
    assert [list(output.shape) for output in outputs] == [entry["shape"] for entry in description["outputs"]]
    assert ("libmindvideo" in capsys.readouterr().out) == (b"libmindvideo" in exported.read_bytes())

    folder = write_frame_folder(tmp_path / "clip", 5, (32, 48))
    arguments = [*given, "--input", str(folder), "--output", str(tmp_path / "o"), *overrides]
    # Random weights are never sure enough to begin a track.
    unsure = ["inference.min_birth=0", "inference.min_life=0"] if "min_birth" in cfg.inference else []
    matched = cfg.inference.get("linking") == "graph"  # then windows leave a record
    given = [*arguments, *["--analysis"] * matched, "inference.confidence=0.0", *unsure]
    assert _run_tool("infer", given, monkeypatch) == 0
    assert is_match_record(tmp_path / "o" / "analysis" / "1.npz") == matched
    records = json.loads((tmp_path / "o" / "clip" / "results.json").read_text())
    assert records and all(len(record["segmentations"]) == 5 for record in records)
