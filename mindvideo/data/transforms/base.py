"""A transform draws its parameters first and then applies them; recorded parameters give exactly the recorded clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mindvideo.data.transforms.sample import ClipSample


class Transform(Protocol):
    """``draw`` uses only the generator and the frame size, so a draw can be replayed or planned without pixels."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> Any:
        """Parameters for frames of ``size`` (H, W). Says whether it draws once per clip or once per frame."""

    def output_size(self, size: tuple[int, int], parameters: Any) -> tuple[int, int]:
        """(H, W) of the frames after ``apply``."""

    def apply(self, clip: ClipSample, parameters: Any) -> ClipSample:
        """The transformed clip; the given one may be changed in place."""


class SameSize:
    """Base of the transforms that keep the frame size."""

    def output_size(self, size: tuple[int, int], parameters: Any) -> tuple[int, int]:
        return size


class Compose:
    """One transform after the other. Parameters: the list of theirs."""

    def __init__(self, *, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> list[Any]:
        drawn = []
        for transform in self.transforms:
            parameters = transform.draw(rng, size, num_frames)
            size = transform.output_size(size, parameters)
            drawn.append(parameters)
        return drawn

    def output_size(self, size: tuple[int, int], parameters: list[Any]) -> tuple[int, int]:
        for transform, chosen in zip(self.transforms, parameters):
            size = transform.output_size(size, chosen)
        return size

    def apply(self, clip: ClipSample, parameters: list[Any]) -> ClipSample:
        for transform, chosen in zip(self.transforms, parameters):
            clip = transform.apply(clip, chosen)
        return clip


class OneOf:
    """One of several transforms, drawn once per clip with equal odds. Parameters: (which, its parameters)."""

    def __init__(self, *, choices: Sequence[Transform]) -> None:
        self.choices = list(choices)

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> tuple[int, Any]:
        which = int(rng.integers(len(self.choices)))
        return which, self.choices[which].draw(rng, size, num_frames)

    def output_size(self, size: tuple[int, int], parameters: tuple[int, Any]) -> tuple[int, int]:
        which, chosen = parameters
        return self.choices[which].output_size(size, chosen)

    def apply(self, clip: ClipSample, parameters: tuple[int, Any]) -> ClipSample:
        which, chosen = parameters
        return self.choices[which].apply(clip, chosen)
