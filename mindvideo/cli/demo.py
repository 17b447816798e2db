"""The whole way in minutes on a laptop: make data, train, evaluate, run on videos, report. Every command is shown."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_FAILURE, EXIT_OK, OneLineParser, whole_number

CONFIG = "instanceformer_toy"
# Enough to see the model find, outline and follow most shapes; the configuration's own length reaches its figures.
STEPS = 800
# So short a training of CONFIG gains from these, 8 AP on its own clips (docs/toy_learning.md).
IN_A_HURRY = (
    *("optimizer.learning_rate=2e-3", "optimizer.backbone_learning_rate=2e-3"),
    *("loss.class_weight=4", "data.pasted_share=0.5"),
)
TRAIN_VIDEOS, VALID_VIDEOS = 2000, 60


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for everything (default: demo)")
    parser.add_argument("--config", default=CONFIG, help=f"toy configuration to train (default: {CONFIG})")
    parser.add_argument(
        "--steps", type=whole_number(1, 10**9), default=STEPS, help=f"training steps (default: {STEPS})"
    )
    return parser.parse_args(arguments)


def tool(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "mindvideo", name, *(str(argument) for argument in arguments)]


def show_and_run(title: str, command: list[str]) -> None:
    """Print a command as a user would type it, then run it; a failure ends the demo with the tool's own message."""
    shown = ["mindvideo", *command[3:]]
    print(f"\n== {title}\n$ {shlex.join(shown)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command).returncode
    if code != EXIT_OK:
        print(f"the demo stops here: exit code {code}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    print(f"   {time.monotonic() - started:.0f} s", flush=True)


def make_data(data: Path) -> None:
    made = data / "synthetic_easy"
    if (made / "annotations").is_dir() and (made / "videos").is_dir():
        print(f"\n== Data: {made} is there already")
        return
    sizes = ("--train", TRAIN_VIDEOS, "--valid", VALID_VIDEOS, "--overwrite")
    show_and_run("Data: moving shapes in YouTube-VIS format", tool("prepare", "synthetic", "--output", made, *sizes))


def train(config: str, run: Path, data: Path, steps: int) -> Path:
    """Train, or go on with a run that was interrupted; gives the weights."""
    weights = run / "last.ckpt"
    if weights.is_file():
        print(f"\n== Training: {weights} is there already")
        return weights
    resume = ["--resume"] if (run / "checkpoints").is_dir() else []
    options = ("-c", config, "--output", run, *resume, f"data.root={data}", f"schedule.max_steps={steps}")
    in_a_hurry = IN_A_HURRY if config == CONFIG else ()
    show_and_run(f"Training: {config}, {steps} steps", tool("train", *options, *in_a_hurry))
    return weights


def main() -> int:
    arguments = parse_arguments()
    output = arguments.output.resolve()
    data, run = output / "data", output / "train"
    started = time.monotonic()
    make_data(data)
    weights = train(arguments.config, run, data, arguments.steps)
    common = ("-c", arguments.config, "--weights", weights, f"data.root={data}")
    show_and_run("Inference: every mp4 of a folder, masks drawn on it", tool(
        "infer", *common, "--input", data / "synthetic_easy" / "videos", "--output", output / "videos"
    ))  # fmt: skip
    show_and_run("Evaluation: the official figures, and a report", tool(
        "eval", *common, "--output", output / "evaluation"
    ))  # fmt: skip
    print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} minutes. Open in a browser:")
    print(f"  {output / 'evaluation' / 'report.html'}")
    for video in sorted((output / "videos").glob("*/*.mp4")):
        print(f"  {video}")
    return EXIT_OK
