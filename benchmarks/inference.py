"""The cost of drawing and encoding, and the memory that a long video takes.

    python -m benchmarks.inference cost --config vistr_toy
    python -m benchmarks.inference memory --config instanceformer_toy --frames 10000

``cost`` runs one video of 360x640 frames (JPEG files) again and again, by turns with and without an overlay, and
compares within the run: share = (with - without) / with. The network runs as it is, with random weights unless
``--weights`` gives others; drawn are the true masks of the made-up video, four objects, as a trained network would find
them. ``memory`` feeds frames from a generator through network, drawing and encoding and prints the resident memory
after every tenth of the video. Both append their figures to the file of ``--csv``.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from benchmarks.rows import append_rows
from mindvideo import VideoInstances, VideoPredictor, load_config
from mindvideo.assembly.predictor import build_tracker
from mindvideo.assembly.runtime import prepare_device
from mindvideo.data.media.frame_size import parse_size
from mindvideo.data.media.pictures import ImageFrames
from mindvideo.data.media.reader import VideoReader
from mindvideo.data.synthetic.videos import RECIPES, SyntheticVideo, render_video
from mindvideo.inference.output.video_files import OutputChoice, VideoFiles
from mindvideo.inference.predictor import ArrayFrames
from mindvideo.inference.video_run import run_video
from mindvideo.structures import Frame

ENLARGED = 5.6  # 64x96 shapes -> 360x640
CLASS_NAMES = dict(enumerate(RECIPES["easy"].shapes, start=1))


class TruthTracker:
    """Runs another tracker for its time, and gives the true masks in place of what it found."""

    def __init__(self, tracker, video: SyntheticVideo) -> None:
        self._tracker = tracker
        self._masks = [
            [
                {"size": list(mask.shape), "counts": coco_mask.encode(np.asfortranarray(mask))["counts"].decode()}
                for mask in track
            ]
            for track in video.masks
        ]
        self._labels = np.array(video.labels)

    def begin(self, **facts) -> None:
        self._facts, self._given = facts, 0
        self._tracker.begin(**facts)

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        final = len(self._tracker.feed(frame))
        self._given += final
        return [self._truth(range(index, index + 1)) for index in range(self._given - final, self._given)]

    def finish(self) -> VideoInstances:
        return self._truth(range(self._tracker.finish().num_frames))

    def _truth(self, frames: range) -> VideoInstances:
        period = len(self._masks[0])
        N = len(self._labels)
        return VideoInstances(
            video_id=self._facts["video_id"],
            size=self._facts["size"],
            num_frames=len(frames),
            scores=np.full(N, 0.9, np.float32),
            labels=self._labels,
            track_ids=np.arange(1, N + 1),
            segmentations=[[track[index % period] for index in frames] for track in self._masks],
        )


def made_up_video(height: int, width: int, *, num_frames: int = 40) -> SyntheticVideo:
    easy = RECIPES["easy"]
    recipe = dataclasses.replace(
        easy,
        height=height,
        width=width,
        num_frames=num_frames,
        objects=(4, 4),
        radius=tuple(ENLARGED * radius for radius in easy.radius),
        speed=easy.speed,
        angle_step=easy.angle_step / 4,
        scale_step=0.0,
    )
    return render_video(recipe, seed=0, split="test", index=0)


def run_once(predictor, reader: VideoReader, write: Sequence[str]) -> float:
    """Seconds for one video, everything included but opening it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_video(
            predictor,
            reader,
            folder=Path(folder) / "video",
            video_id=1,
            choice=OutputChoice(write=write, class_names=CLASS_NAMES),
            stop=threading.Event(),
        )
        return time.perf_counter() - started


def measure_cost(arguments: argparse.Namespace, predictor: VideoPredictor, video: SyntheticVideo) -> list[tuple]:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index, image in enumerate(video.frames):
            files.append(Path(folder) / f"{index:04d}.jpg")
            Image.fromarray(image).save(files[-1], quality=92)
        repeated = (files * (arguments.frames // len(files) + 1))[: arguments.frames]
        run_once(predictor, ImageFrames(files[:20], name="warm-up"), ["video"])  # compiles the graph
        seconds: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(arguments.repeats):
            for kind, write in (("without", []), ("with", ["video"])):
                seconds[kind].append(run_once(predictor, ImageFrames(repeated, name=kind), write))
    without, complete = (1000 * statistics.median(seconds[kind]) / arguments.frames for kind in ("without", "with"))
    writing = 1000 * writing_alone(video)
    return [
        ("time a frame without overlay", without, "ms"),
        ("time a frame with overlay", complete, "ms"),
        ("share of drawing and encoding", 100 * (complete - without) / complete, "%"),
        ("drawing and encoding alone on one thread", writing, "ms"),
    ]


def writing_alone(video: SyntheticVideo) -> float:
    """Seconds a frame of drawing and encoding, with nothing beside it."""
    size = video.frames.shape[1:3]
    truth = TruthTracker(_Immediate(), video)
    truth.begin(size=size, num_frames=None, video_id=1)
    drawn = [(Frame(image, index, "frame"), truth.feed(image)[0]) for index, image in enumerate(video.frames)]
    with tempfile.TemporaryDirectory() as folder:
        files = VideoFiles(Path(folder), choice=OutputChoice(class_names=CLASS_NAMES), frames_per_second=25)
        started = time.perf_counter()
        for item in drawn:
            files.add(item)
        files.finish(truth._truth(range(len(drawn))))
        return (time.perf_counter() - started) / len(drawn)


class _Immediate:
    """A tracker that costs nothing."""

    def begin(self, **facts) -> None: ...

    def feed(self, frame: np.ndarray) -> list[None]:
        return [None]


def measure_memory(arguments: argparse.Namespace, predictor: VideoPredictor, video: SyntheticVideo) -> list[tuple]:
    rows: list[tuple] = []
    started = time.monotonic()

    def frames() -> Iterator[np.ndarray]:
        for index in range(arguments.frames):
            if index and index % (arguments.frames // 10) == 0:
                rows.append((f"resident memory after {index} frames", resident_megabytes(), "MB"))
                print(f"{index} frames, {time.monotonic() - started:.0f} s, {rows[-1][1]:.0f} MB", flush=True)
            yield video.frames[index % len(video.frames)]

    run_once(predictor, ArrayFrames(frames()), ["video"])
    rows.append(("peak resident memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB"))
    rows.append(("time a frame", 1000 * (time.monotonic() - started) / arguments.frames, "ms"))
    return rows


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "memory"))
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT of the frames")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    cfg = load_config(arguments.config, ["runtime.compile_after=0", *arguments.overrides])
    video = made_up_video(*parse_size(arguments.size))
    prepare_device(cfg)
    tracker = build_tracker(cfg, weights=arguments.weights)
    if arguments.what == "cost":
        tracker = TruthTracker(tracker, video)
    predictor = VideoPredictor(tracker=tracker, class_names=CLASS_NAMES)
    measure = {"cost": measure_cost, "memory": measure_memory}[arguments.what]
    rows = measure(arguments, predictor, video)
    known = {"configuration": cfg.name, "size": arguments.size, "frames": arguments.frames}
    for what, value, unit in rows:
        print(f"{what}: {value:.4g} {unit}")
        if arguments.csv:
            append_rows(arguments.csv, [{"what": what, **known, "value": f"{value:.4g}", "unit": unit}])


if __name__ == "__main__":
    main()
