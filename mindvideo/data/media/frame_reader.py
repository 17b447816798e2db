"""Decoding of single frames, with an optional cache in memory for small sets."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.media.video_frames import VideoFrames, parse_video_frame
from mindvideo.errors import printable

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
_DECODE_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_frame(path: str | Path) -> np.ndarray:
    """uint8 [H, W, 3] RGB of an image file, grey and transparent ones included; EXIF rotation is ignored.

    OpenCV and Pillow carry the same JPEG decoder and give the same pixels; OpenCV's path is the quicker one, but it
    fills the missing part of a truncated JPEG with grey and says nothing. Pillow, which complains, judges those.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise BrokenFrameError(f"{printable(path)}: the frame cannot be read ({reason})") from error
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
    """Reads frames below one folder: pictures, or frames of video files by names such as ``clip.mp4#12``.

    Keeps up to ``cache_megabytes`` of decoded frames, first come first kept.
    """

    def __init__(self, *, folder: str | Path, cache_megabytes: int = 0) -> None:
        self.folder = str(folder)
        self._room = cache_megabytes * 2**20
        self._cache: dict[str, np.ndarray] = {}
        self._videos = VideoFrames()

    def read(self, file_name: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        return self.read_together([file_name])[file_name]

    def read_together(self, file_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Frames by name; those of one video file are decoded in one go."""
        frames = {name: self._cache[name] for name in file_names if name in self._cache}
        of_video: dict[str, dict[int, str]] = {}
        for name in file_names:
            if name in frames:
                continue
            place = parse_video_frame(name)
            if place is None:
                frames[name] = self._keep(name, decode_frame(f"{self.folder}/{name}"))
            else:
                of_video.setdefault(place[0], {})[place[1]] = name
        for file, names in of_video.items():
            for name, frame in zip(names.values(), self._videos.read(f"{self.folder}/{file}", list(names))):
                frames[name] = self._keep(name, frame)
        return frames

    def _keep(self, name: str, frame: np.ndarray) -> np.ndarray:
        if self._room >= frame.nbytes:
            self._room -= frame.nbytes
            self._cache[name] = frame.copy() if frame.base is not None else frame  # not the batch it is a part of
        return frame

    def clip(self, file_names: Sequence[str], size: tuple[int, int]) -> ClipFrames:
        """Frames that are read when their pixels are needed. ``size`` (H, W) is that of the annotation."""
        of_video: dict[str, list[str]] = {}
        for name in dict.fromkeys(file_names):
            place = parse_video_frame(name)
            of_video.setdefault(name if place is None else place[0], []).append(name)
        together = {name: _Together(self, names) for names in of_video.values() for name in names}
        return ClipFrames([_Loader(together[name], name, size) for name in file_names], size)


class _Together:
    """Frames of a clip that are decoded together when the first is needed; each is handed out once."""

    def __init__(self, reader: FrameReader, names: Sequence[str]) -> None:
        self.reader = reader
        self._names = names
        self._waiting: dict[str, np.ndarray] = {}

    def take(self, name: str) -> np.ndarray:
        if name not in self._waiting:
            self._waiting = self.reader.read_together(self._names)
        return self._waiting.pop(name)


@dataclasses.dataclass(frozen=True)
class _Loader:
    """Reads one frame and refuses it if its size is not the annotated one."""

    source: _Together
    file_name: str
    size: tuple[int, int]

    def __call__(self) -> np.ndarray:
        frame = self.source.take(self.file_name)
        if frame.shape[:2] != self.size:
            raise BrokenFrameError(
                f"{self.source.reader.folder}/{self.file_name}: frame of {frame.shape[0]} x {frame.shape[1]} (height x "
                f"width), annotated as {self.size[0]} x {self.size[1]}"
            )
        return frame
