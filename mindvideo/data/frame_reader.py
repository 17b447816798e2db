"""Decoding of single frames, with an optional cache in memory for small sets."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mindvideo.data.clip_frames import ClipFrames

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
_DECODE_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class BrokenFrameError(Exception):
    """A frame that is missing, unreadable or of another size than annotated; the message names the file."""


def decode_frame(path: str | Path) -> np.ndarray:
    """uint8 [H, W, 3] RGB of an image file, grey and transparent ones included; EXIF rotation is ignored.

    OpenCV and Pillow carry the same JPEG decoder and give the same pixels; OpenCV's path is the quicker one, but it
    fills the missing part of a truncated JPEG with grey and says nothing. Pillow, which complains, judges those.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BrokenFrameError(f"{path}: the frame cannot be read ({error.strerror})") from error
    if content[:2] == JPEG_START and content[-2:] != JPEG_END:
        return _decode_with_pillow(content, path)
    frame = cv2.imdecode(np.frombuffer(content, np.uint8), _DECODE_FLAGS) if content else None
    if frame is None:
        raise BrokenFrameError(f"{path}: the frame cannot be decoded ({len(content)} bytes)")
    return frame


def _decode_with_pillow(content: bytes, path: str | Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise BrokenFrameError(f"{path}: the frame cannot be decoded ({error})") from error


class FrameReader:
    """Reads frames below one folder. Keeps up to ``cache_megabytes`` of decoded frames, first come first kept."""

    def __init__(self, *, folder: str | Path, cache_megabytes: int = 0) -> None:
        self.folder = str(folder)
        self._room = cache_megabytes * 2**20
        self._cache: dict[str, np.ndarray] = {}

    def read(self, file_name: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        frame = self._cache.get(file_name)
        if frame is None:
            frame = decode_frame(f"{self.folder}/{file_name}")
            if self._room >= frame.nbytes:
                self._room -= frame.nbytes
                self._cache[file_name] = frame
        return frame

    def clip(self, file_names: Sequence[str], size: tuple[int, int]) -> ClipFrames:
        """Frames that are read when their pixels are needed. ``size`` (H, W) is that of the annotation."""
        return ClipFrames([_Loader(self, name, size) for name in file_names], size)


@dataclasses.dataclass(frozen=True)
class _Loader:
    """Reads one frame and holds it to its annotated size."""

    reader: FrameReader
    file_name: str
    size: tuple[int, int]

    def __call__(self) -> np.ndarray:
        frame = self.reader.read(self.file_name)
        if frame.shape[:2] != self.size:
            raise BrokenFrameError(
                f"{self.reader.folder}/{self.file_name}: frame of {frame.shape[0]} x {frame.shape[1]} (height x "
                f"width), annotated as {self.size[0]} x {self.size[1]}"
            )
        return frame
