"""How well a window's queries tell whether they show the object that a query of another window showed.

    mindvideo prepare synthetic --output DATA/synthetic_easy --long 100
    python -m benchmarks.same_object gmpvis_toy=runs/gm/last.ckpt --data DATA

For families of windows that have features (GMP-VIS). Every query that is sure of an object in a window is paired with
those of windows that begin at most 3 frames later ("near") and 10 to 40 frames later ("far"); printed is the area under
the ROC curve, 1 where every pair of the same object is more alike than every pair of two objects, 0.5 for guesses. By
the cosine of the features, by the affinity after graph matching, by its assignment, and by the colours under the masks.
"""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
from scipy.stats import rankdata

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.long_models import arguments, loaded, long_videos, readings_of
from benchmarks.rows import append_rows
from mindvideo.inference.trackers.lives import TrackLives, colours_under
from mindvideo.inference.trackers.track_bank import associate_by_cosine, node_features
from mindvideo.masks.rle import decode_mask
from mindvideo.models.gmpvis.inference import GraphAssociation

MIN_SCORE, MIN_OVERLAP = 0.3, 0.4  # of a query that shows an object
NEAR, FAR = range(1, 4), range(10, 41)  # frames between the beginnings of two windows


def objects_of(annotations: list[dict], resolution: tuple[int, int]) -> list[list[np.ndarray | None]]:
    """For each object and frame its mask, bool [h, w]."""

    def mask(segmentation: dict | None) -> np.ndarray | None:
        return None if segmentation is None else cv2.resize(decode_mask(segmentation), resolution[::-1]) > 0

    return [[mask(segmentation) for segmentation in each["segmentations"]] for each in annotations]


def shown_object(masks: np.ndarray, objects: list[list[np.ndarray | None]], start: int) -> int | None:
    """Which object a query's masks, bool [T, h, w] from the frame ``start`` on, show."""
    best, most = None, MIN_OVERLAP
    for number, truths in enumerate(objects):
        pairs = [(m, np.zeros_like(m) if t is None else t) for m, t in zip(masks, truths[start:])]
        shared, either = (sum(f(m, t).sum() for m, t in pairs) for f in (np.logical_and, np.logical_or))
        if either and shared / either > most:
            best, most = number, shared / either
    return best


def windows_of(tracker, frames: list[np.ndarray], annotations: list[dict]) -> list[tuple]:
    """Of each window: its first frame, the objects that its queries show, their features and roots of colours."""
    resolution = frames[0].shape[:2]
    objects = objects_of(annotations, resolution)
    found = []
    for reading in readings_of(tracker, frames):
        if not reading.is_new:
            continue
        window, rows = reading.window, []
        for query in np.flatnonzero(window.probabilities.max(axis=2).mean(axis=1) >= MIN_SCORE):
            masks = np.stack([cv2.resize(logits, resolution[::-1]) > 0 for logits in window.mask_logits[query]])
            number = shown_object(masks, objects, reading.start)
            if number is not None:
                place = int(masks.sum(axis=(1, 2)).argmax())
                mask = masks[place].reshape(1, -1)
                colours = colours_under(frames[reading.start + place], mask, TrackLives.COLOUR_STEPS)[0]
                rows.append((number, node_features(window)[query], np.sqrt(colours)))
        if rows:
            found.append((reading.start, *(np.array(column) for column in zip(*rows))))
    return found


def area_under_curve(same: list[float], other: list[float]) -> float:
    ranks = rankdata([*same, *other])[: len(same)]
    return float((ranks.sum() - len(same) * (len(same) + 1) / 2) / (len(same) * len(other)))


def main() -> None:
    given = arguments(__doc__)
    name, network, tracker = loaded(given.model, given.data)
    graph = GraphAssociation(network=network)
    for which in given.sets:
        alike: dict[tuple[str, str], tuple[list, list]] = defaultdict(lambda: ([], []))
        for video in long_videos(given.data, which, given.max_videos):
            windows = windows_of(tracker, video.frames, video.annotations)
            for first, second in ((a, b) for a in windows for b in windows):
                distance = second[0] - first[0]
                kind = "near" if distance in NEAR else "far" if distance in FAR else None
                if kind is None:
                    continue
                matched = graph(first[2], second[2])
                ways = {"cosine of features": associate_by_cosine(first[2], second[2]).affinity}
                ways |= {"graph affinity": matched.affinity, "graph assignment": matched.assignment}
                ways |= {"colours": first[3] @ second[3].T}
                same = first[1][:, None] == second[1][None]
                for way, values in ways.items():
                    alike[way, kind][0].extend(values[same])
                    alike[way, kind][1].extend(values[~same])
        for way in dict.fromkeys(way for way, _ in alike):
            near, far = (round(area_under_curve(*alike[way, kind]), 3) for kind in ("near", "far"))
            row = {"config": name, "set": which, "by": way, "near": near, "far": far}
            print(row, flush=True)
            if given.csv:
                append_rows(given.csv, [row])


if __name__ == "__main__":
    main()
