"""Frames of any video, read lazily: picture files, video files, cameras and standard input. RGB uint8 always.

Every reader is an iterator over :class:`~mindvideo.structures.Frame` that holds one frame at a time. A frame that
cannot be read does not end the video: it is reported, and the last good frame stands in for it, so that frame numbers
keep their meaning.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator

from mindvideo.errors import UserError
from mindvideo.structures import Frame

DEFAULT_FRAMES_PER_SECOND = 10.0


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
    def parse(cls, string: str) -> FrameSelection:
        """``"10:100:2"``, any part may be empty, as in a Python slice."""
        parts = string.split(":")
        try:
            start, stop, step = ((int(part) if part.strip() else None) for part in (*parts, "", "")[:3])
        except ValueError:
            parts = []
        if not 2 <= len(parts) <= 3:
            raise UserError(f"frames '{string}': expected START:STOP or START:STOP:STEP, for instance 0:300:2")
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
        """Release the file or device; closing twice does no harm."""

    def interrupt(self) -> None:  # noqa: B027  (most readers never wait for anybody)
        """Make ``decode`` come to its end though it waits for data; called from another thread."""

    def frames(self, on_problem: Callable[[str], None] = fail_on_problem) -> Iterator[Frame]:
        """The selected frames. The last good frame stands in for a broken one, of which ``on_problem`` is told."""
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
            raise UserError(size_message(frame.source, frame.size, self.size))

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def size_message(source: str, size: tuple[int, int], expected: tuple[int, int]) -> str:
    return (
        f"{source}: {size[1]}x{size[0]} pixels, but the video began with {expected[1]}x{expected[0]}; "
        "the frames of a video must have one size: split it, or scale the frames"
    )


def nothing_selected(name: str, selection: FrameSelection, total: int) -> str:
    stop = "" if selection.stop is None else selection.stop
    return f"{name}: {total} frames, of which {selection.start}:{stop}:{selection.step} selects none"
