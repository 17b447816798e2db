"""Objects cut out of their frames: a PNG for each mask, or a video that is transparent wherever no object is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from mindvideo.errors import UserError
from mindvideo.masks.rle import box_of_pixels, decode_mask

_VP9 = {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"}
_PRORES = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
# Kind of video -> suffix, encoder, pixel format and options. WebM is for browsers, ProRes 4444 for editing programs.
VIDEO_KINDS = {
    "cutout_webm": (".webm", "libvpx-vp9", "yuva420p", _VP9),
    "cutout_mov": (".mov", "prores_ks", "yuva444p10le", _PRORES),
}
_MARGIN = 4  # pixels around an object that keep their colours, so that coding does not darken its border
_LIMITS = (0.1, 240.0)  # frames a second
Objects = Sequence[tuple[int, Mapping[str, Any]]]  # number of the track, mask with at least one pixel


def write_cutouts(folder: Path, image: np.ndarray, objects: Objects, *, number: int) -> None:
    """``track_003/000012.png``: RGBA, cropped to the object, for each object of the frame ``number``."""
    for track, mask in objects:
        left, top, width, height = box_of_pixels(mask)
        place = (slice(top, top + height), slice(left, left + width))
        opacity = decode_mask(mask)[place] * np.uint8(255)
        path = folder / f"track_{track:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([image[place], opacity])).save(path, compress_level=3)


class TransparentVideo:
    """Frames with transparency into ``path``, whose suffix has to be that of ``kind``."""

    def __init__(self, path: Path, *, kind: str, frames_per_second: float) -> None:
        _, self._encoder, self._format, self._options = VIDEO_KINDS[kind]
        require_encoder(kind)
        rate = min(max(frames_per_second, _LIMITS[0]), _LIMITS[1])
        self._rate = Fraction(rate).limit_denominator(1001)
        self._path, self._count = path, 0
        self._container: Any = None

    def add(self, image: np.ndarray, objects: Objects) -> None:
        """``image`` uint8 RGB [H, W, 3]; transparent outside the masks of ``objects``."""
        drawn = _even(cut_out(image, objects))
        if self._container is None:
            self._open(*drawn.shape[:2])
        frame = av.VideoFrame.from_ndarray(drawn, format="rgba").reformat(format=self._format)
        frame.pts, self._count = self._count, self._count + 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        if self._container is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._container = None

    def _open(self, H: int, W: int) -> None:
        self._container = av.open(str(self._path), mode="w")
        self._stream = self._container.add_stream(self._encoder, rate=self._rate, options=dict(self._options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = W, H, self._format
        self._stream.metadata["alpha_mode"] = "1"


def cut_out(image: np.ndarray, objects: Objects) -> np.ndarray:
    """uint8 RGBA [H, W, 4]; black far from every object: nothing of the background is in the file."""
    opacity = np.zeros(image.shape[:2], np.uint8)
    for _, mask in objects:
        opacity |= decode_mask(mask) * np.uint8(255)
    near = cv2.dilate(opacity, np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8))
    return np.dstack([np.where(near[..., None] > 0, image, 0).astype(np.uint8), opacity])


def require_encoder(kind: str) -> None:
    encoder = VIDEO_KINDS[kind][1]
    if encoder not in av.codecs_available:
        raise UserError(
            f"{kind} needs the encoder {encoder}, which this PyAV does not have: install PyAV from its wheel "
            "(pip install av), or write cutouts, a PNG for each object and frame"
        )


def _even(image: np.ndarray) -> np.ndarray:
    """The last row or column twice where a side is odd, which some pixel formats do not take."""
    H, W = image.shape[:2]
    return np.ascontiguousarray(np.pad(image, ((0, H % 2), (0, W % 2), (0, 0)), mode="edge"))
