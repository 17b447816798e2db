"""Whether the frames that an annotation file lists are there, before hours of work are begun."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mindvideo.data.labels.catalogue import DatasetFiles
from mindvideo.data.media.video_frames import parse_video_frame
from mindvideo.errors import UserError, printable

MAX_FOLDERS = 1000
DEPTH = 3  # folders below the annotation file's that are looked through for frames that lie elsewhere


def require_frames(files: DatasetFiles, videos: Mapping[int | str, Sequence[str]], *, key: str = "data.valid") -> None:
    """UserError in one line unless every file of every video (id -> file names) is below the folder of frames."""
    wanted = {video: [_file_of(name) for name in names] for video, names in videos.items()}
    missing = {video: [name for name in names if name not in there] for video, names, there in _seen(files, wanted)}
    incomplete = {video: names for video, names in missing.items() if names}
    if not incomplete:
        return
    first = next(iter(incomplete.values()))[0]
    count, total = sum(map(len, incomplete.values())), sum(map(len, wanted.values()))
    said = (
        f"data set {files.name}: {count} of {total} frames, of {len(incomplete)} of {len(wanted)} videos, are not in "
        f"{files.frames}, the first {printable(first)}"
    )
    place = _other_place(files, first)
    if place is not None:
        raise UserError(f"{said}; it is in {place}: give {key}={files.annotations}@{place}")
    raise UserError(f"{said}; unpack the archive of the frames again, or give {key}=ANNOTATIONS.json@FRAMES")


def _file_of(name: str) -> str:
    place = parse_video_frame(name)
    return name if place is None else place[0]


def _seen(
    files: DatasetFiles, wanted: Mapping[int | str, list[str]]
) -> Iterator[tuple[int | str, list[str], set[str]]]:
    """Each video with the files of it that are there; a folder is listed once."""
    listed: dict[str, set[str]] = {}
    for video, names in wanted.items():
        there = set()
        for name in names:
            folder, file = os.path.split(name)
            if folder not in listed:
                listed[folder] = _content(files.frames / folder)
            if file in listed[folder]:
                there.add(name)
        yield video, names, there


def _content(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):  # ValueError: a null character in the name
        return set()


def _other_place(files: DatasetFiles, name: str) -> Path | None:
    """A folder near the annotation file or the frames below which the frame is; the nearest one."""
    for start in ([files.annotations.parent, files.frames.parent], [files.frames.parent.parent]):
        level = start
        for _ in range(DEPTH):
            for folder in level:
                if (folder / name).is_file():
                    return folder
            # The folders of single videos are many, and hold no others of use.
            level = [entry for folder in level for entry in _folders_in(folder)][:MAX_FOLDERS]
    return None


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []
