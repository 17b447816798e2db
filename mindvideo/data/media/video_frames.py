"""Frames inside video files, named ``clip.mp4#12`` (the file, then the frame's number from 0), in any order.

decord finds its way to any frame. Whole videos from the first frame to the last are read by ``video_file`` with PyAV,
which also reports damaged frames and turns pictures upright; decord puts a neighbouring frame in a damaged one's place.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.data.media.broken_frame import BrokenFrameError, BrokenVideoError
from mindvideo.structures.picture_size import picture_size

MAX_OPEN = 4  # files; each holds a decoder with its frames
_NAME = re.compile(r"(.+)#(\d+)")


def parse_video_frame(name: str) -> tuple[str, int] | None:
    """``clip.mp4#12`` -> ("clip.mp4", 12); None for any other name, such as that of a picture."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def video_frame_name(file: str, frame: int) -> str:
    return f"{file}#{frame}"


def video_of_frame(name: str) -> Path:
    """The video that a frame belongs to: its video file (without the suffix), or the folder of the picture."""
    place = parse_video_frame(name)
    return Path(place[0]).with_suffix("") if place else Path(name).parent


class VideoFrames:
    """Decoded frames of video files. The files used last stay open, ``max_open`` of them; copies begin with none."""

    def __init__(self, *, max_open: int = MAX_OPEN) -> None:
        self._max_open = max_open
        self._open: OrderedDict[str, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def num_frames(self, file: str | Path) -> int:
        return len(self._reader(str(file)))

    def size(self, file: str | Path) -> tuple[int, int]:
        """(H, W) of the file's first frame."""
        return picture_size(self.read(file, [0])[0])

    def read(self, file: str | Path, frames: Sequence[int]) -> np.ndarray:
        """uint8 [T, H, W, 3] RGB of the frames with these numbers, in the given order."""
        reader = self._reader(str(file))
        beyond = [frame for frame in frames if not 0 <= frame < len(reader)]
        if beyond:
            raise BrokenFrameError(
                f"{video_frame_name(str(file), beyond[0])}: the video has {len(reader)} frames, 0 to {len(reader) - 1}"
            )
        try:
            return reader.get_batch(list(frames)).asnumpy()
        except _decord_errors() as error:
            self._open.pop(str(file), None)  # what it decodes after an error is anyone's guess
            raise BrokenFrameError(f"{file}: frames {list(frames)} cannot be decoded ({_last_line(error)})") from error

    def _reader(self, file: str) -> Any:
        reader = self._open.get(file)
        if reader is None:
            reader = _open(file)
            self._open[file] = reader
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)
        self._open.move_to_end(file)
        return reader


def _open(file: str) -> Any:
    """A decord.VideoReader."""
    decord = _load_decord()
    if not Path(file).is_file():
        raise BrokenFrameError(f"{file}: no such video file")
    decord.logging.set_level(decord.logging.QUIET)  # the message below says it
    try:
        reader = decord.VideoReader(file, num_threads=1)  # the data workers are the threads
    except _decord_errors() as error:
        raise BrokenVideoError(f"{file}: not a video that can be opened ({_last_line(error)})") from error
    if len(reader) == 0:
        raise BrokenVideoError(f"{file}: the video has no frames")
    return reader


@functools.cache
def _load_decord() -> Any:
    """The decord module; loaded late, since most sets consist of pictures.

    It would make its C++ runtime's symbols those of the whole process, and MindSpore, imported after it, ends the
    program. Kept to itself it does no harm.
    """
    shared: int = ctypes.RTLD_GLOBAL
    vars(ctypes)["RTLD_GLOBAL"] = ctypes.RTLD_LOCAL
    try:
        import decord
    finally:
        vars(ctypes)["RTLD_GLOBAL"] = shared
    return decord


def _decord_errors() -> tuple[type[Exception], ...]:
    """Opening a file that was cut off raises decord's own error, which is not one of Python's."""
    return (RuntimeError, _load_decord().DECORDError)


def _last_line(error: Exception) -> str:
    """The end of decord's message without the time and the line of its source."""
    return re.sub(r"^\[[\d:]+\] \S+ (Error: )?", "", str(error).strip().splitlines()[-1])
