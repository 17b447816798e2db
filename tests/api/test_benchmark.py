"""``mindvideo benchmark`` of the smallest network, and the FLOPs of a graph that can be counted by hand."""

from __future__ import annotations

import json
import sys

import mindspore as ms
import pytest
from mindspore import nn

from mindvideo.cli import benchmark
from mindvideo.inference.graph_flops import graph_flops


class Small(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, pad_mode="pad", padding=1)
        self.up = nn.Conv2dTranspose(8, 4, 2, stride=2)
        self.dense = nn.Dense(4, 5)

    def construct(self, x):
        x = self.up(self.conv(x))  # [1, 8, 4, 6] -> [1, 4, 8, 12]
        rows = self.dense(x.reshape(1, 4, 96).transpose(0, 2, 1))  # [1, 96, 5]
        return ms.ops.matmul(rows.transpose(0, 2, 1), rows)  # [1, 5, 5]


def test_flops_counted_by_hand(tmp_path):
    ms.export(Small(), ms.ops.zeros((1, 3, 8, 12)), file_name=str(tmp_path / "small"), file_format="MINDIR")
    convolution, transposed = 8 * 4 * 6 * (3 * 9), 8 * 4 * 6 * (4 * 4)
    assert graph_flops(tmp_path / "small.mindir") == 2 * (convolution + transposed + 96 * 4 * 5 + 5 * 96 * 5)


def test_the_command(tmp_path, monkeypatch, capsys):
    small = ["--size", "64x48", "--frames", "6", "vistr.encoder_layers=1", "vistr.decoder_layers=1"]
    small.append("runtime.mode=pynative")  # the graph is compiled for its FLOPs as it is
    monkeypatch.setattr(sys, "argv", ["mindvideo benchmark", "-c", "vistr_toy", "--output", str(tmp_path), *small])
    monkeypatch.setattr(benchmark, "matrix_rate", lambda: 1e9)
    assert benchmark.main() == 0
    shown = capsys.readouterr().out
    figures = json.loads((tmp_path / "benchmark.json").read_text())
    assert "frames per second" in shown and "GFLOP" in shown and "peak memory" in shown
    assert figures["parameters"] > 1e5 and figures["flops_per_frame"] > 1e6 and figures["frames_per_second"] > 0
    expected = figures["flops_per_frame"] * figures["frames_per_second"] / 1e9
    assert figures["share_of_matrix_rate"] == pytest.approx(expected)
