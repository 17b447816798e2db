"""Frames of any video, read lazily: picture files, video files, cameras and standard input. RGB uint8 always.

Every reader is an iterator over :class:`~mindvideo.structures.Frame` that holds one frame at a time. A frame that
cannot be read does not end the video: it is reported, and the last good frame stands in for it, so that frame numbers
keep their meaning.
"""

from __future__ import annotations

import abc
import dataclasses
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from mindvideo.data.media.images import image_size, read_image
from mindvideo.data.media.polled_input import PolledInput
from mindvideo.errors import UserError
from mindvideo.structures import Frame

DEFAULT_FRAMES_PER_SECOND = 10.0
_JPEG_START = b"\xff\xd8"
# Colour matrices and ranges as FFmpeg numbers them; a file that names no matrix is read as BT.601, as FFmpeg does.
_BT709, _BT601, _KNOWN_MATRICES = 1, 5, (1, 4, 7, 9)
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_CV2_SILENT = 0


@dataclasses.dataclass(frozen=True)
class FrameSelection:
    """Frames ``start, start + step, ...`` below ``stop`` (None: to the end)."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.step < 1 or (self.stop is not None and self.stop <= self.start):
            stop = "" if self.stop is None else self.stop
            raise UserError(
                f"frames {self.start}:{stop}:{self.step} cannot be selected; expected START:STOP:STEP with "
                "0 <= START < STOP and STEP >= 1"
            )

    @classmethod
    def parse(cls, text: str) -> FrameSelection:
        """``"10:100:2"``, any part may be empty, as in a Python slice."""
        parts = text.split(":")
        try:
            start, stop, step = ((int(part) if part.strip() else None) for part in (*parts, "", "")[:3])
        except ValueError:
            parts = []
        if not 2 <= len(parts) <= 3:
            raise UserError(f"frames '{text}': expected START:STOP or START:STOP:STEP, for instance 0:300:2")
        return cls(start or 0, stop, 1 if step is None else step)

    def takes(self, index: int) -> bool:
        return index >= self.start and (index - self.start) % self.step == 0 and not self.is_past(index)

    def is_past(self, index: int) -> bool:
        return self.stop is not None and index >= self.stop

    def indices(self, total: int) -> range:
        return range(self.start, total if self.stop is None else min(self.stop, total), self.step)


@dataclasses.dataclass(frozen=True)
class BrokenFrame:
    """A frame that is there but cannot be read."""

    index: int
    source: str
    reason: str


def fail_on_problem(problem: str) -> None:
    """The default answer to a broken frame: stop with its message."""
    raise UserError(problem)


class VideoReader(abc.ABC):
    """One video: its ``size`` (H, W), ``num_frames`` (None when unknown; an estimate for some video files),
    ``frames_per_second`` (after the selection's step), and its frames."""

    name: str
    size: tuple[int, int]
    num_frames: int | None
    frames_per_second: float

    @abc.abstractmethod
    def decode(self) -> Iterator[Frame | BrokenFrame]:
        """The selected frames in order, those that cannot be read included."""

    def close(self) -> None:  # noqa: B027  (most readers hold nothing open)
        """Release the file or device; called more than once without harm."""

    def interrupt(self) -> None:  # noqa: B027  (most readers never wait for anybody)
        """Make ``decode`` come to its end though it waits for data; called from another thread."""

    def frames(self, on_problem: Callable[[str], None] = fail_on_problem) -> Iterator[Frame]:
        """The selected frames; ``on_problem`` hears of each broken one, for which the last good frame stands in."""
        last: Frame | None = None
        waiting: list[BrokenFrame] = []  # broken ones before the first good frame
        first_problem = ""
        for item in self.decode():
            if isinstance(item, BrokenFrame):
                problem = f"frame {item.index} cannot be read: {item.reason}"
                first_problem = first_problem or problem
                on_problem(problem)
                if last is None:
                    waiting.append(item)
                else:
                    yield Frame(image=last.image, index=item.index, source=item.source)
                continue
            self._check_size(item)
            for broken in waiting:
                yield Frame(image=item.image, index=broken.index, source=broken.source)
            waiting.clear()
            last = item
            yield item
        if last is None:
            raise UserError(f"{self.name}: no frame can be read" + (f"; {first_problem}" if first_problem else ""))

    def _check_size(self, frame: Frame) -> None:
        if frame.size != self.size:
            raise UserError(_size_message(frame.source, frame.size, self.size))

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _size_message(source: str, size: tuple[int, int], expected: tuple[int, int]) -> str:
    return (
        f"{source}: {size[1]}x{size[0]} pixels, but the video began with {expected[1]}x{expected[0]}; "
        "the frames of a video must have one size: split it, or scale the frames"
    )


class ImageFrames(VideoReader):
    """Picture files in the given order as a video; each is read when its turn comes."""

    def __init__(
        self,
        files: Sequence[Path],
        *,
        name: str,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
    ) -> None:
        if not files:
            raise UserError(f"{name}: no pictures")
        self.name = name
        self._indices = selection.indices(len(files))
        if not self._indices:
            raise UserError(_nothing_selected(name, selection, len(files)))
        self._files = list(files)
        self.num_frames = len(self._indices)
        self.frames_per_second = frames_per_second / selection.step
        self.size = self._common_size()

    def _common_size(self) -> tuple[int, int]:
        """The one size of all readable files, from their headers; those that cannot be read are met again later."""
        size, problem = None, ""
        for index in self._indices:
            try:
                found = image_size(self._files[index])
            except UserError as error:
                problem = problem or str(error)
                continue
            if size is not None and found != size:
                raise UserError(_size_message(str(self._files[index]), found, size))
            size = found
        if size is None:
            raise UserError(f"{self.name}: none of its {self.num_frames} pictures can be read; {problem}")
        return size

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        for index in self._indices:
            file = self._files[index]
            try:
                yield Frame(image=read_image(file), index=index, source=str(file))
            except UserError as error:
                yield BrokenFrame(index=index, source=str(file), reason=str(error))


class VideoFile(VideoReader):
    """A video file (or a stream of MJPEG frames) decoded in order; nothing but the current frame is kept."""

    def __init__(
        self,
        source: Path | BinaryIO,
        *,
        name: str,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        format_name: str | None = None,
    ) -> None:
        self.name = name
        self._label = name if not isinstance(source, Path) else str(source)
        self._selection = selection
        if isinstance(source, Path) and source.stat().st_size == 0:
            raise UserError(f"{source}: the file is empty (0 bytes)")
        try:
            self._container = av.open(source if not isinstance(source, Path) else str(source), format=format_name)
        except av.error.FFmpegError as error:
            raise UserError(f"{self._label}: not a video that can be opened ({error.strerror})") from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{self._label}: the file has no video stream")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            self._container.close()
            raise UserError(f"{self._label}: no decoder for its codec; convert it, for instance to H.264 mp4")
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.frames_per_second = float(rate or DEFAULT_FRAMES_PER_SECOND) / selection.step
        self.num_frames = len(selection.indices(self._stream.frames)) if self._stream.frames else None
        self._items = self._decode_all()
        self._head: list[Frame | BrokenFrame] = []  # up to the first good frame, which alone tells the upright size
        for item in self._items:
            self._head.append(item)
            if isinstance(item, Frame):
                self.size = item.size
                return
        self.close()
        if self._head:
            raise UserError(f"{self._label}: no frame can be decoded ({self._head[0].reason})")
        raise UserError(_nothing_selected(self._label, selection, self._decoded))

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        while self._head:
            yield self._head.pop(0)
        yield from self._items

    def close(self) -> None:
        self._container.close()

    def _decode_all(self) -> Iterator[Frame | BrokenFrame]:
        self._decoded = 0
        for picture in self._pictures():
            index, self._decoded = self._decoded, self._decoded + 1
            if self._selection.is_past(index):
                return
            if not self._selection.takes(index):
                continue
            source = f"{self._label}, frame {index}"
            if isinstance(picture, str):
                yield BrokenFrame(index=index, source=source, reason=picture)
                continue
            yield Frame(image=_upright_rgb(picture), index=index, source=source)

    def _pictures(self) -> Iterator[av.VideoFrame | str]:
        """Decoded pictures, or the reason in the place of one that cannot be decoded."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                pictures = packet.decode() if packet is not None else []
            except av.error.FFmpegError as error:
                yield error.strerror
                continue
            if packet is None:
                return
            for picture in pictures:
                yield "damaged data" if picture.is_corrupt else picture


def _upright_rgb(picture: av.VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] with the colours the file means, turned as phones ask for (quarter turns, counter-clockwise)."""
    matrix = int(picture.colorspace) if int(picture.colorspace) in _KNOWN_MATRICES else _BT601
    full_range = picture.color_range == _FULL_RANGE or picture.format.name.startswith("yuvj")
    image = picture.to_ndarray(
        format="rgb24",
        src_colorspace=matrix,
        # Without meaning for RGB, but PyAV ignores the other three where source and target are alike.
        dst_colorspace=_BT601 if matrix == _BT709 else _BT709,
        src_color_range=_FULL_RANGE if full_range else _LIMITED_RANGE,
        dst_color_range=_FULL_RANGE,
    )
    return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90))) if picture.rotation else image


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
    stream = polled or stream
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, buffer_size=1 << 16)
    beginning = buffered.peek(2)[:2]
    if not beginning:
        raise UserError("standard input: nothing arrived; pipe MJPEG or raw RGB24 frames into it")
    if raw_size is None and beginning != _JPEG_START:
        raise UserError(
            "standard input: not MJPEG; for raw RGB24 frames give their size (--raw-size WIDTHxHEIGHT), for example "
            "ffmpeg -i in.avi -f mjpeg - | infer.py --input -"
        )
    if raw_size is not None:
        options = {"size": raw_size, "frames_per_second": frames_per_second}
        reader: VideoReader = RawStream(buffered, name="stdin", selection=selection, **options)
    else:
        reader = VideoFile(buffered, name="stdin", selection=selection, format_name="mjpeg")
    if polled is not None:
        reader.interrupt = polled.end
    return reader


def _nothing_selected(name: str, selection: FrameSelection, total: int) -> str:
    stop = "" if selection.stop is None else selection.stop
    return f"{name}: {total} frames, of which {selection.start}:{stop}:{selection.step} selects none"
