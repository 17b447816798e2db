"""Where the time of a training goes: compiling, the compiled step, and everything outside it; and the step in PyNative.

    python -m benchmarks.train_step [-c vistr_toy] [--steps 40] [--pynative-steps 5] [--csv benchmarks/train_step.csv]
    python -m benchmarks.train_step -c instanceformer_toy data.pasted_share=0 data.max_instances=4

Draws a small synthetic set, trains on it through the same classes as tools/segmentation/train.py, with a line of the
log every 20 steps and a checkpoint every 20 (25 times as often as in a real run), and prints the share of the time
that is spent outside the compiled step: waiting for data, callbacks, logging and checkpoints.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import mindvideo
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly import build_trainer, build_training_data, start_process
from mindvideo.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def make_data(folder: Path, videos: int) -> None:
    prepare = ROOT / "tools" / "segmentation" / "prepare.py"
    command = [sys.executable, str(prepare), "synthetic", "--output", str(folder / "synthetic_easy")]
    subprocess.run([*command, "--train", str(videos), "--valid", "2"], check=True, capture_output=True)


def train(name: str, folder: Path, *, steps: int, mode: str, overrides: list[str]) -> dict[str, float]:
    """Seconds of a run by kind, without those of the first step in ``step``."""
    own = [
        f"data.root={folder}", "data.train=[synthetic_easy/train]", f"schedule.max_steps={steps}",
        "train.checkpoint_every=20", "train.log_every=20", f"runtime.mode={mode}",
    ]  # fmt: skip
    cfg = load_config(name, [*own, *overrides])
    start_process(cfg)
    run_folder = RunFolder.create(output=folder / f"run-{mode}", name=name, log_level="warning")
    began = time.perf_counter()
    trainer = build_trainer(cfg, data=build_training_data(cfg), folder=run_folder)
    built = time.perf_counter() - began
    outcome = trainer.run()
    return {"build": built, **outcome.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="vistr_toy")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pynative-steps", type=int, default=0, help="0 leaves PyNative out")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings other than the configuration's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), videos=120)
        run = partial(train, arguments.config, Path(folder), overrides=arguments.overrides)
        seconds = run(steps=arguments.steps, mode="graph")
        row = figures(arguments, seconds)
        if arguments.pynative_steps:
            direct = run(steps=arguments.pynative_steps, mode="pynative")
            row["pynative_step_s"] = round(direct["step"] / (arguments.pynative_steps - 1), 3)
    for name, value in row.items():
        print(f"{name}: {value}")
    if arguments.csv:
        append_rows(arguments.csv, [row])


def figures(arguments: argparse.Namespace, seconds: dict[str, float]) -> dict[str, object]:
    outside = seconds["data"] + seconds["other"]
    return {
        "config": ":".join(filter(None, (arguments.config, ",".join(arguments.overrides)))),
        "steps": arguments.steps,
        "first_step_s": round(seconds["compile"], 2),
        "step_s": round(seconds["step"] / (arguments.steps - 1), 4),
        "data_s": round(seconds["data"] / arguments.steps, 4),
        "other_s": round(seconds["other"] / arguments.steps, 4),
        "outside_percent": round(100 * outside / (outside + seconds["step"]), 2),
        "pynative_step_s": "",
        "mindvideo": mindvideo.__version__,
        "machine": platform.machine(),
    }


if __name__ == "__main__":
    main()
