"""Trains the toy configurations from nothing: training, evaluation on 300 held-out clips, curves.

    python tools/segmentation/prepare.py synthetic --output DATA/synthetic_easy
    python -m benchmarks.toy_learning vistr_toy instanceformer_toy --seeds 0 1 2 --data DATA --runs runs/toy

What a configuration's parts are worth is seen by changing settings after its name, and by fewer steps:

    python -m benchmarks.toy_learning seqformer_toy mssts_toy mssts_toy:mssts.adversarial=false --steps 1200 \
        --data DATA --csv benchmarks/mssts_parts.csv --plot docs/mssts_parts.png

Each run has a folder RUNS/<config>-<seed> of its own; what is there already is resumed or read, not done again. The
table goes to benchmarks/toy_learning.csv and the curves to docs/toy_learning.png. The weights after the last step are
evaluated: no checkpoint is picked.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools" / "segmentation"
FIGURES = ("AP", "AP50", "AP75", "AR10")
# The curves: a term of the loss under the name of each family, and what it is.
TERMS = {
    "mask dice loss": ("loss_dice",),
    "box L1 loss": ("loss_bbox",),
    "class loss": ("loss_ce",),
}
SMOOTHING = 5  # records that a point of a curve averages


def train(spec: str, seed: int, steps: int, data: Path, run: Path) -> None:
    """``spec``: NAME or NAME:KEY=VALUE,KEY=VALUE; ``steps`` 0: as many as the configuration says."""
    if (run / "last.ckpt").is_file():
        return
    config, _, changes = spec.partition(":")
    command = [sys.executable, TOOLS / "train.py", "-c", config, "--output", run, f"data.root={data}"]
    command += ["--resume"] if (run / "checkpoints").is_dir() else []
    command += [f"runtime.seed={seed}", *changes.split(",")] if changes else [f"runtime.seed={seed}"]
    command += [f"schedule.max_steps={steps}"] if steps else []
    subprocess.run(command, check=True)


def evaluate(data: Path, run: Path) -> dict[str, float]:
    output = run / "evaluation"
    if not (output / "metrics.json").is_file():
        command = [sys.executable, TOOLS / "eval.py", "-c", run / "config.yaml", "--weights", run / "last.ckpt"]
        subprocess.run([*command, "--output", output, f"data.root={data}"], check=True)
    return json.loads((output / "metrics.json").read_text())


def records_of(run: Path) -> list[dict]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record.get("kind") == "train"]


def minutes_of(records: list[dict]) -> float:
    """Time of all steps; compiling, about 20 s, is not in the records."""
    seconds, before = 0.0, 0
    for record in records:
        a_step = record["seconds_data"] + record["seconds_step"] + record["seconds_other"]
        seconds += (record["step"] - before) * a_step
        before = record["step"]
    return seconds / 60


def row_of(config: str, seed: int, metrics: dict, records: list[dict]) -> dict:
    steps, minutes = records[-1]["step"], minutes_of(records)
    row = {"config": config, "seed": seed, "steps": steps, "minutes": round(minutes, 1)}
    row["seconds_a_step"] = round(60 * minutes / steps, 3)
    return row | {name: round(100 * metrics[name], 1) for name in FIGURES}


def write_rows(path: Path, rows: list[dict]) -> None:
    """Rows of other configurations and seeds that the file has stay."""
    known = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
    table = {(row["config"], str(row["seed"])): row for row in [*known, *rows]}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(table.values())


def smoothed(values: list[float]) -> list[float]:
    return [sum(part) / len(part) for end in range(len(values)) for part in [values[max(0, end - SMOOTHING) : end + 1]]]


def plot(curves: dict[tuple[str, int], list[dict]], rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    recorded = {name for records in curves.values() for name in records[0]}
    terms = {title: names for title, names in TERMS.items() if recorded.intersection(names)}  # not all have boxes
    figure, axes = pyplot.subplots(1, len(terms), figsize=(11, 3.4), layout="constrained")
    colors = {config: f"C{number}" for number, config in enumerate(dict.fromkeys(config for config, _ in curves))}
    for (config, seed), records in curves.items():
        AP = next(row["AP"] for row in rows if (row["config"], row["seed"]) == (config, seed))
        steps = [record["step"] for record in records]
        for panel, (title, names) in zip(axes, terms.items()):
            name = next((name for name in names if name in records[0]), None)
            if name is None:
                continue
            label = f"{config}, seed {seed}: AP {AP:.1f}"
            style = ("-", "--", ":")[seed % 3]
            panel.plot(steps, smoothed([record[name] for record in records]), style, color=colors[config], label=label)
            panel.set(title=title, xlabel="step")
            panel.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", metavar="NAME[:KEY=VALUE,...]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=0, help="of each run (default: what its configuration says)")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds synthetic_easy")
    parser.add_argument("--runs", type=Path, default=Path("runs/toy"))
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks" / "toy_learning.csv")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "toy_learning.png")
    arguments = parser.parse_args()
    rows, curves = [], {}
    for config in arguments.configs:
        for seed in arguments.seeds:
            run = arguments.runs / f"{config}-{seed}"
            train(config, seed, arguments.steps, arguments.data, run)
            metrics = evaluate(arguments.data, run)
            curves[config, seed] = records_of(run)
            rows.append(row_of(config, seed, metrics, curves[config, seed]))
            print(rows[-1], flush=True)
    write_rows(arguments.csv, rows)
    plot(curves, rows, arguments.plot)


if __name__ == "__main__":
    main()
