"""Make, check, convert, split and look at data sets. ``prepare.py COMMAND --help`` tells more about each command."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mindvideo.command_line import run_tool  # noqa: E402
from mindvideo.data.synthetic import RECIPES  # noqa: E402
from mindvideo.data.synthetic_files import write_split, write_video_files  # noqa: E402
from mindvideo.errors import UserError  # noqa: E402
from mindvideo.logs import progress, set_up_logging  # noqa: E402


def add_synthetic(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("synthetic", help="write a made-up labelled set (shapes that move)")
    parser.add_argument("--output", required=True, type=Path, help="folder of the new set")
    parser.add_argument("--preset", choices=sorted(RECIPES), default="easy")
    parser.add_argument("--train", type=int, default=4000, metavar="N", help="training videos (default 4000)")
    parser.add_argument("--valid", type=int, default=300, metavar="N", help="validation videos (default 300)")
    parser.add_argument("--mp4", type=int, default=3, metavar="N", help="validation videos written as mp4, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a set that is there already")
    parser.set_defaults(run=run_synthetic)


def run_synthetic(arguments: argparse.Namespace) -> None:
    made = [arguments.output / part for part in ("annotations", "train", "valid", "videos")]
    if any(folder.exists() for folder in made):
        if not arguments.overwrite:
            raise UserError(f"{arguments.output} holds a set already; give another --output, or --overwrite")
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
    recipe = RECIPES[arguments.preset]
    for split, count in (("train", arguments.train), ("valid", arguments.valid)):
        written = write_split(arguments.output, recipe, split=split, num_videos=count, seed=arguments.seed)
        for _ in progress(written, total=count, label=split, unit="video"):
            pass
    write_video_files(
        arguments.output, recipe, split="valid", num_videos=min(arguments.mp4, arguments.valid), seed=arguments.seed
    )
    print(f"wrote {arguments.train} + {arguments.valid} videos to {arguments.output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_synthetic(commands)
    arguments = parser.parse_args()
    set_up_logging()
    arguments.run(arguments)


if __name__ == "__main__":
    run_tool(main)
