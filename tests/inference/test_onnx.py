"""ONNX files: onnxruntime gives the network's numbers, operator by operator and for an online and a clip family."""

from __future__ import annotations

import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo import build_model
from mindvideo.errors import UserError
from mindvideo.inference.export import ExportPlan, export_graph
from mindvideo.native_library import CHOICE_VARIABLE

onnx = pytest.importorskip("onnx", reason="the extra mindvideo[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra mindvideo[onnx] is not installed")

TOLERANCE = 1e-4  # of the largest number, and at least of 1


class ManyOperators(nn.Cell):
    """Operators in the forms that are easy to get wrong: steps, negative axes, masks of slices, mixed types."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, pad_mode="pad", padding=(0, 1, 2, 1), dilation=2, has_bias=True)
        self.dense = nn.Dense(6, 5)
        self.offset = ms.Parameter(ms.Tensor(np.full(4, 0.25, np.float32)), name="state")  # as an input is called

    def construct(self, image, state, seen):
        x = ops.cast(image, ms.float32).transpose(2, 0, 1)[None] / 255.0
        features = self.conv(ops.pad(x, (1, 2, 0, 3)))
        enlarged = ops.ResizeNearestNeighborV2()(features, (9, 7))
        pieces = ops.split(enlarged[:, :, :, :6], 2, axis=-1)
        pair = ops.stack((pieces[0], pieces[1]), axis=-2)
        dense = self.dense(enlarged[0, -1, 1:-1:3, -6:])
        picked = ops.gather(dense, ms.Tensor(np.array([1, 0, 1], np.int32)), 1)
        summed = ops.cumsum(ops.clamp(picked, -0.5, 0.5), 1)
        best, places = ops.topk(features.reshape(-1), 3)
        chosen = ops.select(summed > 0, summed, summed * 2.0) + ops.rsqrt(ops.abs(summed) + 1)
        attention = ops.softmax(ops.matmul(state, state.swapaxes(-1, -2)), -1)
        mean = (pair.mean((-1, 0)) + ops.sigmoid(best).sum()) * ops.equal(places, places[1]).sum()
        return chosen, mean, places, ops.bmm(attention, state) + self.offset + ops.floor(seen / 2), seen + 1


def many_operators() -> ExportPlan:
    state = {
        "state": ms.Tensor(np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)),
        "seen": ms.Tensor(np.zeros((), np.int32)),
    }
    image = ms.Tensor(np.zeros((12, 10, 3), np.uint8))
    outputs = ("chosen", "mean", "places")
    return ExportPlan(graph=ManyOperators(), inputs={"image": image, **state}, outputs=outputs, state=tuple(state))


def test_operators_in_their_odd_forms(tmp_path: Path) -> None:
    comparisons = export_graph(many_operators(), tmp_path / "many.onnx", calls=4)
    assert [each.name for each in comparisons] == ["chosen", "mean", "places", "next_state", "next_seen"]
    assert all(each.difference <= TOLERANCE * max(each.largest, 1.0) for each in comparisons)
    assert [file.name for file in tmp_path.iterdir()] == ["many.onnx"]
    model = onnx.load(tmp_path / "many.onnx")
    assert [each.name for each in model.graph.input] == ["image", "state", "seen"]
    assert [each.name for each in model.graph.output] == ["chosen", "mean", "places", "next_state", "next_seen"]


class WithoutCounterpart(nn.Cell):
    def construct(self, image):
        return ops.erfinv(ops.cast(image, ms.float32) / 300), ops.cast(image, ms.float32)


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    image = ms.Tensor(np.zeros((4, 5, 3), np.uint8))
    plan = ExportPlan(graph=WithoutCounterpart(), inputs={"image": image}, outputs=("a", "b"))
    with pytest.raises(UserError, match="operators without a counterpart in ONNX here: Erfinv.*no file is kept"):
        export_graph(plan, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["vistr", "instanceformer"])
def test_a_family_equals_itself(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Through the command, from weights to the file, with a clip family and an online one, of one layer each.

    The network that the file is compared with runs operator by operator.
    """
    from mindvideo.cli import export
    from tests.models.small_models import Sizes, small_overrides

    monkeypatch.setenv(CHOICE_VARIABLE, "reference")
    small = [*small_overrides(name, Sizes(T=2)), f"{name}.decoder_layers=1"]
    network = build_model(f"{name}_toy", small)
    rng = np.random.default_rng(0)
    for parameter in network.trainable_params():  # away from the zeros that some layers start with
        parameter.set_data(parameter + ms.Tensor(0.02 * rng.standard_normal(parameter.shape), ms.float32))
    ms.save_checkpoint(network, str(tmp_path / "weights.ckpt"))
    path = tmp_path / f"{name}.onnx"
    command = ["export", "-c", f"{name}_toy", "--weights", str(tmp_path / "weights.ckpt"), "--size", "40x72"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(path), *small, "runtime.mode=pynative"])
    assert export.main() == 0
    ms.set_context(mode=ms.GRAPH_MODE)
    printed = capsys.readouterr().out
    assert "loaded again and compared with the network" in printed and "ms in onnxruntime" in printed
    domains = {node.domain for node in onnx.load(path).graph.node}
    assert domains == {""}  # operators of the standard only
    assert path.with_suffix(".npz").is_file() == (name == "instanceformer")
