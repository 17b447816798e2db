"""``mindvideo prepare export``: labels and results in the formats of other tools."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.cli.redraw import result_of, source_of
from mindvideo.data.exporters.coco import coco_content
from mindvideo.data.exporters.formats import FROM_PIXELS, TOLERANCE, WRITTEN, ShownFrame, VideoWriting, require_formats
from mindvideo.data.exporters.labels import picture_of, videos_of_labels, videos_of_results
from mindvideo.data.exporters.objects_csv import objects_csv
from mindvideo.data.exporters.tracked_video import TrackedVideo
from mindvideo.data.labels.catalogue import PATH_SEPARATOR, Catalogue
from mindvideo.data.labels.videos import VideoAnnotations, read_video_annotations
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND, FrameSelection
from mindvideo.errors import UserError
from mindvideo.evaluation.results_json import ResultsFile, is_finite_number, shown
from mindvideo.files import atomic_folder, json_text
from mindvideo.inference.output.safe_names import safe_folder_name
from mindvideo.inference.output.store import VIDEOS, VideoStore
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.video_run import draw_video
from mindvideo.logs import counted, progress
from mindvideo.masks.forms import tube_of

MIN_SCORE, MAX_OVERLAP = 0.3, 0.6  # as `infer` draws
MERGED = ("coco", "csv")  # one file for all videos of a set
HELP = """
A set is named as ANNOTATIONS.json@FRAMES, or as in the catalogue; a folder that infer wrote is enough by itself.

  mindvideo prepare export cvat my.json@frames --output for_cvat       one cvat.xml a video
  mindvideo prepare export csv my.json@frames --output tables          objects.csv: a row for each mask
  mindvideo prepare export labelstudio out --output for_label_studio   results of mindvideo infer
  mindvideo prepare export cvat my.json@frames --results results.json --output for_cvat   results of any method

