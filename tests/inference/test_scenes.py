"""Cuts: found between made-up scenes and nowhere in them; tracks end there, with any tracker inside."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly import for_videos
from mindvideo.data.synthetic.videos import RECIPES, longer, render_video
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.predictor import ArrayFrames, Predictor
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.scenes import CutDetector, SceneTracker
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.inference.video_run import run_video
from tests.inference.colored_videos import ColorClipNetwork, ColorTracker, make_frame

SIZE = (24, 32)


def cuts_of(frames) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.is_cut(frame)]


def scenes(name: str, count: int, seed: int) -> list[np.ndarray]:
    recipe = longer(RECIPES[name], 20)
    return [render_video(recipe, seed=seed, split="test", index=index).frames for index in range(count)]


@pytest.mark.parametrize("name", ["easy", "hard"])
def test_cuts_between_made_up_scenes_and_no_others_are_found(name):
    shots = scenes(name, 4, seed=11)
    assert cuts_of(np.concatenate(shots)) == [20, 40, 60]


@pytest.mark.parametrize("change", [0, 25])
def test_plain_frames_and_a_change_of_light_are_no_cut(change):
    frames = [np.full((*SIZE, 3), 100 + (change if index > 3 else 0), np.uint8) for index in range(8)]
    assert cuts_of(frames) == []


def bright(frame: np.ndarray) -> np.ndarray:
    """The same discs in front of another place: no disc's colour is changed."""
    seen = np.abs(frame.astype(int) - 90).max(axis=-1) > 10
    return np.where(seen[:, :, None], frame, np.uint8(235))


def spliced(*lengths: int) -> list[np.ndarray]:
    """Scenes in turn before a grey and a bright background; the discs go on through the cut."""
    frames, index = [], 0
    for number, length in enumerate(lengths):
        for _ in range(length):
            frames.append(bright(make_frame(index, SIZE)) if number % 2 else make_frame(index, SIZE))
            index += 1
    return frames


def run(tracker, frames):
    tracker.begin(size=SIZE, num_frames=len(frames), video_id=7)
    shown = [result for frame in frames for result in tracker.feed(frame)]
    return shown, tracker.finish()


def windows() -> WindowTracker:
    return WindowTracker(runner=ColorClipNetwork(), num_frames=4, prepare=lambda frame: frame, rule=VoteByFrame())


@pytest.mark.parametrize("inner", [ColorTracker, lambda: ColorTracker(delay=3), windows])
def test_tracks_end_at_a_cut_and_begin_anew(inner):
    tracker = SceneTracker(inner())
    shown, video = run(tracker, spliced(6, 5, 7))
    assert tracker.cuts == [6, 11]
    assert len(video) == 9 and len(set(video.track_ids.tolist())) == 9 and video.num_frames == 18
    extents = sorted(
        (there[0], there[-1])
        for there in ([place for place, mask in enumerate(masks) if mask is not None] for masks in video.segmentations)
    )
    assert extents == sorted([(0, 5), (6, 10), (11, 17)] * 3)
    ids_of_frames = [set(result.track_ids.tolist()) for result in shown]
    assert len(set.union(*ids_of_frames[:6])) == 3 and not ids_of_frames[5] & ids_of_frames[6]
    final = {int(track): masks for track, masks in zip(video.track_ids, video.segmentations)}
    for place, result in enumerate(shown):  # what was shown of a frame is what the result says of it
        for track, (mask,) in zip(result.track_ids.tolist(), result.segmentations):
            assert final[track][place] == mask


def test_a_video_without_a_cut_is_as_the_inner_tracker_gives_it():
    frames = spliced(9)
    (shown, video), (alone, expected) = run(SceneTracker(windows()), frames), run(windows(), frames)
    assert [each.track_ids.tolist() for each in shown] == [each.track_ids.tolist() for each in alone]
    assert video.segmentations == expected.segmentations and video.scores.tolist() == expected.scores.tolist()


def test_a_cut_in_every_frame_keeps_a_bounded_number_of_tracks():
    tracker = SceneTracker(ColorTracker())
    _, video = run(tracker, spliced(*[1] * 60))
    assert len(tracker.cuts) == 59 and video.num_frames == 60
    assert len(video) <= MAX_ENDED_TRACKS + 3


def test_the_record_of_a_video_says_where_its_scenes_begin(tmp_path):
    predictor = Predictor(tracker=SceneTracker(ColorTracker()))
    reader = ArrayFrames(spliced(4, 3), name="film")
    report, result = run_video(
        predictor,
        reader,
        folder=tmp_path / "film",
        video_id=1,
        choice=OutputChoice(write=()),
        stop=threading.Event(),
    )
    assert report.cuts == [4] and len(result) == 6


@pytest.mark.parametrize(
    ("wanted", "evaluated", "expected"),
    [("videos", False, True), ("videos", True, False), ("everywhere", True, True), ("nowhere", False, False)],
)
def test_one_key_says_where_cuts_are_looked_for(wanted, evaluated, expected):
    cfg = load_config("vistr_toy", [f"inference.scene_cuts={wanted}"])
    tracker = for_videos(cfg, ColorTracker(), evaluated=evaluated)
    assert isinstance(tracker, SceneTracker) == expected
