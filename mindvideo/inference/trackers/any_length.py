"""The tracker of online networks for videos of any length, in which objects come and go.

The published procedures fix their tracks by the first frames or by the whole video. Here a query becomes a track in the
frame in which it is sure, see :class:`~mindvideo.inference.trackers.lives.TrackLives`, and a query that shows nothing
begins anew in the next frame: what it carries was never trained to last for long, and fresh queries find what enters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from mindspore import Tensor

from mindvideo.inference.scoring.clip_prediction import crop_to_valid, require_finite
from mindvideo.inference.trackers.lives import LifeRules, Observation, small_picture
from mindvideo.inference.trackers.living_tracks import LivingTracks
from mindvideo.structures import VideoInstances
from mindvideo.structures.picture_size import picture_size


class RenewableStep(Protocol):
    """One frame through an online network whose queries can begin anew one by one.

    A state is a NamedTuple of the family's own.
    """

    def initial_state(self) -> Any: ...

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The height and width that the masks of a frame of that size cover: its own, or more where it is padded."""

    def observe(self, image: Tensor, state: Any) -> tuple[Observation, Any]:
        """``image`` uint8 [H, W, 3], as the network is to see it."""

    def renewed(self, state: Any, queries: np.ndarray) -> Any:
        """The state with ``queries``, bool [Q], as they are before the first frame of a video."""


class AnyLengthTracker:
    """A :class:`VideoTracker` over a :class:`RenewableStep`.

    Every frame is final at once. ``resize`` gives a frame the size in which the network is to see it.
    """

    observer = None

    def __init__(self, *, step: RenewableStep, resize: Callable[[np.ndarray], np.ndarray], rules: LifeRules) -> None:
        self.step, self.resize, self.rules = step, resize, rules

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:  # noqa: ARG002
        self.state = self.step.initial_state()
        self.tracks = LivingTracks(self.rules, size=size, video_id=video_id)

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        if frame.shape[:2] != tuple(self.tracks.size):
            raise ValueError(
                f"AnyLengthTracker: the video began with frames of {self.tracks.size}, got {frame.shape[:2]}"
            )
        image = np.ascontiguousarray(self.resize(frame))
        seen, state = self.step.observe(Tensor(image), self.state)
        require_finite(seen.probabilities)
        valid = picture_size(image)
        padded = self.step.padded_size(valid)
        picture = small_picture(_padded(image, padded))
        shown, idle = self.tracks.follow(
            seen, picture, crop=lambda logits: _cropped(logits, padded=padded, valid=valid)
        )
        self.state = self.step.renewed(state, idle) if idle.any() else state
        return [shown]

    def finish(self) -> VideoInstances:
        return self.tracks.result()


def _cropped(logits: np.ndarray, *, padded: tuple[int, int], valid: tuple[int, int]) -> np.ndarray:
    return logits if padded == valid else crop_to_valid(logits, padded=padded, valid=valid)


def _padded(image: np.ndarray, padded: tuple[int, int]) -> np.ndarray:
    """The frame uint8 [H, W, 3], padded as its masks are."""
    (H, W), (height, width) = padded, image.shape[:2]
    return np.pad(image, ((0, H - height), (0, W - width), (0, 0))) if (H, W) != (height, width) else image
