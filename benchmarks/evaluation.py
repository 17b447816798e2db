"""Tube IoU and the whole evaluation against the official way: two pycocotools merges a frame and pair, in Python.

    python -m benchmarks.evaluation [--videos 300] [--repeats 3] [--csv benchmarks/evaluation.csv]

Synthetic set: videos of 30 frames at 360x640 with 20 detections, 4 objects and a mix of 1, 2 or 5 classes. Both sides
compute the pairs of equal class in the same process, one after the other; the ratio is what counts. Reading JSON is
left out on both sides. Memory is measured in a process of its own for 30 and for 300 videos.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

import mindvideo
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import GroundTruth, parse_ground_truth
from mindvideo.evaluation.results_json import ResultsInMemory
from mindvideo.masks import overlap as tube_overlap

HEIGHT, WIDTH, FRAMES, DETECTIONS, OBJECTS, DISTINCT_VIDEOS = 360, 640, 30, 20, 4, 6


def blob_tube(rng: np.random.Generator, start: np.ndarray) -> list[dict]:
    """A wavy blob of about the size of an object in YouTube-VIS, moving."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    center, radius, phase = start[:2].copy(), start[2], rng.uniform(0, 6)
    tube = []
    for _ in range(FRAMES):
        center += rng.normal(0, 3, 2)
        angle = np.arctan2(rows - center[0], columns - center[1])
        reach = radius * (1 + 0.15 * np.sin(5 * angle + phase))
        inside = (columns - center[1]) ** 2 + (1.3 * (rows - center[0])) ** 2 < reach**2
        rle = coco_mask.encode(np.asfortranarray(inside, dtype=np.uint8))
        tube.append({"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode("ascii")})
    return tube


def make_set(num_videos: int, num_classes: int) -> tuple[GroundTruth, list[dict]]:
    """A few drawn videos, repeated under new ids: the work is that of different ones."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(min(DISTINCT_VIDEOS, num_videos)):
        starts = rng.uniform((60, 100, 30), (300, 540, 90), (OBJECTS, 3))
        objects = [(int(rng.integers(num_classes)) + 1, blob_tube(rng, start)) for start in starts]
        found = []
        for place in range(DETECTIONS):
            near = starts[place % OBJECTS] + rng.normal(0, 10, 3)
            found.append((int(rng.integers(num_classes)) + 1, blob_tube(rng, near), float(rng.random())))
        drawn.append((objects, found))
    videos, annotations, records = [], [], []
    for video_id in range(1, num_videos + 1):
        objects, found = drawn[video_id % len(drawn)]
        names = [f"{video_id}/{frame}.jpg" for frame in range(FRAMES)]
        videos.append({"id": video_id, "height": HEIGHT, "width": WIDTH, "length": FRAMES, "file_names": names})
        for label, tube in objects:
            entry = {"id": len(annotations) + 1, "video_id": video_id, "category_id": label, "iscrowd": 0}
            annotations.append({**entry, "segmentations": tube, "areas": coco_mask.area(tube).tolist()})
        for label, tube, score in found:
            records.append({"video_id": video_id, "category_id": label, "score": score, "segmentations": tube})
    categories = [{"id": label, "name": str(label)} for label in range(1, num_classes + 1)]
    return parse_ground_truth({"videos": videos, "categories": categories, "annotations": annotations}), records


def official_iou(ground_truth: GroundTruth, records: list[dict]) -> dict[int, np.ndarray]:
    """For each video [D, G]: the loop of the official evaluation over the pairs of equal class."""
    by_video: dict[int, list[dict]] = {}
    for record in records:
        by_video.setdefault(record["video_id"], []).append(record)
    found = {}
    for video in ground_truth.videos:
        truths = [[{"size": [HEIGHT, WIDTH], "counts": text} for text in track.tube] for track in video.tracks]
        own = by_video[video.id]
        iou = np.zeros((len(own), len(truths)))
        for d, record in enumerate(own):
            for g, (track, truth) in enumerate(zip(video.tracks, truths)):
                if record["category_id"] == track.category_id:
                    iou[d, g] = _pair(record["segmentations"], truth)
        found[video.id] = iou
    return found


def _pair(detection: list[dict], truth: list[dict]) -> float:
    common = union = 0.0
    for one, other in zip(detection, truth):
        common += coco_mask.area(coco_mask.merge([one, other], True))
        union += coco_mask.area(coco_mask.merge([one, other], False))
    return common / union


def our_iou(ground_truth: GroundTruth, records: list[dict]) -> dict[int, np.ndarray]:
    """The same through the evaluation's own overlap, checks and areas included."""
    from mindvideo.evaluation.results_json import checked_tubes

    results = ResultsInMemory(records)
    found = {}
    for video in ground_truth.videos:
        own = results.records(video.id)
        labels = np.array([record["category_id"] for record in own])
        truth_labels = np.array([track.category_id for track in video.tracks])
        wanted = labels[:, None] == truth_labels
        truths = [track.tube for track in video.tracks]
        overlap = tube_overlap.tube_overlap(checked_tubes(video, own), truths, pixels=HEIGHT * WIDTH, wanted=wanted)
        found[video.id] = np.where(wanted, overlap.tube_iou(), 0.0)
    return found


def seconds(action, repeats: int) -> float:
    """The quickest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(num_videos: int, num_classes: int, repeats: int) -> list[dict]:
    ground_truth, records = make_set(num_videos, num_classes)
    official = official_iou(ground_truth, records)
    loop = seconds(lambda: official_iou(ground_truth, records), 1)
    results = ResultsInMemory(records)
    kept = tube_overlap.native_overlap  # type: ignore[attr-defined]  # what that module calls is replaced
    rows = []
    for name in ("compiled", "pycocotools"):
        if name == "compiled" and kept() is None:
            continue
        tube_overlap.native_overlap = kept if name == "compiled" else (lambda: None)  # type: ignore[attr-defined]
        ours = our_iou(ground_truth, records)
        assert all(np.array_equal(ours[video], official[video]) for video in official), "the IoUs differ"
        iou = seconds(lambda: our_iou(ground_truth, records), repeats)
        whole = seconds(lambda: evaluate_results(ground_truth, results, details=False), repeats)
        details = seconds(lambda: evaluate_results(ground_truth, results), repeats)
        rows.append(
            {
                "videos": num_videos,
                "classes": num_classes,
                "overlap": name,
                "official_loop_s": round(loop, 3),
                "tube_iou_s": round(iou, 3),
                "times_faster": round(loop / iou, 1),
                "official_figures_s": round(whole, 3),
                "with_frame_ap_and_errors_s": round(details, 3),
            }
        )
    tube_overlap.native_overlap = kept  # type: ignore[attr-defined]
    return rows


def peak_megabytes(num_videos: int) -> tuple[float, float]:
    """(before, after) evaluating in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--memory-of", str(num_videos)]
    before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(before), float(after)


def measure_memory(num_videos: int) -> None:
    """Print the memory in use before and the most in use during an evaluation (Linux)."""
    ground_truth, records = make_set(num_videos, 2)
    results = ResultsInMemory(records)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the set
    before = memory_line("VmRSS")
    evaluate_results(ground_truth, results)
    print(before, memory_line("VmHWM"))


def memory_line(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        return measure_memory(given.memory_of)
    rows = [row for classes in (1, 2, 5) for row in compare(given.videos, classes, given.repeats)]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    for videos in (30, 300):
        before, after = peak_megabytes(videos)
        print(f"memory, {videos} videos: {before:.0f} MB with the masks read, {after:.0f} MB at most while evaluating")
    if given.csv:
        facts = {"mindvideo": mindvideo.__version__, "numpy": np.__version__, "machine": platform.machine()}
        facts["processors"] = os.cpu_count()
        with open(given.csv, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=[*rows[0], *facts])
            writer.writeheader()
            writer.writerows({**row, **facts} for row in rows)


if __name__ == "__main__":
    main()
