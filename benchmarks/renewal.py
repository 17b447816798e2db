"""Does an online network see better when its queries begin anew after some frames, and nothing is carried for long?

    mindvideo prepare synthetic --output DATA/synthetic_easy --train 1 --valid 10 --long 12 --seed 60
    python -m benchmarks.renewal instanceformer_toy=RUN/last.ckpt --data DATA --sets stay late late200 --max-videos 12

For InstanceFormer and VidEoMT. Tracks go on by what their masks show (`inference/trackers/lives.py`) in any case.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.long_models import LongVideo, arguments, figures_of, loaded, long_videos
from benchmarks.rows import append_rows
from mindvideo.inference.trackers.any_length import AnyLengthTracker
from mindvideo.inference.trackers.lives import Observation

FRAMES = (0, 5)  # after which every query begins anew; 0: never


class RenewingStep:
    """The step of an AnyLengthTracker whose queries begin anew after so many frames."""

    def __init__(self, step: Any, frames: int) -> None:
        self.step, self.frames = step, frames
        self.renewed, self.padded_size = step.renewed, step.padded_size

    def initial_state(self) -> Any:
        self.seen = 0
        return self.step.initial_state()

    def observe(self, image: Tensor, state: Any) -> tuple[Observation, Any]:
        observation, state = self.step.observe(image, state)
        self.seen += 1
        if self.frames and self.seen % self.frames == 0:
            state = self.step.renewed(state, np.ones(len(observation.probabilities), bool))
        return observation, state


def records_of(tracker: AnyLengthTracker, video: LongVideo) -> list[dict]:
    tracker.begin(size=video.frames[0].shape[:2], num_frames=len(video.frames), video_id=video.entry["id"])
    for frame in video.frames:
        tracker.feed(frame)
    return tracker.finish().to_results()


def main() -> None:
    given = arguments(__doc__)
    name, _, tracker = loaded(given.model, given.data)
    for which in given.sets:
        videos = list(long_videos(given.data, which, given.max_videos))
        for frames in FRAMES:
            follower = tracker.of_any_length()
            follower.step = RenewingStep(follower.step, frames)
            results = ((video, records_of(follower, video)) for video in videos)
            row = {"config": name, "set": which, "anew after": frames, **figures_of(given.data, which, results)}
            print(row, flush=True)
            if given.csv:
                append_rows(given.csv, [row])


if __name__ == "__main__":
    main()
