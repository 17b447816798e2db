"""`mindvideo infer` on videos in which objects come and go, and on odd ones, with a step that finds coloured discs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from mindvideo.inference.predictor import Predictor
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.any_length import AnyLengthTracker
from mindvideo.inference.trackers.any_length_windows import AnyLengthWindows
from mindvideo.inference.trackers.lives import LifeRules, Observation
from mindvideo.inference.trackers.scenes import SceneTracker
from mindvideo.inference.trackers.windows import WindowTracker
from tests.inference.colored_videos import COLORS, NUM_CATEGORIES, ColorClipNetwork, make_frame, masks_by_color

SIZE = (48, 64)


class NoState(NamedTuple):
    """Nothing passes from frame to frame."""


class ColorStep:
    """Queries find the discs of a colour each; which query that is changes from frame to frame."""

    def __init__(self) -> None:
        self._turn = 0

    def initial_state(self) -> NoState:
        return NoState()

    def renewed(self, state: NoState, queries: np.ndarray) -> NoState:  # noqa: ARG002
        return state

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def observe(self, image: Tensor, state: NoState) -> tuple[Observation, NoState]:
        self._turn += 1
        frame = image.asnumpy()
        probabilities = np.full((len(COLORS), NUM_CATEGORIES), 0.01, np.float32)
        masks = np.full((len(COLORS), *frame.shape[:2]), -4.0, np.float32)
        for category, mask in masks_by_color(frame).items():
            query = (category + self._turn) % len(COLORS)
            if mask.any():
                probabilities[query, category], masks[query][mask] = 0.8, 4.0
        return Observation(probabilities, masks), state


def frame_by_frame() -> AnyLengthTracker:
    return AnyLengthTracker(step=ColorStep(), resize=lambda frame: frame, rules=LifeRules())


def by_windows() -> AnyLengthWindows:
    """Of six frames, in each of which the queries have another order."""
    network = ColorClipNetwork(shuffle_seed=0)
    return WindowTracker(runner=network, num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame()).of_any_length()


@pytest.fixture(params=[frame_by_frame, by_windows])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Iterable[np.ndarray]], tuple[dict, list[dict]]]:
    """Frames -> what run.json reports and the lines of frames.jsonl, by way of the command."""
    infer = importlib.import_module("mindvideo.cli.infer")
    tracker = SceneTracker(request.param())
    predictor = Predictor(tracker=tracker, class_names={1: "red", 2: "green", 3: "blue"})
    monkeypatch.setattr(infer, "predictor_maker", lambda cfg, weights: lambda: predictor)
    (tmp_path / "weights.ckpt").write_bytes(b"weights")

    def run_tool(frames: Iterable[np.ndarray]) -> tuple[dict, list[dict]]:
        (tmp_path / "clip").mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / "clip" / f"{index}.png")
        command = (
            f"infer {tmp_path}/clip -c instanceformer_toy --weights {tmp_path}/weights.ckpt --output {tmp_path}/out"
        )
        monkeypatch.setattr(sys, "argv", [*command.split(), "inference.write=[video,frames]"])
        assert infer.main() == 0
        out = tmp_path / "out" / "clip"
        assert (out / "overlay.mp4").stat().st_size > 0
        record = json.loads((out / "run.json").read_text())
        assert record["settings"]["inference.any_length"] == "videos"
        return record["report"], [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]

    return run_tool


def test_objects_that_come_and_go_keep_their_numbers(run) -> None:
    """Red is there from the start, green enters and comes back after a gap, blue leaves."""
    absent = [{2} if t < 4 or 9 <= t < 13 else {3} if t > 14 else set() for t in range(20)]
    report, lines = run(make_frame(t, SIZE, tuple(gone)) for t, gone in enumerate(absent))
    shown = [{track["category_id"]: track["track_id"] for track in line["tracks"]} for line in lines]
    assert [set(COLORS) - set(frame) for frame in shown] == absent
    assert {tuple(sorted(frame.items())) for frame in shown if len(frame) == 3} == {tuple(sorted(shown[5].items()))}
    assert shown[-1] == {category: shown[5][category] for category in (1, 2)}
    assert report["tracks"] == 3 and report["cuts"] == []
    assert sorted(report["lives"].values()) == [[0, 14], [0, 19], [4, 19]]


def test_cuts_end_every_track(run) -> None:
    bright = np.full((*SIZE, 3), 240, np.uint8)
    report, lines = run([make_frame(0, SIZE), bright, make_frame(1, SIZE), bright])
    assert report["cuts"] == [1, 2, 3] and [line.get("cut", False) for line in lines] == [False, True, True, True]
    assert sorted(report["lives"].values()) == [[0, 0]] * 3 + [[2, 2]] * 3


@pytest.mark.parametrize("frames", [1, 5])
def test_frames_of_one_colour_have_no_track(run, frames: int) -> None:
    report, lines = run([np.full((*SIZE, 3), 128, np.uint8)] * frames)
    assert report["frames"] == frames and report["tracks"] == 0 and report["lives"] == {}
    assert [line["tracks"] for line in lines] == [[]] * frames


def test_one_frame_is_a_video(run) -> None:
    report, lines = run([make_frame(0, SIZE)])
    assert sorted(report["lives"].values()) == [[0, 0]] * 3 and len(lines[0]["tracks"]) == 3
