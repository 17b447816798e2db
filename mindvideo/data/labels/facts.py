"""Facts of labelled videos that a configuration has to know: sizes, lengths, classes, numbers of objects."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from mindvideo.data.labels.videos import VideoAnnotations
from mindvideo.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetFacts:
    """Of one or several sets together.

    ``sizes``: (H, W) of their videos, the most frequent first. ``lengths``: frames of each labelled video.
    ``max_objects``: most tracks of one video, crowds left out. ``class_names``: by category id, as listed.
    """

    sizes: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...]
    max_objects: int
    class_names: dict[int, str]

    @property
    def num_frames(self) -> int:
        return sum(self.lengths)


def set_facts(sets: Sequence[VideoAnnotations]) -> SetFacts:
    """Videos without a track do not count: no clip is made of them."""
    videos = [video for each in sets for video in each.videos if video.tracks]
    if not videos:
        raise UserError("no video of the training sets has a label, so there is nothing to learn from")
    objects = [sum(not track.is_crowd for track in video.tracks) for video in videos]
    sizes = Counter((video.height, video.width) for video in videos)
    names = {number: name for each in sets for number, name in each.category_names.items()}
    used = {track.category_id for video in videos for track in video.tracks}
    return SetFacts(
        sizes=tuple(size for size, _ in sizes.most_common()),
        lengths=tuple(video.length for video in videos),
        max_objects=max(1, *objects),
        class_names={number: names.get(number, f"class {number}") for number in sorted({*names, *used})},
    )
