"""One tiny network for all errands: its weights in a file, and one compiled graph in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The published configuration at sizes that compile in seconds.
CONFIG = "vistr"
REDUCED = (
    "backbone.name=resnet_small", "backbone.widths=[8,16,16,24]", "backbone.norm=batch", "vistr.width=24",
    "vistr.hidden=20", "vistr.encoder_layers=1", "vistr.decoder_layers=2", "vistr.num_queries=4",
    "vistr.mask_channels=8", "vistr.mask_widths=[16,8,8]", "data.num_frames=3", "data.short_sides=[48]",
    "data.max_long_side=96", "data.first_short_sides=[48]", "data.crop_short_sides=[48]", "data.crop_range=[40,48]",
    "data.buckets=[[64,96]]", "data.workers=0", "inference.short_side=48",
)  # fmt: skip


class Errand:
    """Runs commands as a user would, in this process, from a folder of their own; the network is compiled once."""

    def __init__(self, folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        self.folder, self.weights = folder, weights
        self.data, self.config = folder / "data", ("-c", CONFIG)
        self._monkeypatch, self._capsys = monkeypatch, capsys

    @property
    def settings(self) -> tuple[str, ...]:
        return (*REDUCED, f"data.root={self.data}")

    def run(self, command: str, *words: object) -> str:
        """All that the command printed; its exit code is 0."""
        main: Callable[[], int | None] = importlib.import_module(f"mindvideo.cli.{command}").main
        self._monkeypatch.setattr(sys, "argv", [f"mindvideo {command}", *map(str, words)])
        self._capsys.readouterr()
        assert not main()
        return self._capsys.readouterr().out

    def eval(self, output: str, *words: object, weights: Path | None = None) -> str:
        model = (*self.config, "--weights", weights or self.weights, "--output", self.folder / output)
        return self.run("eval", *model, *words, *self.settings)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    from mindvideo import build_model
    from mindvideo.training.checkpoint import save_weights
    from mindvideo.weights.loading import weights_of

    path = tmp_path_factory.mktemp("weights") / "tiny.ckpt"
    network = build_model(CONFIG, REDUCED)
    save_weights(path, {name: value.asnumpy() for name, value in weights_of(network).items()})
    return path


@pytest.fixture(scope="session")
def compiled() -> dict:
    """Trackers by their weights, for all tests of this process."""
    return {}


@pytest.fixture
def errand(tmp_path, weights, compiled, monkeypatch, capsys) -> Errand:
    from mindvideo.assembly import predictor

    build = predictor.build_tracker

    def build_once(cfg, *, weights):
        key = Path(weights).stat().st_ino
        if key not in compiled:
            compiled[key] = build(cfg, weights=weights)
        return compiled[key]

    monkeypatch.setattr(predictor, "build_tracker", build_once)
    monkeypatch.chdir(tmp_path)
    return Errand(tmp_path, weights, monkeypatch, capsys)
