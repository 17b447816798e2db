"""Colour distortion, drawn anew for every frame of a clip.

Two implementations of one signature: the compiled one of ``custom_ops``, one pass over the pixels, and NumPy with
OpenCV. Where OpenCV uses vector instructions the levels are equal; the last pixels of a row, which it takes one by one,
may differ by a level where a value lies on the edge. ``MINDVIDEO_OPS=reference`` forces the second.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from mindvideo.data.transforms.base import SameSize
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.native_library import find_function

BRIGHTNESS_REACH = 32.0
FACTOR_RANGE = (0.5, 1.5)
HUE_REACH = 18.0
STRIP_PIXELS = 1 << 15
CHANNEL_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclasses.dataclass(frozen=True)
class FrameColours:
    """The changes of one frame; None leaves a step out. ``contrast_first``: before hue and saturation or after."""

    brightness: float | None = None
    contrast_first: bool = True
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    channels: int | None = None  # position in CHANNEL_ORDERS


class PhotometricDistortion(SameSize):
    """Brightness, contrast, saturation, hue and channel order, each for half of the frames. Draws once per frame.

    Parameters: [T] of FrameColours. ``wrap``: values beyond 0..255 wrap around as in the published training, instead
    of being clipped.
    """

    def __init__(self, *, wrap: bool = False) -> None:
        self.wrap = wrap

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> list[FrameColours]:
        return [self._draw_frame(rng) for _ in range(num_frames)]

    def _draw_frame(self, rng: np.random.Generator) -> FrameColours:
        wanted = rng.random(6) < 0.5
        brightness = rng.uniform(-BRIGHTNESS_REACH, BRIGHTNESS_REACH)
        contrast, saturation = rng.uniform(*FACTOR_RANGE, size=2)
        hue = rng.uniform(-HUE_REACH, HUE_REACH)
        order = int(rng.integers(len(CHANNEL_ORDERS)))
        return FrameColours(
            brightness=float(brightness) if wanted[0] else None,
            contrast_first=bool(wanted[1]),
            contrast=float(contrast) if wanted[2] else None,
            saturation=float(saturation) if wanted[3] else None,
            hue=float(hue) if wanted[4] else None,
            channels=order if wanted[5] else None,
        )

    def apply(self, clip: ClipSample, parameters: Sequence[FrameColours]) -> ClipSample:
        clip.frames.change_pixels([partial(distort, colours=colours, wrap=self.wrap) for colours in parameters])
        return clip


def distort(frame: np.ndarray, *, colours: FrameColours, wrap: bool) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> the same."""
    native = _native_distortion()
    if native is None:
        return _distort_by_strips(frame, colours, wrap)
    if frame.strides[1:] not in ((3, 1), (-3, 1)):
        frame = np.ascontiguousarray(frame)
    result = np.empty(frame.shape, np.uint8)
    contrast = 1.0 if colours.contrast is None else colours.contrast
    native(
        *(frame.ctypes.data, *frame.strides[:2], *frame.shape[:2]),
        0.0 if colours.brightness is None else colours.brightness,
        contrast if colours.contrast_first else 1.0,
        1.0 if colours.saturation is None else colours.saturation,
        0.0 if colours.hue is None else colours.hue,
        1.0 if colours.contrast_first else contrast,
        *(wrap, *CHANNEL_ORDERS[colours.channels or 0], result.ctypes.data),
    )
    return result


@functools.cache
def _native_distortion() -> Any:
    """The compiled function; None where it is not built or not wanted."""
    pointer, number, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    takes = [pointer, ctypes.c_int64, number, number, number, *[real] * 5, *[number] * 4, pointer]
    return find_function("mindvideo_distort_colours", takes=takes, returns=None)


def _distort_by_strips(frame: np.ndarray, colours: FrameColours, wrap: bool) -> np.ndarray:
    """The twin works strip by strip, so that the float values stay in the processor's cache."""
    result = np.empty(frame.shape, np.uint8)
    rows = max(1, STRIP_PIXELS // frame.shape[1])
    for top in range(0, frame.shape[0], rows):
        values = _distort_strip(frame[top : top + rows], colours)
        levels = values.astype(np.int32 if wrap else np.int16)  # cuts off the fraction
        # PARITY(vistr, instanceformer): the published code casts without clipping, so 256 becomes 0 (on x86).
        result[top : top + rows] = levels if wrap else np.clip(levels, 0, 255, out=levels)
    if colours.channels is None:
        return result
    order = CHANNEL_ORDERS[colours.channels]
    reordered = np.empty_like(result)
    cv2.mixChannels([result], [reordered], [order[0], 0, order[1], 1, order[2], 2])
    return reordered


def _distort_strip(strip: np.ndarray, colours: FrameColours) -> np.ndarray:
    """f32 [h, W, 3] before the cast and the change of channels."""
    values = strip.astype(np.float32)
    if colours.brightness is not None:
        values += np.float32(colours.brightness)
    if colours.contrast is not None and colours.contrast_first:
        values *= np.float32(colours.contrast)
    values = shift_hue(values, saturation=colours.saturation, hue=colours.hue)
    if colours.contrast is not None and not colours.contrast_first:
        values *= np.float32(colours.contrast)
    return values


def shift_hue(values: np.ndarray, *, saturation: float | None, hue: float | None) -> np.ndarray:
    """Scale saturation and turn hue (degrees) of f32 [H, W, 3] in 0..255.

    The round trip through HSV is made even with nothing to change: it rounds, and the cast to uint8 sees that.
    """
    # PARITY(vistr, instanceformer): RGB is handed over as BGR.
    colours = to_hue(values)
    if saturation is not None:
        colours[..., 1] *= np.float32(saturation)
    if hue is not None:
        turned = cv2.extractChannel(colours, 0)
        turned += np.float32(hue)
        # Hues come as 0..360, so a turn leaves that range on one side only.
        if hue > 0:
            turned -= (turned > 360.0) * np.float32(360.0)
        else:
            turned += (turned < 0.0) * np.float32(360.0)
        cv2.insertChannel(turned, colours, 0)
    return cv2.cvtColor(colours, cv2.COLOR_HSV2BGR)


def to_hue(values: np.ndarray) -> np.ndarray:
    """f32 [H, W, 3] -> hue in degrees, saturation, value."""
    return cv2.cvtColor(values, cv2.COLOR_BGR2HSV)
