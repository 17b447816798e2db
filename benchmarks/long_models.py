"""A trained model and the long synthetic videos it is run on, for scripts that look inside."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from mindvideo import load_config
from mindvideo.assembly.network import build_network, tracker_of
from mindvideo.assembly.runtime import prepare_device
from mindvideo.evaluation.evaluator import Evaluator
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.inference.trackers.sliding_windows import Reading


class LongVideo(NamedTuple):
    """As the annotation file has it; frames uint8 RGB [H, W, 3]."""

    entry: dict
    frames: list[np.ndarray]
    annotations: list[dict]


def arguments(description: str | None) -> argparse.Namespace:
    """Of a script that looks at one model on some long sets."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="NAME=WEIGHTS")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds synthetic_easy with its long sets")
    parser.add_argument("--sets", nargs="+", default=["late", "stay"])
    parser.add_argument("--max-videos", type=int, default=25)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    return parser.parse_args()


def loaded(model: str, data: Path) -> tuple[str, Any, Any]:
    """``NAME=WEIGHTS`` -> the name, the network and its tracker."""
    name, _, weights = model.partition("=")
    cfg = load_config(name, [f"data.root={data}"])
    prepare_device(cfg)
    network = build_network(cfg, weights=weights)
    return name, network, tracker_of(cfg, network)


def annotation_file(data: Path, name: str) -> Path:
    return data / "synthetic_easy" / "annotations" / f"instances_{name}.json"


def long_videos(data: Path, name: str, limit: int) -> Iterator[LongVideo]:
    """The first ``limit`` videos of a set."""
    content = json.loads(annotation_file(data, name).read_text())
    for entry in content["videos"][:limit]:
        files = [data / "synthetic_easy" / name / "JPEGImages" / file for file in entry["file_names"]]
        frames = [np.ascontiguousarray(cv2.imread(str(file))[..., ::-1]) for file in files]
        yield LongVideo(entry, frames, [each for each in content["annotations"] if each["video_id"] == entry["id"]])


def figures_of(data: Path, name: str, results: Iterable[tuple[LongVideo, list[dict]]]) -> dict[str, float]:
    """AP, IDF1 and switches of some videos of a set, from what was found in each, as in results.json."""
    results = list(results)
    truth = read_ground_truth(annotation_file(data, name))
    labelled = {video.id: video for video in truth.videos}
    kept = tuple(labelled[video.entry["id"]] for video, _ in results)
    evaluator = Evaluator(dataclasses.replace(truth, videos=kept))
    for video, records in results:
        evaluator.add(labelled[video.entry["id"]], records)
    found = evaluator.result().metrics()
    tracking = found["tracking"]
    return {
        "AP": round(100 * found["AP"], 1),
        "IDF1": round(100 * tracking["IDF1"], 1),
        "switches": tracking["switches"],
    }


def readings_of(tracker: Any, frames: list[np.ndarray]) -> list[Reading]:
    """The readings of the windows of a video."""
    tracker.windows.begin()
    read = [tracker.windows.feed(tracker.prepare(frame)) for frame in frames]
    return [reading for reading in read if reading is not None] + [tracker.windows.finish()]
