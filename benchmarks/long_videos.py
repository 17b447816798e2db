"""Trained models on long videos: objects that stay and cross, that come and go, and cuts.

    mindvideo prepare synthetic --output DATA/synthetic_easy --long 100
    mindvideo train -c instanceformer_toy --output runs/if data.root=DATA
    python -m benchmarks.long_videos instanceformer_toy=runs/if/last.ckpt --data DATA --output runs/long

Several NAME=WEIGHTS may follow each other; NAME is a configuration, with settings that were other in training after a
colon (mssts_toy:mssts.temporal_attention=false=runs/ms/last.ckpt). Each is evaluated on 5-frame clips (`valid`) and on
the sets of `prepare synthetic --long`, with the tracks of any length and with the published procedure, which links the
windows of a family of windows, in several ways:

    python -m benchmarks.long_videos gmpvis_toy=runs/gm/last.ckpt --data DATA --output runs/long \\
        --linking overlap features graph

What is there already below --output is read, not done again. The table goes to benchmarks/long_videos.csv and to the
screen; "trained" is the seed of the training, from the run's folder, "seed" that of the videos.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SETS = ("valid", "stay", "late", "late200", "cuts")
# How tracks begin and end: name in the table -> value of inference.any_length and of inference.scene_cuts.
TRACKS = {"published": "nowhere", "any length": "everywhere"}
FIGURES = ("HOTA", "DetA", "AssA", "IDF1")
KEYS = ("config", "trained", "tracks", "linking", "set", "seed")
COLUMNS = (*KEYS, "videos", "AP", "AP50", "frame AP", *FIGURES, "switches", "frames/s")
OWN = "own"  # the linking that the configuration names


def evaluate(key: dict[str, str], weights: str, data: Path, output: Path, max_videos: int) -> dict:
    """The metrics of one model on one set, from ``output`` or by a run of `mindvideo eval`."""
    if not (output / "metrics.json").is_file():
        tracks = TRACKS[key["tracks"]]
        options = [
            f"data.root={data}", f"data.valid=synthetic_easy/{key['set']}", f"evaluation.max_videos={max_videos}",
            f"inference.any_length={tracks}", f"inference.scene_cuts={tracks}",
        ]  # fmt: skip
        if key["linking"] != OWN:
            options.append(f"inference.linking={key['linking']}")
        config, _, changes = key["config"].partition(":")
        options += changes.split(",") if changes else []
        model = ["-c", config, "--weights", weights, "--output", output]
        subprocess.run(
            [sys.executable, "-m", "mindvideo", "eval", *model, "--no-report", *options], check=True, cwd=ROOT
        )
    return json.loads((output / "metrics.json").read_text())


def row_of(key: dict[str, str], metrics: dict) -> dict:
    tracking = metrics["tracking"]
    rate = metrics["speed"].get("frames_per_second")
    return {
        **key,
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
    table = {tuple(str(row[column]) for column in KEYS): row for row in [*known, *rows]}
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


def seed_of_training(weights: Path) -> str:
    """The seed of the run that left ``weights``, from its configuration; empty for weights of another origin."""
    config = weights.parent / "config.yaml"
    return str(yaml.safe_load(config.read_text())["runtime"]["seed"]) if config.is_file() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME[:KEY=VALUE,...]=WEIGHTS")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds synthetic_easy with its long sets")
    parser.add_argument("--output", type=Path, required=True, help="folder for the evaluations")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--tracks", nargs="+", default=list(TRACKS), choices=list(TRACKS))
    parser.add_argument("--linking", nargs="+", default=[OWN], choices=[OWN, "overlap", "features", "graph"])
    parser.add_argument("--max-videos", type=int, default=100, help="of each set (default 100)")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    rows = []
    linkings = {"published": arguments.linking, "any length": [OWN]}
    ways = [(tracks, linking) for tracks in arguments.tracks for linking in linkings[tracks]]
    for model, name, (tracks, linking) in itertools.product(arguments.models, arguments.sets, ways):
        config, _, weights = model.rpartition("=")
        trained = seed_of_training(Path(weights).resolve())
        key = dict(zip(KEYS, (config, trained, tracks, linking, name, seed_of(data, name))))
        folder = arguments.output.resolve() / "-".join(key.values()).replace(" ", "_")
        found = evaluate(key, str(Path(weights).resolve()), data, folder, arguments.max_videos)
        rows.append(row_of(key, found))
        write_rows(ROOT / "benchmarks" / "long_videos.csv", rows[-1:])
    print(markdown(rows))


if __name__ == "__main__":
    main()
