"""The end of an evaluation on single images: COCO's figures instead of those of tracks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mindvideo.evaluation.image_ap import coco_records, evaluate_images
from mindvideo.evaluation.image_truth import LabelledImages
from mindvideo.evaluation.results_json import Results
from mindvideo.evaluation.table import image_table
from mindvideo.files import atomic_path, write_json
from mindvideo.logs import counted

COCO_RESULTS = "coco_results.json"


def finish_images(folder: Path, images: LabelledImages, results: Results, speed: dict[str, Any]) -> dict[str, Any]:
    """Write ``metrics.json`` and the records in COCO's form, and show the table; the figures."""
    start = time.perf_counter()
    metrics = evaluate_images(images, results).metrics()
    seconds = time.perf_counter() - start
    write_json(folder / "metrics.json", {**metrics, "speed": {**speed, "evaluation_seconds": seconds}})
    with atomic_path(folder / COCO_RESULTS) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("[")
        for number, record in enumerate(coco_records(images, results)):
            stream.write((",\n" if number else "\n") + json.dumps(record))
        stream.write("\n]\n")
    print(image_table(metrics))
    print(
        f"\n{counted(metrics['images'], 'image')}, boxes are those around the masks; {seconds:.2f} s to evaluate; "
        f"written to {folder / 'metrics.json'}, the results in COCO's form to {folder / COCO_RESULTS}"
    )
    return metrics
