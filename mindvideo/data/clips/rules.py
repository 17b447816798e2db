"""Rules that choose the frames of a video for the clip of a sample. Frame numbers start at 0."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class ClipRule(Protocol):
    """A rule draws once per clip."""

    num_frames: int

    def frames(self, key_frame: int, length: int, rng: np.random.Generator) -> list[int]:
        """T frame numbers for the sample that stands for ``key_frame`` of a video of ``length`` frames."""


class CircularWindow:
    """The T frames that end at the key frame, going round the video where it is too short. Draws nothing."""

    def __init__(self, *, num_frames: int) -> None:
        self.num_frames = num_frames

    def frames(self, key_frame: int, length: int, rng: np.random.Generator) -> list[int]:
        return [(key_frame - back % length) % length for back in range(self.num_frames - 1, -1, -1)]


class ReferenceFrames:
    """The key frame, a frame up to ``reach`` before and one up to ``reach`` after it, the rest from further away.

    ``repeat_last``: the pool of further frames includes the later reference frame itself, which can so be drawn twice.
    """

    def __init__(self, *, num_frames: int, reach: int = 3, repeat_last: bool = False) -> None:
        self.num_frames = num_frames
        self.reach = reach
        # PARITY(instanceformer, seqformer): off by one in the published code; true reproduces it.
        self.repeat_last = repeat_last

    def frames(self, key_frame: int, length: int, rng: np.random.Generator) -> list[int]:
        before, after = (int(step) for step in rng.integers(1, self.reach + 1, size=2))
        near = self.near_frames(key_frame, length, before, after)
        missing = self.num_frames - len(near)
        if missing <= 0:
            return sorted(near)[: self.num_frames]
        pool = self.far_pool(near, length)
        if len(pool) <= missing:
            pool = list(range(length))
        further = [pool[position] for position in _draw_without_repeats(len(pool), missing, rng)]
        return sorted(near + further)

    def near_frames(self, key_frame: int, length: int, before: int, after: int) -> list[int]:
        return [key_frame, max(0, key_frame - before), min(length - 1, key_frame + after)]

    def far_pool(self, near: list[int], length: int) -> list[int]:
        start = max(near) + (0 if self.repeat_last else 1)
        return [*range(0, min(near)), *range(start, length)]


class ConsecutiveFrames:
    """T frames in a row holding the key frame, the place drawn at random; the last frame repeats in a short video."""

    def __init__(self, *, num_frames: int) -> None:
        self.num_frames = num_frames

    def frames(self, key_frame: int, length: int, rng: np.random.Generator) -> list[int]:
        earliest = max(0, key_frame - self.num_frames + 1)
        latest = max(earliest, min(key_frame, length - self.num_frames))
        start = int(rng.integers(earliest, latest + 1))
        return [min(start + step, length - 1) for step in range(self.num_frames)]


class SeveralWindows:
    """Clips of a rule one after the other: the first for the key frame, each other one for any frame of the video."""

    def __init__(self, *, rule: ClipRule, windows: int) -> None:
        self.rule, self.windows = rule, windows
        self.num_frames = windows * rule.num_frames

    def frames(self, key_frame: int, length: int, rng: np.random.Generator) -> list[int]:
        frames = self.rule.frames(key_frame, length, rng)
        for _ in range(self.windows - 1):
            frames += self.rule.frames(int(rng.integers(length)), length, rng)
        return frames


def _draw_without_repeats(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """``wanted`` positions below ``count``; every position is drawn once before any comes again."""
    drawn: list[int] = []
    while len(drawn) < wanted:
        drawn += rng.permutation(count)[: wanted - len(drawn)].tolist()
    return drawn


CLIP_RULES: dict[str, type] = {
    "circular_window": CircularWindow,
    "reference_frames": ReferenceFrames,
    "consecutive": ConsecutiveFrames,
}


def clip_rule(name: str, *, num_frames: int, repeat_last: bool = False) -> ClipRule:
    """The rule of that name; only the reference frames use ``repeat_last``."""
    options = {"repeat_last": repeat_last} if name == "reference_frames" else {}
    return CLIP_RULES[name](num_frames=num_frames, **options)
