"""Video files, and streams of MJPEG frames, decoded in order with PyAV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from mindvideo.data.media.reader import (
    DEFAULT_FRAMES_PER_SECOND,
    BrokenFrame,
    FrameSelection,
    VideoReader,
    nothing_selected,
)
from mindvideo.errors import UserError
from mindvideo.structures import Frame

# Colour matrices and ranges as FFmpeg numbers them; a file that names no matrix is read as BT.601, as FFmpeg does.
_BT709, _BT601, _KNOWN_MATRICES = 1, 5, (1, 4, 7, 9)
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_ROUNDED_FRAMES, _ROUNDED_SHARE = 3, 0.02  # by which an estimated number of frames may be wrong


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
        self._is_damaged, self._packets, self._last_time = False, 0, 0.0
        self._items = self._decode_all()
        self._head: list[Frame | BrokenFrame] = []  # up to the first good frame: only that has the upright size
        for item in self._items:
            self._head.append(item)
            if isinstance(item, Frame):
                self.size = item.size
                return
        self.close()
        if self._head and isinstance(self._head[0], BrokenFrame):
            raise UserError(f"{self._label}: no frame can be decoded ({self._head[0].reason})")
        raise UserError(nothing_selected(self._label, selection, self._decoded))

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
        yield from self._lost_end()

    def _lost_end(self) -> Iterator[BrokenFrame]:
        """One broken frame that stands for all the frames which a file that was cut off no longer has."""
        total = self._stream.frames or self._estimated_frames()
        chosen = self._selection.indices(total)
        lost = chosen[max(0, -(-(self._decoded - chosen.start) // chosen.step)) :]
        if lost and self._is_cut(total):
            about = "" if self._stream.frames else "about "
            reason = f"the file ends here: {about}{len(lost)} frames are lost of {total} (was it cut off while copied?)"
            yield BrokenFrame(index=lost[0], source=f"{self._label}, frame {lost[0]}", reason=reason)

    def _estimated_frames(self) -> int:
        """How many frames there should be of a Matroska file, which only says how long it lasts; 0 if it does not."""
        lasts = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))
        if lasts is None or self._decoded < 2 or self._last_time <= 0:
            return 0
        seconds = int(lasts[1]) * 3600 + int(lasts[2]) * 60 + float(lasts[3])
        return max(self._decoded, round(seconds / (self._last_time / (self._decoded - 1))))

    def _is_cut(self, total: int) -> bool:
        """Whether the file is damaged, or lacks packets of the ``total`` that it should have.

        A trimmed MP4 or MOV is whole although it passes over packets, so there only damage counts. Elsewhere a
        difference of a few may come from rounding.
        """
        lacking = total - self._packets
        may_pass_over = "mp4" in self._container.format.name
        return self._is_damaged or (not may_pass_over and lacking > max(_ROUNDED_FRAMES, _ROUNDED_SHARE * total))

    def _pictures(self) -> Iterator[av.VideoFrame | str]:
        """Decoded pictures; in the place of one that cannot be decoded, the reason."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                pictures = packet.decode() if packet is not None else []
            except av.error.FFmpegError as error:
                self._is_damaged = True
                yield error.strerror
                continue
            if packet is None:
                return
            self._packets += 1
            self._is_damaged |= packet.is_corrupt
            for picture in pictures:
                self._is_damaged |= picture.is_corrupt
                self._last_time = max(self._last_time, picture.time or 0.0)
                yield "damaged data" if picture.is_corrupt else picture


def _upright_rgb(picture: av.VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] in the colours of the file, turned upright by the quarter turns that phones note down."""
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
