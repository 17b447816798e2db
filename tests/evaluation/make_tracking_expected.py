"""Writes fixtures/tracking.json: what TrackEval says of the evaluation's golden cases.

Run in an environment of its own, ``pip install trackeval pycocotools``; TrackEval needs numpy 2 and is no dependency.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from trackeval.metrics import CLEAR, HOTA, Identity

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "ytvis_eval"
CASES = {"basic": 0.0, "crowd": 0.2, "sparse": 0.0, "many": 0.5, "absent": 0.0, "sizes": 0.3}


def read(name: str):
    with gzip.open(GOLDEN / name, "rt", encoding="utf-8") as stream:
        return json.load(stream)


def encoded(segmentation, height: int, width: int):
    if segmentation is None:
        return None
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        code = coco_mask.frPyObjects(segmentation, height, width)
        segmentation = coco_mask.merge(code) if isinstance(code, list) else code
    return segmentation if coco_mask.area(segmentation) > 0 else None


def sequence(video: dict, truths: list[dict], records: list[dict], length: int) -> dict:
    """One category of one video as TrackEval's metrics take it."""
    rows = [[encoded(s, video["height"], video["width"]) for s in each["segmentations"]] for each in truths]
    columns = [[encoded(s, video["height"], video["width"]) for s in each["segmentations"]] for each in records]
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in range(length):
        there = [number for number, masks in enumerate(rows) if masks[frame] is not None]
        found = [number for number, masks in enumerate(columns) if masks[frame] is not None]
        similarity = np.zeros((len(there), len(found)))
        if there and found:
            similarity = np.asarray(
                coco_mask.iou([rows[n][frame] for n in there], [columns[n][frame] for n in found], [0] * len(found))
            )
        data["gt_ids"].append(np.array(there, int))
        data["tracker_ids"].append(np.array(found, int))
        data["similarity_scores"].append(similarity)
    for kind, prefix in (("gt_ids", "gt"), ("tracker_ids", "tracker")):
        used = np.unique(np.concatenate(data[kind]))
        data[kind] = [np.searchsorted(used, ids) for ids in data[kind]]
        data[f"num_{prefix}_ids"] = len(used)
        data[f"num_{prefix}_dets"] = sum(map(len, data[kind]))
    data["num_timesteps"] = length
    return data


def figures_of(sequences: list[dict]) -> dict[str, float]:
    quiet = {"PRINT_CONFIG": False}
    hota, identity, clear = HOTA(), Identity(quiet), CLEAR(quiet)
    of_hota = hota.combine_sequences({str(n): hota.eval_sequence(each) for n, each in enumerate(sequences)})
    of_identity = identity.combine_sequences({str(n): identity.eval_sequence(each) for n, each in enumerate(sequences)})
    of_clear = clear.combine_sequences({str(n): clear.eval_sequence(each) for n, each in enumerate(sequences)})
    return {
        "HOTA": float(np.mean(of_hota["HOTA"])),
        "DetA": float(np.mean(of_hota["DetA"])),
        "AssA": float(np.mean(of_hota["AssA"])),
        "IDF1": float(of_identity["IDF1"]),
        "switches": int(of_clear["IDSW"]),
    }


def main() -> None:
    expected = {}
    for case, confidence in CASES.items():
        labelled, records = read(f"{case}.gt.json.gz"), read(f"{case}.dt.json.gz")
        sequences = []
        for video in labelled["videos"]:
            truths = [
                each for each in labelled["annotations"] if each["video_id"] == video["id"] and not each.get("iscrowd")
            ]
            shown = [each for each in records if each["video_id"] == video["id"] and each["score"] >= confidence]
            length = video.get("length", len(video.get("file_names", ())))
            for category in sorted({each["category_id"] for each in [*truths, *shown]}):
                own = [[each for each in kind if each["category_id"] == category] for kind in (truths, shown)]
                sequences.append(sequence(video, *own, length))
        expected[case] = {"confidence": confidence, "figures": figures_of(sequences)}
    (HERE / "fixtures" / "tracking.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
