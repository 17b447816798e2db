"""Finds what is wrong with one picture or frame on disk, for ``prepare.py check``."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
from PIL import Image, UnidentifiedImageError

from mindvideo.data.labels.forms import Problem
from mindvideo.data.media.broken_frame import BrokenFrameError, BrokenVideoError
from mindvideo.data.media.frame_reader import JPEG_END, JPEG_START, decode_frame
from mindvideo.data.media.images import stored_size
from mindvideo.data.media.video_file import VideoFile
from mindvideo.data.media.video_frames import VideoFrames, parse_video_frame
from mindvideo.errors import UserError
from mindvideo.structures import Frame
from mindvideo.structures.picture_size import picture_size

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# Marks of whole files: how they start -> how they end.
_ENDS = {JPEG_START: JPEG_END, PNG_START: PNG_END}
_TAIL = 64  # bytes
# Pillow raises these for files that it cannot read.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def frame_problem(
    path: Path, annotated: tuple[int, int] | None, where: str, decode: bool, videos: VideoFrames
) -> Problem | None:
    """The problem of one picture, or of one frame of a video file, that is annotated as (height, width)."""
    place = parse_video_frame(str(path))
    file = path if place is None else Path(place[0])
    try:
        if not file.is_file():
            return Problem("missing frame", where, f"no file {file}")
    except OSError as error:  # a name too long, a folder that may not be read
        return Problem("missing frame", where, f"no file {file} ({error.strerror})")
    try:
        if place is not None:
            size = _video_frame_size(videos, *place, decode)
        else:
            size = _picture_size(path, decode)
    except BrokenVideoError as error:
        return Problem("broken video", where, " ".join(str(error).split()) + _frames_left(file))
    except BrokenFrameError as error:
        return Problem("broken frame", where, " ".join(str(error).split()))
    if annotated is not None and size != annotated:
        found = f"{size[0]} x {size[1]} (height x width)"
        return Problem("frame size", where, f"{path} is {found}, annotated as {annotated[0]} x {annotated[1]}")
    return None


def _frames_left(file: Path) -> str:
    """How much of a video file that training cannot open can still be decoded from its beginning."""
    try:
        with VideoFile(file, name=file.name) as reader:
            good = sum(isinstance(item, Frame) for item in reader.decode())
    except UserError:
        return ""
    total = "" if reader.num_frames is None else f" of {reader.num_frames}"
    return f"; {good}{total} frames can be decoded (was it cut off while copied? a repaired copy can be used)"


def _video_frame_size(videos: VideoFrames, file: str, frame: int, decode: bool) -> tuple[int, int]:
    """The frame's own size, or the video's when the frame is in range and need not be decoded."""
    if decode or frame >= videos.num_frames(file):
        return picture_size(videos.read(file, [frame])[0])
    return videos.size(file)


def _picture_size(path: Path, decode: bool) -> tuple[int, int]:
    try:
        _require_whole(path)
        if not decode:
            return stored_size(path)
    except OSError as error:
        raise BrokenFrameError(f"{path}: the frame cannot be read ({error})") from error
    except UserError as error:
        raise BrokenFrameError(str(error)) from error
    with silent_decoders():
        return picture_size(decode_frame(path))


def _require_whole(path: Path) -> None:
    """Raise BrokenFrameError for a JPEG or PNG that is cut off. Its last bytes before any zeros show it.

    Cameras write data of their own after the end of a JPEG, so Pillow has the last word on files that end otherwise.
    """
    with path.open("rb") as file:
        start = file.read(len(PNG_START))
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read()
    end = next((end for beginning, end in _ENDS.items() if start.startswith(beginning)), None)
    if end is None or tail.rstrip(b"\0").endswith(end):
        return
    # Zeros at the end are the place that a broken-off download kept for the rest; Pillow would decode them.
    content = path.read_bytes().rstrip(b"\0")
    if content.endswith(end):
        return
    try:
        with silent_decoders(), Image.open(io.BytesIO(content)) as picture:
            picture.load()
    except UnidentifiedImageError:
        return  # that it is no picture is the caller's to say
    except _UNREADABLE as error:
        raise BrokenFrameError(f"{path}: the file is cut off ({error})") from error


@contextlib.contextmanager
def silent_decoders() -> Iterator[None]:
    """Keeps OpenCV, libpng and libjpeg from writing to the terminal; the caller reports in its own words."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        cv2.setLogLevel(level)
