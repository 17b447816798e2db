"""Make, check, convert, split and look at data sets. ``prepare.py COMMAND --help`` tells more about each command."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mindvideo.command_line import EXIT_OK, EXIT_USAGE, run_tool  # noqa: E402
from mindvideo.data.catalogue import CATALOGUE_FILE, Catalogue, DatasetFiles  # noqa: E402
from mindvideo.data.check import Problem, check_video_set  # noqa: E402
from mindvideo.data.check_images import check_image_set  # noqa: E402
from mindvideo.data.convert.coco_video import convert_coco_video  # noqa: E402
from mindvideo.data.convert.cvat import convert_cvat_video  # noqa: E402
from mindvideo.data.convert.labelme import convert_labelme  # noqa: E402
from mindvideo.data.convert.mask_folders import convert_mask_folders  # noqa: E402
from mindvideo.data.image_annotations import MAP_VERSIONS, read_category_map  # noqa: E402
from mindvideo.data.keep_list import keep_categories  # noqa: E402
from mindvideo.data.split import category_counts, split_annotations  # noqa: E402
from mindvideo.data.synthetic import RECIPES, longer  # noqa: E402
from mindvideo.data.synthetic_files import write_split, write_video_files  # noqa: E402
from mindvideo.errors import UserError  # noqa: E402
from mindvideo.files import write_json, write_text  # noqa: E402
from mindvideo.logs import progress, set_up_logging  # noqa: E402

Commands = Any  # what argparse's add_subparsers returns
MAPS = CATALOGUE_FILE.parent / "maps"
LONG_VIDEO_FRAMES = 60  # of the mp4 files beside a made-up set


def add_synthetic(commands: Commands) -> None:
    parser = commands.add_parser("synthetic", help="write a made-up labelled set (shapes that move)")
    parser.add_argument("--output", required=True, type=Path, help="folder of the new set")
    parser.add_argument("--preset", choices=sorted(RECIPES), default="easy")
    parser.add_argument("--train", type=int, default=4000, metavar="N", help="training videos (default 4000)")
    parser.add_argument("--valid", type=int, default=300, metavar="N", help="validation videos (default 300)")
    parser.add_argument("--mp4", type=int, default=3, metavar="N", help="long videos as mp4 files (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace a set that is there already")
    parser.set_defaults(run=run_synthetic)


def run_synthetic(arguments: argparse.Namespace) -> None:
    if arguments.train < 1 or arguments.valid < 1:
        raise UserError(f"--train {arguments.train} --valid {arguments.valid}: at least one video each is needed")
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
    long_recipe = longer(recipe, LONG_VIDEO_FRAMES)
    write_video_files(arguments.output, long_recipe, split="test", num_videos=arguments.mp4, seed=arguments.seed)
    print(f"wrote {arguments.train} + {arguments.valid} videos to {arguments.output}")


def add_set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="name in the catalogue (ytvis19/train), or ANNOTATIONS.json@FRAMES")
    parser.add_argument("--root", default="", help="folder of the data sets (default: MINDVIDEO_DATA_ROOT, datas/)")
    parser.add_argument("--catalogue", default="", help="another catalogue than datas/data.json")


def find_set(arguments: argparse.Namespace) -> DatasetFiles:
    return Catalogue(file=arguments.catalogue, root=arguments.root).find(arguments.dataset)


def add_check(commands: Commands) -> None:
    parser = commands.add_parser("check", help="list everything that is wrong with a set")
    add_set_arguments(parser)
    parser.add_argument("--no-frames", action="store_true", help="do not look at the frames")
    parser.add_argument("--decode", action="store_true", help="decode every frame, not its header alone")
    parser.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    files = find_set(arguments)
    checker = {"video": check_video_set, "image": check_image_set}[files.kind]
    folder = None if arguments.no_frames else files.frames
    if folder is not None and not folder.is_dir():
        raise UserError(f"no folder of frames {folder}; give --root, or --no-frames to check the annotations alone")
    problems = checker(files.annotations, folder, decode=arguments.decode)
    for problem in problems:
        print(problem)
    print(check_summary(files.annotations, problems))
    return EXIT_USAGE if any(problem.is_error for problem in problems) else EXIT_OK


def check_summary(file: Path, problems: list[Problem]) -> str:
    errors = Counter(problem.kind for problem in problems if problem.is_error)
    notes = sum(not problem.is_error for problem in problems)
    if not errors:
        return f"{file}: no errors, {notes} notes"
    kinds = ", ".join(f"{kind} {count}" for kind, count in errors.most_common())
    return f"{file}: {sum(errors.values())} errors ({kinds}), {notes} notes"


def add_coco_keep(commands: Commands) -> None:
    parser = commands.add_parser("coco-keep", help="cut a COCO file down to the categories of a video set")
    parser.add_argument("annotations", type=Path, help="instances_train2017.json")
    parser.add_argument("--for", dest="target", required=True, choices=("ytvis19", "ytvis21", "ovis"))
    parser.add_argument("--map", choices=MAP_VERSIONS, default="corrected", help="which map decides (datas/maps)")
    parser.add_argument("--output", required=True, type=Path, help="new annotation file")
    parser.set_defaults(run=run_coco_keep)


def run_coco_keep(arguments: argparse.Namespace) -> None:
    kept = read_category_map(MAPS / f"coco_to_{arguments.target}.json", arguments.map)
    content = keep_categories(arguments.annotations, kept)
    write_json(arguments.output, content, indent=None)
    print(f"kept {len(content['images'])} images, {len(content['annotations'])} instances: {arguments.output}")


def add_split(commands: Commands) -> None:
    parser = commands.add_parser("split", help="part a labelled set into training and validation videos")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--share", type=float, default=0.1, help="share of the videos for validation (default 0.1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder of split_train.json and split_valid.json (default: beside)")
    parser.set_defaults(run=run_split)


def run_split(arguments: argparse.Namespace) -> None:
    split = split_annotations(arguments.annotations, share=arguments.share, seed=arguments.seed)
    folder = arguments.output or arguments.annotations.parent
    for name, content in (("split_train", split.train), ("split_valid", split.valid)):
        write_json(folder / f"{name}.json", content, indent=None)
    train, valid = category_counts(split.train), category_counts(split.valid)
    print(f"{'category':24} train valid")
    for name in train:
        print(f"{name:24} {train[name]:5d} {valid[name]:5d}")
    print(f"{len(split.train['videos'])} + {len(split.valid['videos'])} videos in {folder}; split {split.fingerprint}")


def add_convert(commands: Commands) -> None:
    parser = commands.add_parser("convert", help="labels of other tools to YouTube-VIS JSON")
    parser.add_argument("format", choices=("coco-video", "labelme", "cvat", "masks"))
    parser.add_argument("labels", type=Path, help="COCO file, labelme folder, CVAT XML, or folder of mask folders")
    parser.add_argument("--frames", type=Path, help="folder of the frames (cvat: of the video; masks: of all videos)")
    parser.add_argument("--video", type=Path, help="cvat: the labelled video file, read in place of pictures")
    parser.add_argument("--meta", type=Path, help="masks: YouTube-VOS meta.json with the categories")
    parser.add_argument("--categories", help="names in the order of their ids, with commas (default: by alphabet)")
    parser.add_argument("--output", required=True, type=Path, help="new annotation file")
    parser.set_defaults(run=run_convert)


def run_convert(arguments: argparse.Namespace) -> None:
    names = [name.strip() for name in arguments.categories.split(",")] if arguments.categories else None
    if arguments.video is not None and arguments.format != "cvat":
        raise UserError(f"convert {arguments.format} takes no --video; it is for cvat")
    if arguments.format in ("cvat", "masks") and arguments.frames is None and arguments.video is None:
        or_video = ", or --video, the file" if arguments.format == "cvat" else ""
        raise UserError(f"convert {arguments.format} needs --frames, the folder of the frames{or_video}")
    if arguments.format == "coco-video":
        content = convert_coco_video(arguments.labels)
    elif arguments.format == "labelme":
        content = convert_labelme(arguments.labels, categories=names)
    elif arguments.format == "cvat":
        content = convert_cvat_video(arguments.labels, arguments.frames, video=arguments.video, categories=names)
    else:
        content = convert_mask_folders(arguments.labels, arguments.frames, meta=arguments.meta, categories=names)
    write_json(arguments.output, content, indent=None)
    print(f"{len(content['videos'])} videos, {len(content['annotations'])} tracks: {arguments.output}")


def add_browse(commands: Commands) -> None:
    parser = commands.add_parser("browse", help="draw clips before and after augmentation on an HTML page")
    parser.add_argument("-c", "--config", required=True, metavar="NAME", help="configuration whose data are drawn")
    parser.add_argument("--clips", type=int, default=6, help="how many clips (default 6)")
    parser.add_argument("--epoch", type=int, default=0, help="whose draws the augmentation uses")
    parser.add_argument("--width", type=int, default=240, help="of a frame on the page, in pixels")
    parser.add_argument("--output", required=True, type=Path, help="HTML file")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    parser.set_defaults(run=run_browse)


def run_browse(arguments: argparse.Namespace) -> None:
    from mindvideo.build.browse import browse_page
    from mindvideo.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    content = browse_page(config, num_clips=arguments.clips, epoch=arguments.epoch, frame_width=arguments.width)
    write_text(arguments.output, content)
    print(f"wrote {arguments.output}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (add_synthetic, add_check, add_split, add_convert, add_coco_keep, add_browse):
        add(commands)
    arguments = parser.parse_args()
    set_up_logging()
    return arguments.run(arguments) or EXIT_OK


if __name__ == "__main__":
    run_tool(main)
