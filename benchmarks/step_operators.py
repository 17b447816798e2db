"""Which operators the time of a training step goes into, by MindSpore's own profiler, which works on CPU.

    python -m benchmarks.step_operators -c videomt_toy --steps 14 [--most 25]

Trains on a small synthetic set as tools/segmentation/train.py does. Prints the milliseconds a step of each kind of
operator with how often it runs in a step, then those of the single nodes of the graph that take longest. The steps with
the profiler are slower than without.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from mindspore.profiler import Profiler

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.train_step import make_data
from mindvideo import load_config
from mindvideo.assembly import build_trainer, build_training_data, start_process
from mindvideo.run_folder import RunFolder

NAME_END = 110  # of a node's long name the end says which it is


def profile(config: str, folder: Path, *, steps: int) -> Path:
    """Train, and give the folder with the profiler's tables."""
    make_data(folder, videos=120)
    overrides = [f"data.root={folder}", "data.train=[synthetic_easy/train]", f"schedule.max_steps={steps}"]
    cfg = load_config(config, overrides)
    start_process(cfg)
    profiler = Profiler(output_path=str(folder / "profile"), start_profile=False)
    run_folder = RunFolder.create(output=folder / "run", name=config, log_level="error")
    trainer = build_trainer(cfg, data=build_training_data(cfg), folder=run_folder)
    profiler.start()
    trainer.run()
    profiler.stop()
    profiler.analyse()
    return next((folder / "profile").glob("*/FRAMEWORK"))


def longest(table: Path, column: str, most: int) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: -float(row[column]))[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="vistr_toy")
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--most", type=int, default=25, help="rows of each table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = profile(arguments.config, Path(folder), steps=arguments.steps)
        print("ms a step | runs a step | kind of operator")
        for row in longest(tables / "cpu_op_type_info_0.csv", "total_compute_time", arguments.most):
            milliseconds, runs = (
                float(row[name]) / arguments.steps for name in ("total_compute_time", "type_occurrences")
            )
            print(f"{milliseconds:9.2f} | {runs:11.0f} | {row['op_type']}")
        print("\nms a step | node")
        for row in longest(tables / "cpu_op_detail_info_0.csv", "op_total_time(ms)", arguments.most):
            print(f"{float(row['op_total_time(ms)']) / arguments.steps:9.2f} | {row['full_op_name'][-NAME_END:]}")


if __name__ == "__main__":
    main()
