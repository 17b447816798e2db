"""Frames a second of the training data against a loop that does nothing but decode the same JPEGs with Pillow.

    python -m benchmarks.data                     720p clips, both published augmentations, 2 workers
    python -m benchmarks.data --cores 1           everything on one core
    python -m benchmarks.data --memory            five epochs; prints the memory of the processes after each

Both sides get the same cores: the plain loop runs in as many processes as the pipeline has workers. The frames are
made on the spot (and kept in --folder for the next run).
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import mindvideo
from benchmarks.rows import append_rows
from mindvideo.data.clips.assemble import ClipSettings, training_clips
from mindvideo.data.feed.batch import Canvas, Collate
from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.data.transforms.pipelines import AugmentationSettings

RECIPE = dataclasses.replace(
    RECIPES["hard"], height=720, width=1280, num_frames=36, objects=(2, 3), pixel_noise=0.012, background_contrast=0.2
)
COPIES = 60  # of the set, so that an epoch is as long as a real one
MADE_AHEAD = 12  # batches that may be finished before the clock starts
CASES = {
    "36-frame windows, resize and crop to 300 x 540": (
        ClipSettings(
            num_frames=36,
            clip_rule="circular_window",
            samples_per="video",
            augmentation=AugmentationSettings(name="resize_crop", short_sides=(300,), max_long_side=540),
            min_instances=0,
        ),
        Collate(canvas=Canvas(buckets=[(320, 544), (544, 320), (544, 544)]), max_instances=10),
    ),
    "5 reference frames, resize or crop to 288..512": (
        ClipSettings(
            num_frames=5,
            clip_rule="reference_frames",
            augmentation=AugmentationSettings(
                name="resize_or_crop", short_sides=(288, 320, 352, 392, 416, 448, 480, 512), max_long_side=768
            ),
        ),
        Collate(canvas=Canvas(buckets=[(512, 768), (768, 512), (768, 768)]), max_instances=10, mask_stride=4),
    ),
}


def make_set(folder: Path, num_videos: int) -> None:
    if (folder / "annotations/instances_train.json").is_file():
        return
    for done in write_split(folder, RECIPE, split="train", num_videos=num_videos, seed=0):
        print(f"made video {done} of {num_videos}", flush=True)


def decode_all(paths: list[Path]) -> int:
    """The plain loop at its barest: the pixels stay in Pillow's own memory."""
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
    return len(paths)


def decode_to_arrays(paths: list[Path]) -> int:
    """The plain loop as one would write it: the pixels of each frame as an array."""
    for path in paths:
        with Image.open(path) as picture:
            np.asarray(picture.convert("RGB"))
    return len(paths)


def plain_frames_per_second(loop: Callable[[list[Path]], int], paths: list[Path], cores: int) -> float:
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(loop, [paths[:2]] * cores)  # the processes start and import
        start = time.perf_counter()
        frames = sum(pool.map(loop, [paths[part::cores] for part in range(cores)], chunksize=1))
        return frames / (time.perf_counter() - start)


def pipeline_source(folder: Path, name: str, workers: int, *, copies: int = 1):
    from mindvideo.data.feed.loader import load_loader

    settings, collate = CASES[name]
    names = copies * [f"{folder}/annotations/instances_train.json@{folder}/train/JPEGImages"]
    clips = training_clips(names, catalogue=Catalogue(), settings=settings)
    return load_loader(clips, collate=collate, batch_size=1, seed=0, num_workers=workers)


def pipeline_frames_per_second(batches: Iterator, num_frames: int, min_frames: int) -> float:
    """The first batches do not count: they were made while nobody waited for them."""
    for _ in range(MADE_AHEAD):
        next(batches)
    start = time.perf_counter()
    count = -(-min_frames // num_frames)
    for _ in range(count):
        next(batches)
    return count * num_frames / (time.perf_counter() - start)


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    paths = sorted((arguments.folder / "train/JPEGImages").rglob("*.jpg"))
    size = statistics.mean(path.stat().st_size for path in paths) / 1024
    print(f"{len(paths)} frames of {RECIPE.height} x {RECIPE.width}, {size:.0f} KiB each; {arguments.cores} cores")
    rows = []
    for name, (settings, _) in CASES.items():
        plain, arrays, pipeline = [], [], []
        dataset = pipeline_source(arguments.folder, name, arguments.cores, copies=COPIES)
        batches = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)
        for _ in range(arguments.rounds):
            plain.append(plain_frames_per_second(decode_all, arguments.passes * paths, arguments.cores))
            arrays.append(plain_frames_per_second(decode_to_arrays, arguments.passes * paths, arguments.cores))
            pipeline.append(pipeline_frames_per_second(batches, settings.num_frames, arguments.passes * len(paths)))
        dataset.batch_source.pool.close()
        share, share_of_arrays = (
            statistics.median(after / before for before, after in zip(loop, pipeline)) for loop in (plain, arrays)
        )
        row = {
            "case": name,
            "cores": arguments.cores,
            "plain_frames_per_second": round(statistics.median(plain), 1),
            "plain_array_frames_per_second": round(statistics.median(arrays), 1),
            "pipeline_frames_per_second": round(statistics.median(pipeline), 1),
            "share": round(share, 3),
            "share_of_arrays": round(share_of_arrays, 3),
            "frame_kib": round(size),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "mindvideo": mindvideo.__version__,
        }
        rows.append(row)
        print(
            f"{name}: plain {row['plain_frames_per_second']} frames/s, into arrays"
            f" {row['plain_array_frames_per_second']}, pipeline {row['pipeline_frames_per_second']}: share {share:.2f}"
            f" of the plain loop, {share_of_arrays:.2f} of the one into arrays",
            flush=True,
        )
    return rows


def resident_megabytes(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def measure_memory(arguments: argparse.Namespace) -> None:
    """Resident memory after each epoch: it must not grow."""
    name = next(iter(CASES))
    dataset = pipeline_source(arguments.folder, name, arguments.cores)
    for epoch in range(arguments.epochs):
        for _ in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
            pass
        workers = [worker.process.pid for worker in dataset.batch_source.pool._workers]
        sizes = [resident_megabytes(process) for process in (os.getpid(), *workers)]
        print(f"epoch {epoch}: main {sizes[0]:.0f} MB, workers {', '.join(f'{size:.0f}' for size in sizes[1:])} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark_data"))
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="plain and pipeline in turn, so often")
    parser.add_argument("--passes", type=int, default=4, help="how often each side of a round goes over the frames")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--make-only", action="store_true")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    make_set(arguments.folder, arguments.videos)
    if arguments.make_only:
        return
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.cores]))
    if arguments.memory:
        measure_memory(arguments)
        return
    rows = measure(arguments)
    if arguments.csv:
        append_rows(arguments.csv, rows)


if __name__ == "__main__":
    main()