docs/exchange.md tells what each format keeps and how to open it.
"""


def add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="labels or results to CVAT, labelme, Label Studio, COCO, CSV, cut-outs",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=tuple(WRITTEN))
    parser.add_argument("source", help="ANNOTATIONS.json@FRAMES, a set of the catalogue, or a folder that infer wrote")
    parser.add_argument("--output", required=True, type=Path, help="new folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder that is there already")
    parser.add_argument("--results", type=Path, help="results.json of this set, to be written in place of its labels")
    parser.add_argument(
        "--min-score", type=_number(0, 1), default=MIN_SCORE, metavar="S",
        help=f"results that score less are left out (default {MIN_SCORE})",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=_number(0, 100), default=TOLERANCE, metavar="PIXELS",
        help=f"by how much polygons may be off (default {TOLERANCE:g}); 0 keeps every pixel",
    )  # fmt: skip
    parser.add_argument(
        "--frames-per-second", type=_number(0.1, 240), default=DEFAULT_FRAMES_PER_SECOND, metavar="RATE",
        help=f"of videos that are made, and of key frames (default {DEFAULT_FRAMES_PER_SECOND:g})",
    )  # fmt: skip
    parser.add_argument("--root", default="", help="folder of the data sets (default: MINDVIDEO_DATA_ROOT, datas/)")
    parser.add_argument("--catalogue", default="", help="another catalogue than datas/data.json")
    parser.set_defaults(run=run_export)


def _number(lowest: float, highest: float) -> Any:
    def read(string: str) -> float:
        try:
            value = float(string)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"'{string}': a number from {lowest:g} to {highest:g} is needed")
        return value

    return read


def run_export(arguments: argparse.Namespace) -> None:
    require_formats([arguments.format])
    check_output(arguments)
    run = Path(arguments.source)
    if run.is_dir() and (run / VIDEOS).is_file():
        if arguments.results is not None:
            raise UserError(f"{run} holds results already; --results is for a set of labels")
        with atomic_folder(arguments.output) as folder:
            report = export_run(run, folder, arguments)
    elif run.is_dir():
        raise UserError(
            f"{run} is no folder that infer wrote (no {VIDEOS}); a set of labels is ANNOTATIONS.json@FRAMES"
        )
    else:
        with atomic_folder(arguments.output) as folder:
            report = export_set(folder, arguments)
    print(f"{report}: {arguments.output}")


def check_output(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; give the name of a new folder")
    if output.is_dir() and any(output.iterdir()) and not arguments.overwrite:
        raise UserError(f"{output} exists already; give another output, or --overwrite to replace it")
    inputs = [arguments.results, *arguments.source.split(PATH_SEPARATOR)]
    for given in (Path(name).resolve() for name in inputs if name):
        if given.exists() and (given == output.resolve() or given.is_relative_to(output.resolve())):
            raise UserError(f"--output {output} holds {given}, an input of this very command; give another folder")


def export_set(folder: Path, arguments: argparse.Namespace) -> str:
    annotations, frames = find_files(arguments)
    labels = read_video_annotations(annotations)
    empty = next((video for video in labels.videos if not video.file_names), None)
    if empty is not None:
        raise UserError(f"{annotations}: video {empty.id} has no frames; leave it out, or list its file_names")
    videos = list(chosen_videos(labels, arguments))
    if not any(video.tracks for video in videos):
        what = f"scores {arguments.min_score:g}" if arguments.results else "is labelled"
        raise UserError(f"{arguments.results or annotations}: nothing {what}, so there is nothing to write")
    if arguments.format == "coco":
        content = coco_content(videos, names=labels.category_names)
        (folder / WRITTEN["coco"]).write_text(json_text(content, indent=None), encoding="utf-8")
    elif arguments.format == "csv":
        (folder / WRITTEN["csv"]).write_text(objects_csv(videos), encoding="utf-8")
    else:
        taken: set[str] = set()
        for video in progress(videos, total=len(videos), label=arguments.format, unit="video"):
            name = safe_folder_name(video.name, taken=taken)
            taken.add(name.casefold())
            write_video(video, folder / name, frames, arguments)
    tracks = sum(len(video.tracks) for video in videos)
    return f"{counted(len(videos), 'video')}, {counted(tracks, 'track')}"


def find_files(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """The annotation file and the folder of frames, which formats without pixels do without."""
    source = arguments.source
    if PATH_SEPARATOR not in source and Path(source).is_file():
        if arguments.format in FROM_PIXELS:
            raise UserError(f"{arguments.format} needs the frames: give {source}@FRAMES, the folder they are in")
        return Path(source), None
    files = Catalogue(file=arguments.catalogue, root=arguments.root).find(source)
    if files.kind != "video":
        raise UserError(f"{files.annotations} is a set of single images; export is for sets of videos")
    if arguments.format in FROM_PIXELS:
        files.require()
    return files.annotations, files.frames


def chosen_videos(labels: VideoAnnotations, arguments: argparse.Namespace) -> Iterator[TrackedVideo]:
    if arguments.results is None:
        return videos_of_labels(labels)
    return videos_of_results(labels, read_results(arguments.results, labels), min_score=arguments.min_score)


def read_results(path: Path, labels: VideoAnnotations) -> Mapping[int | str, Sequence[Mapping[str, Any]]]:
    """The records of every video, their masks as compressed strings; a fault is a UserError that names the place."""
    file = ResultsFile(path)
    sizes = {video.id: (video.height, video.width, video.length) for video in labels.videos}
    strangers = [video for video in file.video_ids() if video not in sizes]
    if strangers:
        raise UserError(f"{path} has results of video {strangers[0]}, which is not in the annotation file")
    return {video: [_read_record(path, record, sizes[video]) for record in file.records(video)] for video in sizes}


def _read_record(path: Path, record: Mapping[str, Any], size: tuple[int, int, int]) -> dict[str, Any]:
    H, W, T = size
    where = f"{path}: a track of video {record['video_id']}"
    if not is_finite_number(record["score"]):
        raise UserError(f"{where} has the score {shown(record['score'])}; a finite number is needed")
    if isinstance(record["category_id"], bool) or not isinstance(record["category_id"], int):
        raise UserError(f"{where} has the category {shown(record['category_id'])}; a whole number is needed")
    if not isinstance(record["segmentations"], list) or len(record["segmentations"]) != T:
        raise UserError(f"{where} has no list of {T} masks, one for each frame (null where the object is not seen)")
    try:
        tube = tube_of(record["segmentations"], H, W)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    masks = [{"size": [H, W], "counts": counts.decode("ascii")} if counts else None for counts in tube]
    return {**record, "segmentations": masks}


def write_video(video: TrackedVideo, folder: Path, frames: Path | None, arguments: argparse.Namespace) -> None:
    folder.mkdir()
    writing = VideoWriting(
        folder,
        formats=[arguments.format],
        frames_per_second=arguments.frames_per_second,
        tolerance=arguments.tolerance,
        served_in=folder.name,
    )
    try:
        if arguments.format in FROM_PIXELS and frames is not None:
            reader = FrameReader(folder=frames)
            for place, (number, name) in enumerate(zip(video.numbers, video.file_names)):
                shown_frame = ShownFrame(image=reader.read(name), number=number, file=picture_of(frames, name))
                writing.add(shown_frame, [(track.id, mask) for track, mask in video.at(place)])
        writing.finish(video)
    finally:
        writing.close()


def export_run(run: Path, folder: Path, arguments: argparse.Namespace) -> str:
    """The finished videos of a folder that infer wrote. Their frames must still be where they were."""
    store = VideoStore(run, settings={})
    finished = [(video, record) for video in store.videos if (record := store.record_of(video)) is not None]
    if not finished:
        raise UserError(f"{run}: no video is finished there, so there is nothing to write")
    tracks = 0
    for video, record in finished:
        choice = OutputChoice(
            write=(arguments.format,),
            confidence=arguments.min_score,
            max_overlap=MAX_OVERLAP,
            class_names={int(number): name for number, name in record.class_names.items()},
            tolerance=arguments.tolerance,
        )
        selection = FrameSelection.parse(record.settings.get("frames", ":"))
        reader = source_of(video, None).open(selection=selection, frames_per_second=arguments.frames_per_second)
        reader.name = video.name
        result = result_of(store, video, record)
        report = draw_video(result, reader, folder=folder / video.folder, report=record.report, choice=choice)
        tracks += len(result) if arguments.format in MERGED else report.drawn or 0
    return f"{counted(len(finished), 'video')}, {counted(tracks, 'track')}"
