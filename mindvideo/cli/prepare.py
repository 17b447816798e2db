"""Make, check, convert, split and look at data sets. ``mindvideo prepare COMMAND --help`` explains a command."""

from __future__ import annotations

import argparse
import contextlib
import glob
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mindvideo.cli.arguments import EXIT_OK, EXIT_USAGE, OneLineParser, whole_number
from mindvideo.cli.prepare_config import add_config
from mindvideo.cli.prepare_export import add_export
from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.label_studio import convert_label_studio
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.importers.mask_folders import convert_mask_folders
from mindvideo.data.labels.catalogue import CATALOGUE_FILE, Catalogue, DatasetFiles
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.check_images import check_image_set
from mindvideo.data.labels.forms import Problem
from mindvideo.data.labels.images import MAP_VERSIONS, read_category_map
from mindvideo.data.labels.keep_list import keep_categories
from mindvideo.data.labels.split import WAYS, category_counts, split_annotations
from mindvideo.data.media.images import is_image
from mindvideo.data.synthetic.files import check_set_folder, write_split, write_video_files
from mindvideo.data.synthetic.long_sets import LONG_SETS, long_recipe
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.errors import UserError
from mindvideo.files import (
    NO_ROOM,
    abandoned_folders,
    atomic_folder,
    check_new_file,
    json_text,
    write_text,
    write_together,
)
from mindvideo.logs import counted, progress, set_up_logging

Commands = Any  # what argparse's add_subparsers returns
MAPS = CATALOGUE_FILE.parent / "maps"
FILM_SETS = ("late", "stay", "cuts")  # the mp4 files beside a made-up set are of these in turn
WIDEST_FRAME = 2000  # pixels; several stand in a row of a JPEG, which holds 65,535
COCO_TARGETS = {"ytvis19": "ytvis19", "ytvis21": "ytvis21", "ytvis22": "ytvis21", "ovis": "ovis"}  # set -> its map
# Format -> the options that it reads.
CONVERT_OPTIONS = {
    "coco-video": ("frames",),
    "labelme": ("categories",),
    "cvat": ("frames", "video", "categories"),
    "labelstudio": ("frames", "categories"),
    "masks": ("frames", "meta", "categories"),
}


