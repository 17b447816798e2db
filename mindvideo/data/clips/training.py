"""Samples ready for training: a source of clips, its transforms, and another sample where one cannot be used."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np

from mindvideo.data.clips.source import ClipSource
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.transforms.base import Transform
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError

MAX_ATTEMPTS = 100  # other samples tried before a set is called unusable


class TrainingClips:
    """Transformed clips of one source.

    A clip left with fewer than ``min_instances`` or more than ``max_instances`` (None: any number) instances, and,
    unless ``strict``, one with a broken frame, is replaced by another sample of the source, drawn from the sample's
    own generator. Broken frames are reported, one line each.
    """

    def __init__(
        self,
        *,
        source: ClipSource,
        transform: Transform,
        min_instances: int = 0,
        max_instances: int | None = None,
        strict: bool = False,
    ) -> None:
        self.source = source
        self.transform = transform
        self.min_instances = min_instances
        self.max_instances = max_instances
        self.strict = strict

    def __len__(self) -> int:
        return len(self.source)

    def frame_size(self, index: int) -> tuple[int, int]:
        return self.source.frame_size(index)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[ClipSample, list[str]]:
        """(clip, lines about frames that could not be read)."""
        broken: list[str] = []
        for _ in range(MAX_ATTEMPTS):
            try:
                clip = self.source.clip(index, rng)
                clip = self.transform.apply(clip, self.transform.draw(rng, clip.size, clip.num_frames))
                if self._is_usable(clip):
                    clip.frames.pixels()
                    return clip, broken
            except BrokenFrameError as error:
                if self.strict:
                    raise UserError(f"{error} (data.strict is on)") from error
                broken.append(str(error))
            index = int(rng.integers(len(self.source)))
        reasons = f"; unreadable frames, the last: {broken[-1]}" if broken else "; no instance survives the transforms"
        raise UserError(f"none of {MAX_ATTEMPTS} samples in a row can be used{reasons}")

    def _is_usable(self, clip: ClipSample) -> bool:
        limit = clip.num_instances if self.max_instances is None else self.max_instances
        return self.min_instances <= clip.num_instances <= limit


class JointClips:
    """Several sets as one, each with its own transforms; every sample of every set once an epoch."""

    def __init__(self, *, parts: Sequence[TrainingClips]) -> None:
        self.parts = list(parts)
        self._ends = list(itertools.accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[TrainingClips, int]:
        position = bisect.bisect_right(self._ends, index)
        return self.parts[position], index - (self._ends[position] - len(self.parts[position]))

    def frame_size(self, index: int) -> tuple[int, int]:
        part, index = self.locate(index)
        return part.frame_size(index)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[ClipSample, list[str]]:
        part, index = self.locate(index)
        return part.sample(index, rng)
