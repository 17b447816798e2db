"""Published checkpoints to ours and back, without PyTorch; nothing inside a file is ever executed.

  mindvideo convert vistr_r50.pth vistr_r50.ckpt --model vistr --report      published -> ours
  mindvideo convert best.ckpt mine.pth --model vistr --to-torch              ours -> a .pth with the published names
  mindvideo convert best.ckpt mine.safetensors --model vistr                 the same as safetensors
  mindvideo convert SRC DST --as-is [--to-torch]                                 change the format, keep the names
  mindvideo convert --inspect FILE                                               what is this file?

Reads .pth, .pt, .tar and .safetensors of PyTorch, .pkl of detectron2 and .ckpt of MindSpore. The conversion is strict
both ways: every entry of the file is mapped or dropped by a rule, every parameter is filled or known to start fresh, or
it fails.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_OK, OneLineParser
from mindvideo.errors import UserError
from mindvideo.files import check_new_file
from mindvideo.inference.output.store import VIDEOS
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.conversion import SAFETENSORS_SUFFIX
from mindvideo.weights.report import describe_file

LABEL_SUFFIXES = (".json", ".xml", ".gz")  # nobody keeps weights in such files


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source_file", nargs="?", metavar="SRC", type=Path)
    parser.add_argument("destination", nargs="?", metavar="DST", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="changes to the configuration")
    parser.add_argument("--model", metavar="NAME", help="configuration whose network the weights are for")
    parser.add_argument("--source", metavar="NAME", help="kind of the published file, where the names leave a doubt")
    parser.add_argument("--to-torch", action="store_true", help="write a .pth that PyTorch opens")
    parser.add_argument("--as-is", action="store_true", help="keep all names; no --model needed")
    parser.add_argument("--report", action="store_true", help="print every name, not only the counts")
    parser.add_argument("--inspect", metavar="FILE", type=Path, help="tell what a file is, and check its sums")
    return parser.parse_intermixed_args(arguments)  # overrides may follow the options


def main() -> int:
    arguments = parse_arguments()
    if arguments.inspect is not None:
        print(describe_file(open_checkpoint(arguments.inspect)))
        return EXIT_OK
    if arguments.source_file is None or arguments.destination is None:
        raise UserError("give SRC and DST, or --inspect FILE")
    if arguments.source_file.suffix in LABEL_SUFFIXES or (arguments.source_file / VIDEOS).is_file():
        raise UserError(
            f"{arguments.source_file} is no weights file; labels of other tools are read by mindvideo prepare convert, "
            "labels and results are written for other tools by mindvideo prepare export"
        )
    if arguments.as_is == (arguments.model is not None):
        raise UserError("give either --model NAME, the configuration the weights are for, or --as-is to keep all names")
    if arguments.destination.resolve() == arguments.source_file.resolve():
        raise UserError(f"{arguments.destination}: DST must be another file than SRC")
    arguments.to_torch |= arguments.destination.suffix == SAFETENSORS_SUFFIX
    check_suffix(arguments.destination, arguments.to_torch)
    check_new_file(arguments.destination, overwrite=True, inputs=(arguments.source_file,))
    file = open_checkpoint(arguments.source_file)
    # The network's code is only loaded for a file that can be read.
    from mindvideo.assembly.checkpoints import convert_as_is, convert_to_native, convert_to_torch
    from mindvideo.assembly.configuration import load_config

    if arguments.as_is:
        convert_as_is(file, arguments.destination, to_torch=arguments.to_torch)
    else:
        cfg = load_config(arguments.model, arguments.overrides)
        convert = convert_to_torch if arguments.to_torch else convert_to_native
        report, refusal = convert(
            file, arguments.destination, cfg, source=arguments.source, every_name=arguments.report
        )
        if report:
            print(report)
        if refusal:
            raise UserError(refusal)
    print(f"wrote {arguments.destination}")
    return EXIT_OK


def check_suffix(destination: Path, to_torch: bool) -> None:
    allowed = (".pth", ".pt", SAFETENSORS_SUFFIX) if to_torch else (".ckpt",)
    if destination.suffix not in allowed:
        hint = "" if to_torch else f"; for a .pth add --to-torch, or give a {SAFETENSORS_SUFFIX}"
        raise UserError(f"{destination}: DST must end in {' or '.join(allowed)}{hint}")
