"""Trained models on long videos: objects that stay and cross, that come and go, and cuts.

    mindvideo prepare synthetic --output DATA/synthetic_easy --long 100
    mindvideo train -c instanceformer_toy --output runs/if data.root=DATA
    python benchmarks/long_videos.py instanceformer_toy=runs/if/last.ckpt --data DATA --output runs/long

Several NAME=WEIGHTS may follow each other; NAME is a configuration. Each is evaluated on 5-frame clips (`valid`) and on
the sets of `prepare synthetic --long`, with the tracks of any length and with the published procedure. What is there
already below --output is read, not done again. The table goes to benchmarks/long_videos.csv and to the screen.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETS = ("valid", "stay", "late", "late200", "cuts")
# How tracks begin and end: name in the table -> value of inference.any_length and of inference.scene_cuts.
TRACKS = {"published": "nowhere", "any length": "everywhere"}
FIGURES = ("HOTA", "DetA", "AssA", "IDF1")
COLUMNS = (
    "config", "tracks", "set", "seed", "videos", "AP", "AP50", "frame AP", *FIGURES, "switches", "frames/s",
)  # fmt: skip


def evaluate(config: str, weights: str, data: Path, name: str, tracks: str, output: Path, max_videos: int) -> dict:
    """The metrics of one model on one set, from ``output`` or by a run of `mindvideo eval`."""
    if not (output / "metrics.json").is_file():
        options = [
            f"data.root={data}", f"data.valid=synthetic_easy/{name}", f"evaluation.max_videos={max_videos}",
            f"inference.any_length={TRACKS[tracks]}", f"inference.scene_cuts={TRACKS[tracks]}",
        ]  # fmt: skip
        command = [sys.executable, "-m", "mindvideo", "eval", "-c", config, "--weights", weights, "--output", output]
        subprocess.run([*command, "--no-report", *options], check=True, cwd=ROOT)
    return json.loads((output / "metrics.json").read_text())


def row_of(config: str, tracks: str, name: str, seed: str, metrics: dict) -> dict:
    tracking = metrics["tracking"]
    rate = metrics["speed"].get("frames_per_second")
    return {
        "config": config,
        "tracks": tracks,
        "set": name,
        "seed": seed,
        "videos": metrics["videos"],
        "AP": round(100 * metrics["AP"], 1),
        "AP50": round(100 * metrics["AP50"], 1),
        "frame AP": round(100 * metrics["frame"]["AP"], 1),
        **{figure: round(100 * tracking[figure], 1) for figure in FIGURES},
        "switches": tracking["switches"],
        "frames/s": "" if rate is None else round(rate, 1),
    }


def write_rows(path: Path, rows: list[dict]) -> None:
    """Rows of other models, sets and seeds that the file has stay."""
    known = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
    table = {tuple(str(row[column]) for column in COLUMNS[:4]): row for row in [*known, *rows]}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table.values())


def markdown(rows: list[dict]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(row[column]) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def seed_of(data: Path, name: str) -> str:
    """The seed of a set, from the description in its annotation file."""
    content = json.loads((data / "synthetic_easy" / "annotations" / f"instances_{name}.json").read_text())
    return content["info"]["description"].rsplit(" ", 1)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=WEIGHTS")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds synthetic_easy with its long sets")
    parser.add_argument("--output", type=Path, required=True, help="folder for the evaluations")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--tracks", nargs="+", default=list(TRACKS), choices=list(TRACKS))
    parser.add_argument("--max-videos", type=int, default=100, help="of each set (default 100)")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    rows = []
    for model in arguments.models:
        config, _, weights = model.partition("=")
        for name in arguments.sets:
            seed = seed_of(data, name)
            for tracks in arguments.tracks:
                folder = arguments.output / f"{config}-{name}-{seed}-{tracks.replace(' ', '_')}"
                found = evaluate(
                    config, str(Path(weights).resolve()), data, name, tracks, folder.resolve(), arguments.max_videos
                )
                rows.append(row_of(config, tracks, name, seed, found))
                write_rows(ROOT / "benchmarks" / "long_videos.csv", rows[-1:])
    print(markdown(rows))


if __name__ == "__main__":
    main()
