"""A video with its tracks, as every writer takes it: of labels, or of a model's results."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """One object. ``masks``: by the place of the frame in the video; none is empty. ``score``: None for labels."""

    id: int
    category_id: int
    category: str
    masks: Mapping[int, Segmentation]
    score: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedVideo:
    """T frames of one size (H, W), and the tracks in them.

    ``numbers``: of each frame in the video it was taken from (0, 1, ... unless some were left out). ``file_names``: the
    picture of each, or ``clip.mp4#12``.
    """

    name: str
    size: tuple[int, int]
    numbers: Sequence[int]
    file_names: Sequence[str]
    tracks: Sequence[Track]
    frames_per_second: float = 10.0

    def __post_init__(self) -> None:
        if len(self.numbers) != len(self.file_names):
            raise ValueError(f"{self.name}: {len(self.numbers)} frame numbers for {len(self.file_names)} names")

    @property
    def num_frames(self) -> int:
        return len(self.numbers)

    def at(self, place: int) -> list[tuple[Track, Segmentation]]:
        """The tracks with a mask in a frame, and that mask."""
        return [(track, track.masks[place]) for track in self.tracks if place in track.masks]


def masks_by_place(
    segmentations: Sequence[Segmentation | None], *, only: Collection[int] | None = None
) -> dict[int, Segmentation]:
    """The masks that have a pixel, of all places or of those in ``only``."""
    return {
        place: mask
        for place, mask in enumerate(segmentations)
        if mask is not None and (only is None or place in only) and has_pixels(mask)
    }


def runs_of_places(places: Collection[int]) -> list[tuple[int, int]]:
    """Frames that follow each other without a gap: the first and the last place of each run."""
    runs: list[tuple[int, int]] = []
    for place in sorted(places):
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def categories_of(videos: Sequence[TrackedVideo], names: Mapping[int, str] | None = None) -> dict[int, str]:
    """Name by id: those of ``names`` and those that the tracks have."""
    met = {track.category_id: track.category for video in videos for track in video.tracks}
    return dict(sorted({**(names or {}), **met}.items()))
