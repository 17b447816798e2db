"""Finds the videos that an input names (a file, a folder, a glob, a camera); each is opened when its turn comes."""

from __future__ import annotations

import dataclasses
import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mindvideo.data.media.images import IMAGE_SUFFIXES, is_image, natural_order, num_pictures
from mindvideo.data.media.pictures import Animation, ImageFrames
from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND, FrameSelection, VideoReader
from mindvideo.data.media.streams import Camera, open_stream
from mindvideo.data.media.video_file import VideoFile
from mindvideo.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpeg", ".mjpg", ".ts", ".wmv")
STANDARD_INPUT = "-"
_CAMERA = re.compile(r"camera:(\d+)")


@dataclasses.dataclass(frozen=True)
class VideoSource:
    """One video before it is opened: a name for its results, and its picture files, its file, camera or stream.

    ``file`` is a video file, or a picture file that holds several pictures.
    """

    name: str
    pictures: tuple[Path, ...] = ()
    file: Path | None = None
    camera: int | None = None

    @property
    def is_endless(self) -> bool:
        """A camera or a stream ends when the user says so; stopping it is not an interruption."""
        return not self.pictures and self.file is None

    def open(
        self,
        *,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        raw_size: tuple[int, int] | None = None,
        frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
    ) -> VideoReader:
        """``raw_size`` (H, W) is for raw frames on standard input; ``frames_per_second`` for what has no rate."""
        if self.pictures:
            return ImageFrames(self.pictures, name=self.name, selection=selection, frames_per_second=frames_per_second)
        if self.file is not None and is_image(self.file):
            return Animation(self.file, name=self.name, selection=selection, frames_per_second=frames_per_second)
        if self.file is not None:
            return VideoFile(self.file, name=self.name, selection=selection)
        if self.camera is not None:
            return Camera(self.camera, selection=selection)
        return open_stream(raw_size=raw_size, selection=selection, frames_per_second=frames_per_second)


def find_videos(given: str | Path) -> list[VideoSource]:
    """The videos of a folder of frames, of a folder of such folders or of video files, of a file, a glob, ``camera:N``
    or ``-``.

    Names are unique, so that results do not overwrite each other.
    """
    name = str(given)
    if name == STANDARD_INPUT:
        return [VideoSource(name="stdin")]
    if camera := _CAMERA.fullmatch(name):
        return [VideoSource(name=f"camera-{camera[1]}", camera=int(camera[1]))]
    path = Path(name)
    if path.is_dir():
        return _uniquely_named(_of_folder(path))
    if path.is_file():
        return [_of_file(path)]
    if glob.has_magic(name):
        return _uniquely_named(_of_glob(name))
    raise UserError(f"{name}: no such file or folder (a glob, camera:0 and - are understood too)")


def _of_file(path: Path) -> VideoSource:
    if is_image(path):
        is_video = num_pictures(path) > 1
        return VideoSource(name=path.stem, file=path) if is_video else VideoSource(name=path.stem, pictures=(path,))
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(
            f"{path}: not known as a video or a picture; known are {' '.join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)}"
        )
    return VideoSource(name=path.stem, file=path)


def _of_folder(folder: Path) -> list[VideoSource]:
    entries = natural_order(path for path in folder.iterdir() if not path.name.startswith("."))
    pictures = tuple(path for path in entries if is_image(path) and path.is_file())
    files = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    if pictures and files:
        raise UserError(
            f"{folder}: {len(pictures)} pictures and {len(files)} video files beside each other; "
            f"say which with a glob, for instance '{folder}/*{files[0].suffix}'"
        )
    if pictures:
        return [VideoSource(name=folder.resolve().name, pictures=pictures)]
    sources = [VideoSource(name=path.stem, file=path) for path in files]
    for subfolder in (path for path in entries if path.is_dir()):
        frames = tuple(natural_order(path for path in subfolder.iterdir() if is_image(path)))
        if frames:
            sources.append(VideoSource(name=subfolder.name, pictures=frames))
    if not sources:
        raise UserError(f"{folder}: no pictures and no videos in it or in the folders directly below")
    return sources


def _of_glob(pattern: str) -> list[VideoSource]:
    matches = natural_order(Path(match) for match in glob.glob(pattern, recursive=True))
    frames_of_folder: dict[Path, list[Path]] = {}
    sources: list[VideoSource] = []
    for path in matches:
        if path.is_dir():
            sources += _of_folder(path)
        elif is_image(path):
            frames_of_folder.setdefault(path.parent, []).append(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            sources.append(VideoSource(name=path.stem, file=path))
    for folder, frames in frames_of_folder.items():
        sources.append(VideoSource(name=folder.resolve().name, pictures=tuple(frames)))
    if not sources:
        raise UserError(
            f"{pattern}: the pattern matches {len(matches)} files or folders, no picture or video among them"
        )
    return sources


def _uniquely_named(sources: Sequence[VideoSource]) -> list[VideoSource]:
    counts = Counter(source.name for source in sources)
    taken: set[str] = {name for name, count in counts.items() if count == 1}
    renamed = []
    for source in sources:
        name = source.name
        if counts[name] > 1 and source.file is not None:
            name = f"{name}-{source.file.suffix.lstrip('.')}"
        number = 2
        base = name
        while counts[source.name] > 1 and name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        renamed.append(dataclasses.replace(source, name=name))
    return renamed
