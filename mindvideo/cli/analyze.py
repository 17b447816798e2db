"""Draw what a model saw. Of an online one: sampled points over the frames, a map of the embeddings, an overlay video.
Of one whose windows are linked by features or graphs: affinity, assignment and overlap of tracks and queries.

First run mindvideo infer or mindvideo eval with --analysis: every video leaves analysis/<its id>.npz in the run
folder (videos.json there lists the ids).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.analysis.embedding_map import save_embedding_map
from mindvideo.analysis.matches import is_match_record, read_matches, save_matches
from mindvideo.analysis.record import AnalysisRecord, read_record
from mindvideo.analysis.sampling_points import draw_sampling_points
from mindvideo.cli.arguments import EXIT_OK, OneLineParser, number, whole_number
from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.files import atomic_path
from mindvideo.inference.output.class_names import read_class_names
from mindvideo.inference.output.video_writer import VideoWriter
from mindvideo.logs import counted

EXAMPLES = """
Example:
  mindvideo infer -c instanceformer_toy --weights best.ckpt --input clip.mp4 --analysis --output runs/seen
  mindvideo analyze runs/seen/analysis/1.npz --input clip.mp4 --output runs/seen/drawn
  mindvideo analyze runs/a/analysis/1.npz runs/b/analysis/1.npz --input clip.mp4 --output drawn   # two runs
Written: embeddings.png, overlay.mp4, frames/00000.png ...; of matched windows: matches.png
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "records", type=Path, nargs="+", metavar="RECORD", help="the .npz of one video; of several runs, side by side"
    )
    parser.add_argument("--input", metavar="PATH", help="the video itself: file or folder of frames; without: map only")
    parser.add_argument("--output", required=True, type=Path, help="folder for the pictures")
    parser.add_argument(
        "--tracks", type=whole_number(1, 10_000), default=8, help="how many tracks to draw, the best scored (default 8)"
    )
    parser.add_argument("--level", default="0", help="feature level of the points: 0 is the finest; 'all' (default 0)")
    parser.add_argument(
        "--rate", type=number(0.1, 240), default=10.0, help="frames a second of the overlay (default 10)"
    )
    return parser.parse_args(arguments)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One run's record of the video, the rows that are drawn, names of classes, and the file it is from."""

    file: Path
    record: AnalysisRecord
    rows: list[int]
    names: dict[int, str]


def draw_matches(arguments: argparse.Namespace) -> int:
    """A picture for each record of matched windows."""
    for place, file in enumerate(arguments.records):
        if not is_match_record(file):
            raise UserError(f"{file}: no record of matched windows, as the others are; give records of one kind")
        windows = read_matches(file)
        path = arguments.output / ("matches.png" if place == 0 else f"matches_{place + 1}.png")
        print(f"{path}: {save_matches(path, windows)} of {len(windows)} windows that were matched with tracks")
    return EXIT_OK


def main() -> int:
    arguments = parse_arguments()
    if any(is_match_record(file) for file in arguments.records):
        return draw_matches(arguments)
    runs = [read(file, arguments) for file in arguments.records]
    level = level_of(arguments.level, [run.record for run in runs])
    save_embedding_map(arguments.output / "embeddings.png", [(run.record, run.rows, run.names) for run in runs])
    for run in runs:
        tracks, frames = counted(len(run.rows), "track"), counted(run.record.num_frames, "frame")
        print(f"{arguments.output / 'embeddings.png'}: {tracks} over {frames}")
    if arguments.input is not None:
        count = draw_video(arguments, runs, level)
        print(f"{arguments.output / 'overlay.mp4'} and {count} pictures in {arguments.output / 'frames'}")
    return EXIT_OK


def read(file: Path, arguments: argparse.Namespace) -> Seen:
    record = read_record(file)
    if len(arguments.records) > 1:  # the names of the files are ids of videos, and all alike
        record = dataclasses.replace(record, name=f"{file.resolve().parent.parent.name}, {record.name}")
    rows = record.strongest(arguments.tracks)
    if not rows:
        raise UserError(f"{file}: no tracks to draw (--tracks {arguments.tracks}, {len(record.scores)} there)")
    return Seen(file, record, rows, read_class_names(file.parent))


def level_of(text: str, records: Sequence[AnalysisRecord]) -> int | None:
    levels = min(record.locations.shape[3] for record in records)
    if text == "all":
        return None
    if not text.isdigit() or int(text) >= levels:
        raise UserError(f"--level {text}: expected 0 to {levels - 1}, or all")
    return int(text)


def draw_video(arguments: argparse.Namespace, runs: Sequence[Seen], level: int | None) -> int:
    """Pictures and overlay of every recorded frame; how many."""
    sources = find_videos(arguments.input)
    if len(sources) != 1:
        raise UserError(f"--input {arguments.input}: {len(sources)} videos; a record belongs to one")
    drawn = 0
    with VideoWriter(arguments.output / "overlay.mp4", frames_per_second=arguments.rate) as writer:
        with sources[0].open() as reader:
            for frame in reader.frames():
                pictures = []
                for run in runs:
                    check_frame(frame.size, drawn, run, arguments)
                    seen = (frame.image, run.record, drawn, run.rows)
                    pictures.append(draw_sampling_points(*seen, level=level, class_names=run.names))
                picture = np.hstack(pictures)
                writer.write(picture)
                save_picture(arguments.output / "frames" / f"{drawn:05d}.png", picture)
                drawn += 1
    for run in runs:
        if drawn != run.record.num_frames:
            raise UserError(
                f"--input {arguments.input}: {drawn} frames, {run.file} was made from {run.record.num_frames}"
            )
    return drawn


def check_frame(size: tuple[int, int], index: int, run: Seen, arguments: argparse.Namespace) -> None:
    record = run.record
    if tuple(size) != tuple(record.size.tolist()):
        expected = "x".join(map(str, record.size.tolist()))
        raise UserError(f"--input {arguments.input}: frames of {size[0]}x{size[1]}, {run.file} is of {expected}")
    if index >= record.num_frames:
        raise UserError(
            f"--input {arguments.input}: more frames than the {record.num_frames} that {run.file} was made from"
        )


def save_picture(path: Path, picture: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
