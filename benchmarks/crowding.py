"""Objects that are missed where frames are full and where they lie over each other.

    python -m benchmarks.crowding DATA/synthetic_easy/annotations/instances_late200.json runs/long/RUN/results.json

Of every object in every frame: is there a track whose mask overlaps it by half, and has it the right class? Counted by
the number of objects in the frame, and by the largest overlap (IoU) of the object's box with another's. Only tracks
that score ``--score`` or more count; videos without one in the file are left out.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.data.labels.videos import Video, read_video_annotations

FOUND = 0.5  # IoU of the masks
OVERLAPS = (0.0, 0.2, 0.4, 0.6)
KINDS = ("right", "wrong class", "missed")


def judged(video: Video, tracks: list[dict], frame: int) -> list[tuple[str, int, float]]:
    """For each object of a frame: what became of it, the number of objects, the overlap of its box with another's."""
    shown = [track for track in video.tracks if track.masks[frame] is not None]
    found = [track for track in tracks if track["segmentations"][frame]]
    if not shown:
        return []
    objects = [track.masks[frame] for track in shown]
    boxes = coco_mask.toBbox(objects)
    others = np.array(coco_mask.iou(boxes, boxes, [0] * len(boxes))) * (1 - np.eye(len(boxes)))
    answers = [track["segmentations"][frame] for track in found]
    overlap = np.array(coco_mask.iou(answers, objects, [0] * len(objects))).reshape(len(answers), len(objects))
    rows = []
    for n, track in enumerate(shown):
        best = int(overlap[:, n].argmax()) if answers else 0
        kind = "missed"
        if answers and overlap[best, n] >= FOUND:
            kind = "right" if found[best]["category_id"] == track.category_id else "wrong class"
        rows.append((kind, len(shown), float(others[n].max())))
    return rows


def show(title: str, counts: dict[str, Counter]) -> None:
    print(f"\n| {title} | objects | {' % | '.join(KINDS)} % |\n|---|" + "---:|" * (len(KINDS) + 1))
    for label, kinds in sorted(counts.items()):
        total = sum(kinds.values())
        print(f"| {label} | {total} | " + " | ".join(f"{100 * kinds[kind] / total:.1f}" for kind in KINDS) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--score", type=float, default=0.05)
    arguments = parser.parse_args()
    tracks = defaultdict(list)
    for track in json.loads(arguments.results.read_text(encoding="utf-8")):
        if track["score"] >= arguments.score:
            tracks[track["video_id"]].append(track)
    by_number: dict[str, Counter] = defaultdict(Counter)
    by_overlap: dict[str, Counter] = defaultdict(Counter)
    for video in read_video_annotations(arguments.annotations).videos:
        if video.id not in tracks:
            continue
        for frame in range(video.length):
            for kind, number, overlap in judged(video, tracks[video.id], frame):
                by_number[str(number)][kind] += 1
                by_overlap[f"{max(step for step in OVERLAPS if overlap >= step):.1f} and more"][kind] += 1
    frames = sum(sum(kinds.values()) / int(number) for number, kinds in by_number.items())
    total = sum(sum(kinds.values()) for kinds in by_number.values())
    print(f"{total / max(frames, 1):.1f} objects a frame that has any")
    show("objects in the frame", by_number)
    show("overlap with another box", by_overlap)


if __name__ == "__main__":
    main()
