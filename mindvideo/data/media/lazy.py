"""The frames of a clip, decoded and transformed only when their pixels are asked for.

Transforms note down what is to be done. Then each frame goes through the whole chain by itself: a clip of 36 frames
never lies in memory at full size, and of every step only the part is computed that later crops leave over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mindvideo.data.media.resize import Region, resize_part, source_region
from mindvideo.data.media.warp import turned_picture
from mindvideo.structures.picture_size import picture_size

# uint8 [H, W, 3] -> the same shape. It is given any part of a frame, mirrored views too.
PixelChange = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Left becomes right."""


@dataclasses.dataclass(frozen=True)
class Resize:
    """Bilinear with antialiasing, as Pillow does it."""

    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Crop:
    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Turn:
    """About the middle; what comes into view has the frame's mean colour."""

    degrees: float


Step = Mirror | Resize | Crop | Turn | PixelChange


def size_after(step: Step, size: tuple[int, int]) -> tuple[int, int]:
    return (step.height, step.width) if isinstance(step, (Resize, Crop)) else size


def needed_region(step: Step, size: tuple[int, int], wanted: Region) -> Region:
    """The part of a step's input, which has ``size``, from which it makes the part ``wanted`` of its output."""
    if isinstance(step, Crop):
        return wanted.moved(step.top, step.left)
    if isinstance(step, Mirror):
        return Region(wanted.top, wanted.bottom, size[1] - wanted.right, size[1] - wanted.left)
    if isinstance(step, Resize):
        return source_region(size, (step.height, step.width), wanted)
    if isinstance(step, Turn):
        return Region(0, size[0], 0, size[1])
    return wanted


def run_chain(frame: np.ndarray, steps: Sequence[Step], result: np.ndarray) -> None:
    """Write the frame [H, W, 3] after all steps to ``result``; only the pixels that it shows are computed."""
    sizes = [picture_size(frame)]
    for step in steps:
        sizes.append(size_after(step, sizes[-1]))
    regions = [Region(0, sizes[-1][0], 0, sizes[-1][1])]
    for step, size in zip(reversed(steps), reversed(sizes[:-1])):
        regions.append(needed_region(step, size, regions[-1]))
    regions.reverse()
    frame = regions[0].of(frame)
    for number, (step, size, given, wanted) in enumerate(zip(steps, sizes, regions, regions[1:]), start=1):
        if isinstance(step, Mirror):
            frame = frame[:, ::-1]
        elif isinstance(step, Resize):
            place = result if number == len(steps) else None
            frame = resize_part(_upright(frame), size, given, (step.height, step.width), wanted, place)
        elif isinstance(step, Turn):
            frame = wanted.of(turned_picture(_upright(frame), step.degrees))
        elif not isinstance(step, Crop):  # a crop is done by the regions
            frame = step(frame)
    if frame is not result:
        result[:] = frame


def _upright(frame: np.ndarray) -> np.ndarray:
    """The same pixels, left to right in memory as well. OpenCV mirrors faster than NumPy copies a mirrored view."""
    return cv2.flip(frame[:, ::-1], 1) if frame.strides[1] < 0 else frame


class ClipFrames:
    """T frames of one size. ``loaders`` [T] give uint8 [H, W, 3]; equal loaders are called once."""

    def __init__(self, loaders: Sequence[Callable[[], np.ndarray]], size: tuple[int, int]) -> None:
        self._chains: list[tuple[Callable[[], np.ndarray], list[Step]]] = [(loader, []) for loader in loaders]
        self.size = size
        self._pixels: np.ndarray | None = None

    @classmethod
    def of_pixels(cls, pixels: np.ndarray) -> ClipFrames:
        """Frames that are in memory already, uint8 [T, H, W, 3]."""
        return cls([_InMemory(frame) for frame in pixels], (pixels.shape[1], pixels.shape[2]))

    def __len__(self) -> int:
        return len(self._chains)

    def mirror(self) -> None:
        self._add([Mirror()] * len(self))

    def resize(self, height: int, width: int) -> None:
        if (height, width) != self.size:
            self._add([Resize(height, width)] * len(self))

    def crop(self, top: int, left: int, height: int, width: int) -> None:
        self._add([Crop(top, left, height, width)] * len(self))

    def turn(self, degrees: float) -> None:
        self._add([Turn(degrees)] * len(self))

    def change_pixels(self, changes: Sequence[PixelChange]) -> None:
        """One change for each frame [T]."""
        self._add(changes)

    def reverse(self) -> None:
        """Last frame first."""
        self._chains.reverse()
        self._pixels = None

    def _add(self, steps: Sequence[Step]) -> None:
        for (_, chain), step in zip(self._chains, steps, strict=True):
            chain.append(step)
        self.size = size_after(steps[0], self.size)
        self._pixels = None

    def pixels(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        if self._pixels is None:
            pixels = np.empty((len(self), *self.size, 3), np.uint8)
            users: dict[Callable[[], np.ndarray], list[int]] = {}
            for t, (loader, _) in enumerate(self._chains):
                users.setdefault(loader, []).append(t)
            for loader, positions in users.items():
                frame = loader()
                for t in positions:
                    run_chain(frame, self._chains[t][1], pixels[t])
            self._pixels = pixels
        return self._pixels


class _InMemory:
    """A loader of a frame that is in memory; two of them are equal only if they are one object."""

    def __init__(self, frame: np.ndarray) -> None:
        self._frame = frame

    def __call__(self) -> np.ndarray:
        return self._frame
