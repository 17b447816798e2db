"""Frames that arrive while they are read: standard input and cameras."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from mindvideo.data.media.polled_input import PolledInput
from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND, BrokenFrame, FrameSelection, VideoReader
from mindvideo.data.media.video_file import VideoFile
from mindvideo.errors import UserError
from mindvideo.structures import Frame

_JPEG_START = b"\xff\xd8"
_CV2_SILENT = 0


class RawStream(VideoReader):
    """RGB24 frames of a known size, one after the other, from a binary stream."""

    def __init__(
        self,
        stream: BinaryIO,
        *,
        size: tuple[int, int],
        name: str,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
    ) -> None:
        self.name = name
        self.size = size
        self.num_frames = None
        self.frames_per_second = frames_per_second / selection.step
        self._stream = stream
        self._selection = selection

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        H, W = self.size
        index = 0
        while not self._selection.is_past(index):
            content = self._stream.read(H * W * 3)
            if not content:
                return
            source = f"{self.name}, frame {index}"
            if len(content) < H * W * 3:
                reason = f"the stream ended after {len(content)} of its {H * W * 3} bytes"
                yield BrokenFrame(index=index, source=source, reason=reason)
                return
            if self._selection.takes(index):
                image = np.frombuffer(content, np.uint8).reshape(H, W, 3)
                yield Frame(image=image, index=index, source=source)
            index += 1


class Camera(VideoReader):
    """A camera by its number; endless until closed."""

    def __init__(self, number: int, *, selection: FrameSelection = FrameSelection()) -> None:  # noqa: B008  (frozen)
        import cv2

        self.name = f"camera-{number}"
        self._selection = selection
        level = cv2.getLogLevel()
        cv2.setLogLevel(_CV2_SILENT)  # the message below says it all
        self._capture = cv2.VideoCapture(number)
        opened, image = self._capture.read()
        cv2.setLogLevel(level)
        if not opened:
            self._capture.release()
            raise UserError(f"camera:{number}: no such camera, or it is in use by another program")
        self.size = (image.shape[0], image.shape[1])
        self.num_frames = None if selection.stop is None else len(selection.indices(selection.stop))
        rate = self._capture.get(cv2.CAP_PROP_FPS) or DEFAULT_FRAMES_PER_SECOND
        self.frames_per_second = rate / selection.step

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        index = 0
        while not self._selection.is_past(index):
            taken, image = self._capture.read()
            source = f"{self.name}, frame {index}"
            if not taken:
                yield BrokenFrame(index=index, source=source, reason="the camera gives no more pictures")
                return
            if self._selection.takes(index):
                yield Frame(image=np.ascontiguousarray(image[:, :, ::-1]), index=index, source=source)
            index += 1

    def close(self) -> None:
        self._capture.release()


def open_stream(
    stream: BinaryIO | None = None,
    *,
    raw_size: tuple[int, int] | None,
    selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
    frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
) -> VideoReader:
    """Standard input: MJPEG, recognised by its first bytes, or raw RGB24 frames of ``raw_size`` (H, W)."""
    polled = PolledInput(sys.stdin.fileno()) if stream is None else None
    source: Any = polled or stream
    buffered = source if isinstance(source, io.BufferedReader) else io.BufferedReader(source, buffer_size=1 << 16)
    beginning = buffered.peek(2)[:2]
    if not beginning:
        raise UserError("standard input: nothing arrived; pipe MJPEG or raw RGB24 frames into it")
    if raw_size is None and beginning != _JPEG_START:
        raise UserError(
            "standard input: not MJPEG; for raw RGB24 frames give their size (--raw-size WIDTHxHEIGHT), for example "
            "ffmpeg -i in.avi -f mjpeg - | infer.py --input -"
        )
    if raw_size is not None:
        reader: VideoReader = RawStream(
            buffered, name="stdin", selection=selection, size=raw_size, frames_per_second=frames_per_second
        )
    else:
        reader = VideoFile(buffered, name="stdin", selection=selection, format_name="mjpeg")
    if polled is not None:
        reader.interrupt = polled.end  # type: ignore[method-assign]  # what waits is the input, which no reader knows
    return reader