def add_output(parser: argparse.ArgumentParser, what: str, *, required: bool = True) -> None:
    parser.add_argument("--output", required=required, type=Path, help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")


def write_annotations(contents: dict[Path, Any]) -> None:
    try:
        texts = {path: json_text(content, indent=None) for path, content in contents.items()}
    except ValueError as error:  # NaN and infinity, which Python reads but which are no JSON
        raise UserError(f"a number of the annotations cannot be written as JSON ({error})") from error
    write_together(texts)


def add_synthetic(commands: Commands) -> None:
    parser = commands.add_parser("synthetic", help="write a made-up labelled set (shapes that move)")
    add_output(parser, "folder of the new set")
    parser.add_argument("--preset", choices=sorted(RECIPES), default="easy")
    parser.add_argument(
        "--train", type=whole_number(1), default=4000, metavar="N", help="training videos (default 4000)"
    )
    parser.add_argument(
        "--valid", type=whole_number(1), default=300, metavar="N", help="validation videos (default 300)"
    )
    parser.add_argument(
        "--mp4",
        type=whole_number(0),
        default=3,
        metavar="N",
        help="long videos as mp4 files, of late, stay and cuts in turn (default 3)",
    )
    sets = ", ".join(f"{name} ({frames} frames)" for name, frames in LONG_SETS.items())
    parser.add_argument(
        "--long",
        type=whole_number(0),
        default=0,
        metavar="N",
        help=f"videos of each set of long videos: {sets} (default 0: none of these sets)",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.set_defaults(run=run_synthetic)


def run_synthetic(arguments: argparse.Namespace) -> None:
    output = arguments.output
    check_set_folder(output, overwrite=arguments.overwrite)
    for folder in abandoned_folders(output):
        logging.getLogger("mindvideo.prepare").warning("%s is of a run that was killed, or is still at it", folder)
    with atomic_folder(output) as folder:
        write_set(folder, arguments)
    long_videos = f" + {len(LONG_SETS)} sets of {arguments.long} long videos" if arguments.long else ""
    print(f"wrote {arguments.train} + {arguments.valid} videos{long_videos} to {output}")


def write_set(folder: Path, arguments: argparse.Namespace) -> None:
    recipe = RECIPES[arguments.preset]
    splits = {"train": (recipe, arguments.train), "valid": (recipe, arguments.valid)}
    if arguments.long:
        splits |= {name: (long_recipe(recipe, name), arguments.long) for name in LONG_SETS}
    for split, (look, count) in splits.items():
        written = write_split(folder, look, split=split, num_videos=count, seed=arguments.seed)
        for _ in progress(written, total=count, label=split, unit="video"):
            pass
    for number in range(arguments.mp4):
        name = FILM_SETS[number % len(FILM_SETS)]
        first = number // len(FILM_SETS)
        write_video_files(folder, long_recipe(recipe, name), split=name, first=first, num_videos=1, seed=arguments.seed)


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
    parser.add_argument("--decode", action="store_true", help="decode every frame, not only its header")
    parser.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    files = find_set(arguments)
    checker = {"video": check_video_set, "image": check_image_set}[files.kind]
    folder = None if arguments.no_frames else files.frames
    if folder is not None and not folder.is_dir():
        raise UserError(f"no folder of frames {folder}; give --root, or --no-frames to check only the annotations")
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
    parser.add_argument("--for", dest="target", required=True, choices=tuple(COCO_TARGETS))
    parser.add_argument("--map", choices=MAP_VERSIONS, default="corrected", help="which map decides (datas/maps)")
    add_output(parser, "new annotation file")
    parser.set_defaults(run=run_coco_keep)


def run_coco_keep(arguments: argparse.Namespace) -> None:
    check_new_file(arguments.output, overwrite=arguments.overwrite, inputs=[arguments.annotations])
    kept = read_category_map(MAPS / f"coco_to_{COCO_TARGETS[arguments.target]}.json", arguments.map)
    content = keep_categories(arguments.annotations, kept)
    write_annotations({arguments.output: content})
    print(f"kept {len(content['images'])} images, {len(content['annotations'])} instances: {arguments.output}")


def add_split(commands: Commands) -> None:
    parser = commands.add_parser("split", help="part a labelled set into training and validation")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--share", type=float, default=0.1, help="share of the videos for validation (default 0.1)")
    ways = "video: whole videos, every category on both sides; time: the end of each video (for few videos)"
    parser.add_argument("--by", choices=WAYS, default="video", help=ways)
    parser.add_argument("--seed", type=int, default=0)
    add_output(parser, "folder of split_train.json and split_valid.json (default: beside)", required=False)
    parser.set_defaults(run=run_split)


def run_split(arguments: argparse.Namespace) -> None:
    folder = arguments.output or arguments.annotations.parent
    train_file, valid_file = folder / "split_train.json", folder / "split_valid.json"
    for file in (train_file, valid_file):
        check_new_file(file, overwrite=arguments.overwrite, inputs=[arguments.annotations])
    split = split_annotations(arguments.annotations, share=arguments.share, seed=arguments.seed, by=arguments.by)
    train, valid = category_counts(split.train), category_counts(split.valid)
    write_annotations({train_file: split.train, valid_file: split.valid})
    print(f"{'category':24} train valid")
    for name in train:
        print(f"{name:24} {train[name]:5d} {valid[name]:5d}")
    print(f"{len(split.train['videos'])} + {len(split.valid['videos'])} videos in {folder}; split {split.fingerprint}")


def add_convert(commands: Commands) -> None:
    parser = commands.add_parser("convert", help="labels of other tools to YouTube-VIS JSON")
    parser.add_argument("format", choices=tuple(CONVERT_OPTIONS))
    parser.add_argument(
        "labels", type=Path, help="COCO file, labelme folder, CVAT XML, Label Studio JSON, or folder of mask folders"
    )
    frames = (
        "folder of the frames (cvat: of the video; labelstudio, masks: of all videos; coco-video: to compare sizes)"
    )
    parser.add_argument("--frames", type=Path, help=frames)
    parser.add_argument("--video", type=Path, help="cvat: the labelled video file, read in place of pictures")
    parser.add_argument("--meta", type=Path, help="masks: YouTube-VOS meta.json with the categories")
    parser.add_argument("--categories", help="names in the order of their ids, with commas (default: by alphabet)")
    add_output(parser, "new annotation file")
    parser.set_defaults(run=run_convert)


def run_convert(arguments: argparse.Namespace) -> None:
    check_convert_options(arguments)
    names = category_names(arguments.categories)
    inputs = [arguments.labels, arguments.frames, arguments.video, arguments.meta]
    if is_label_file(arguments.output, arguments.labels):
        inputs.append(arguments.output)
    check_new_file(arguments.output, overwrite=arguments.overwrite, inputs=inputs)
    if arguments.format == "coco-video":
        content = convert_coco_video(arguments.labels, arguments.frames)
    elif arguments.format == "labelme":
        content = convert_labelme(arguments.labels, categories=names)
    elif arguments.format == "labelstudio":
        content = convert_label_studio(arguments.labels, arguments.frames, categories=names)
    elif arguments.format == "cvat":
        content = convert_cvat_video(arguments.labels, arguments.frames, video=arguments.video, categories=names)
    else:
        content = convert_mask_folders(arguments.labels, arguments.frames, meta=arguments.meta, categories=names)
    write_annotations({arguments.output: content})
    videos, tracks = counted(len(content["videos"]), "video"), counted(len(content["annotations"]), "track")
    print(f"{videos}, {tracks}: {arguments.output}")


def check_convert_options(arguments: argparse.Namespace) -> None:
    for option in ("frames", "video", "meta", "categories"):
        takers = [name for name, options in CONVERT_OPTIONS.items() if option in options]
        if getattr(arguments, option) is not None and arguments.format not in takers:
            raise UserError(f"convert {arguments.format} takes no --{option}; it is for {', '.join(takers)}")
    if arguments.format in ("cvat", "labelstudio", "masks") and arguments.frames is None and arguments.video is None:
        or_video = ", or --video, the file" if arguments.format == "cvat" else ""
        raise UserError(f"convert {arguments.format} needs --frames, the folder of the frames{or_video}")


def category_names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    repeated = sorted({name for name in names if names.count(name) > 1} - {""})
    if repeated or "" in names:
        fault = f"{', '.join(repeated)} more than once" if repeated else "an empty name"
        raise UserError(f"--categories '{text}' has {fault}; give each category once, for instance dog,cat")
    return names


def is_label_file(path: Path, labels: Path) -> bool:
    """A file in a folder of labels that belongs to a picture: beside the picture of its name, or one itself."""
    is_below = labels.is_dir() and path.resolve().is_relative_to(labels.resolve())
    return is_below and any(is_image(other) for other in path.parent.glob(f"{glob.escape(path.stem)}.*"))


def add_browse(commands: Commands) -> None:
    parser = commands.add_parser("browse", help="draw clips before and after augmentation on an HTML page")
    parser.add_argument("-c", "--config", required=True, metavar="NAME", help="configuration whose data are drawn")
    parser.add_argument("--clips", type=whole_number(1), default=6, help="how many clips (default 6)")
    parser.add_argument("--epoch", type=whole_number(0), default=0, help="the epoch of the augmentation's draws")
    parser.add_argument(
        "--width", type=whole_number(1, WIDEST_FRAME), default=240, help="of a frame on the page, in pixels"
    )
    add_output(parser, "HTML file")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    parser.set_defaults(run=run_browse)


def run_browse(arguments: argparse.Namespace) -> None:
    from mindvideo.assembly.configuration import load_config
    from mindvideo.config import find_config

    config = load_config(arguments.config, arguments.overrides)
    catalogue = Catalogue(file=config.data.catalogue, root=config.data.root)
    annotation_files = [catalogue.find(name).annotations for name in config.data.train]
    inputs = [find_config(arguments.config), catalogue.file, *annotation_files]
    check_new_file(arguments.output, overwrite=arguments.overwrite, inputs=inputs)
    from mindvideo.assembly.browse import browse_page  # loads MindSpore, so after all that may be wrong

    content = browse_page(config, num_clips=arguments.clips, epoch=arguments.epoch, frame_width=arguments.width)
    write_text(arguments.output, content)
    print(f"wrote {arguments.output}")


@contextlib.contextmanager
def full_disk_in_one_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        advice = "free some space, or give another --output"
        raise UserError(f"no room to write ({error.strerror}), nothing was replaced; {advice}") from error


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (add_synthetic, add_check, add_split, add_convert, add_export, add_coco_keep, add_browse, add_config):
        add(commands)
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    set_up_logging()
    with full_disk_in_one_line():
        return arguments.run(arguments) or EXIT_OK
