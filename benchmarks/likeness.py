"""Why two frames show the same track: the parts of the likeness of `inference/trackers/lives.py`, one by one.

    mindvideo prepare synthetic --output DATA/synthetic_easy --train 1 --valid 10 --long 25 --seed 60
    python -m benchmarks.likeness gmpvis_toy=runs/gm/last.ckpt --data DATA

Every video goes through the network once, then the tracks are followed in each way; an online network begins its
queries anew as the first way says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.long_models import LongVideo, arguments, figures_of, loaded, long_videos
from benchmarks.rows import append_rows
from mindvideo.inference.trackers.colours import COARSE, FINE
from mindvideo.inference.trackers.lives import LifeRules, Observation, TrackLives
from mindvideo.inference.trackers.living_tracks import LivingTracks


@dataclasses.dataclass(frozen=True)
class Way:
    """``parts``: attributes of TrackLives; ``coarse``: colours at the resolution of the masks."""

    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rules: LifeRules = dataclasses.field(default_factory=LifeRules)
    coarse: bool = False


NO_COLOURS = {"OVERLAP": 0.8, "KIND": 0.2, "LOOK": 0.0, "KIND_AFTER_GAP": 1.0, "LOOK_AFTER_GAP": 0.0}
WAYS = {
    "as it is": Way(),
    "colours at the masks' resolution": Way(coarse=True),
    "overlap counts as much as colours": Way(
        {"OVERLAP": 0.45, "KIND": 0.1, "LOOK": 0.45}, LifeRules(min_likeness=0.5, min_return=0.6)
    ),
    "no colours": Way(NO_COLOURS, LifeRules(min_likeness=0.4, min_return=0.6)),
    "colours in eight steps only": Way({"COLOUR_STEPS": (COARSE,)}),
    "colours in sixteen steps only": Way({"COLOUR_STEPS": (FINE,)}),
    "vague masks teach colours as firm ones do": Way({"FIRM_COLOURS": 0}),
    "gaps of 60 frames at most": Way(rules=LifeRules(max_gap=60)),
    "no overlap": Way({"OVERLAP": 0.0, "KIND": 0.1, "LOOK": 0.9}),
}


class FrameSeen(NamedTuple):
    """The arguments of LivingTracks.follow."""

    observation: Observation
    picture: np.ndarray
    options: dict[str, Any]


def frames_seen(tracker: Any, video: LongVideo) -> list[FrameSeen]:
    """Of each frame what the network says and the picture."""
    follower = tracker.of_any_length()
    follower.begin(size=video.frames[0].shape[:2], num_frames=len(video.frames), video_id=video.entry["id"])
    follow, seen = follower.tracks.follow, []

    def remembered(observation: Observation, picture: np.ndarray, **options: Any) -> Any:
        seen.append(FrameSeen(observation, picture, options))
        return follow(observation, picture, **options)

    follower.tracks.follow = remembered
    for frame in video.frames:
        follower.feed(frame)
    follower.finish()
    return seen


def records_of(seen: list[FrameSeen], video: LongVideo, way: Way) -> list[dict]:
    tracks = LivingTracks(way.rules, size=video.frames[0].shape[:2], video_id=video.entry["id"])
    tracks.lives = type("Lives", (TrackLives,), dict(way.parts))(way.rules)
    for observation, picture, options in seen:
        if way.coarse:
            picture = cv2.resize(picture, observation.mask_logits.shape[:0:-1], interpolation=cv2.INTER_AREA)
        tracks.follow(observation, picture, **options)
    return tracks.result().to_results()


def main() -> None:
    given = arguments(__doc__)
    name, _, tracker = loaded(given.model, given.data)
    for which in given.sets:
        videos = list(long_videos(given.data, which, given.max_videos))
        seen = [frames_seen(tracker, video) for video in videos]
        for way, how in WAYS.items():
            results = ((video, records_of(frames, video, how)) for video, frames in zip(videos, seen))
            row = {"config": name, "set": which, "likeness": way, **figures_of(given.data, which, results)}
            print(row, flush=True)
            if given.csv:
                append_rows(given.csv, [row])


if __name__ == "__main__":
    main()
