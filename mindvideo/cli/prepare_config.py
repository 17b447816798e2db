"""``mindvideo prepare config``: a configuration for a set of one's own, out of the labels."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from mindvideo.cli.arguments import whole_number
from mindvideo.data.labels.catalogue import Catalogue, DatasetFiles
from mindvideo.data.labels.facts import set_facts
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.errors import UserError
from mindvideo.files import check_new_file, write_text
from mindvideo.logs import counted

STEPS = 600


def add_config(commands: Any) -> None:
    parser = commands.add_parser("config", help="write a configuration for a set of your own, out of its labels")
    parser.add_argument(
        "train", nargs="+", metavar="ANNOTATIONS.json@FRAMES", help="sets to learn from (or names of the catalogue)"
    )
    parser.add_argument(
        "--valid",
        metavar="SET",
        help="set that is evaluated (default: the first one to learn from, which proves little)",
    )
    parser.add_argument(
        "--base", default="instanceformer_toy", metavar="NAME",
        help="configuration to build on: a toy one learns from nothing in minutes, a published one needs its weights "
        "(default: instanceformer_toy)",
    )  # fmt: skip
    parser.add_argument("--steps", type=whole_number(1, 10**9), default=STEPS, help=f"length of the run ({STEPS})")
    parser.add_argument(
        "--short-side", type=whole_number(16, 8192), metavar="N", help="short side of the frames for the network (64)"
    )
    parser.add_argument("--output", required=True, type=Path, help="new YAML file")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")
    parser.add_argument("--root", default="", help="folder of the data sets, for names of the catalogue")
    parser.set_defaults(run=run_config)


def run_config(arguments: argparse.Namespace) -> None:
    from mindvideo.assembly.configuration import load_config
    from mindvideo.assembly.own_config import base_reference, own_config_text, own_values
    from mindvideo.config import find_config

    if arguments.output.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {arguments.output}: a configuration is a .yaml file")
    base = load_config(arguments.base)
    catalogue = Catalogue(root=arguments.root)
    files = [catalogue.find(name).require() for name in arguments.train]
    valid = catalogue.find(arguments.valid).require() if arguments.valid else files[0]
    inputs = [find_config(arguments.base), *(each.annotations for each in [*files, valid])]
    check_new_file(arguments.output, overwrite=arguments.overwrite, inputs=inputs)
    images = [each.name for each in files if each.kind != "video"]
    if images:
        raise UserError(f"{images[0]} is a set of single images; prepare config reads sets of videos")
    facts = set_facts([read_video_annotations(each.annotations) for each in files])
    values = own_values(
        base,
        facts,
        train=[absolute(each) for each in files],
        valid=absolute(valid),
        steps=arguments.steps,
        short_side=arguments.short_side,
    )
    name = arguments.output.stem
    reference = base_reference(arguments.base)
    write_text(arguments.output, own_config_text(reference, base.family, name, facts, values))
    load_config(arguments.output)  # what is written can be used
    tell(arguments, values, facts.num_frames, len(facts.lengths), from_nothing="short_sides" in values["data"])


def absolute(files: DatasetFiles) -> str:
    """The set by its files, so that the configuration holds from any folder."""
    return f"{files.annotations.resolve()}@{files.frames.resolve()}"


def tell(
    arguments: argparse.Namespace,
    values: dict[str, dict[str, Any]],
    num_frames: int,
    num_videos: int,
    *,
    from_nothing: bool,
) -> None:
    """Print what was derived, and the commands that come next."""
    data, output = values["data"], shlex.quote(str(arguments.output))
    run = shlex.quote(f"runs/{arguments.output.stem}")
    classes = counted(data["num_classes"] - 1, "class", "classes")
    print(f"{arguments.output}: {counted(num_videos, 'video')}, {counted(num_frames, 'frame')}, {classes}")
    if not arguments.valid:
        print("no --valid: evaluations would be of what is learned from; 'mindvideo prepare split' makes one")
    print("next:")
    print(f"  mindvideo prepare browse -c {output} --output clips.html")
    print(f"  mindvideo train -c {output} --output {run}{'' if from_nothing else ' --weights PUBLISHED.pth'}")
    print(f"  mindvideo infer VIDEO -c {output} --weights {run}/last.ckpt --output out")
