"""Tracks that are born, followed, lost and found again, on made-up predictions; the tracker over them, its memory."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor

from mindvideo import load_config
from mindvideo.assembly import for_videos
from mindvideo.inference.scoring.track_evidence import TrackEvidence
from mindvideo.inference.trackers.any_length import AnyLengthTracker
from mindvideo.inference.trackers.lives import LifeRules, Observation, TrackLives, firmness
from mindvideo.inference.trackers.scenes import SceneTracker
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS
from mindvideo.masks.rle import has_pixels
from mindvideo.models.cards.lives import life_rules

Q, K, SIDE = 4, 3, 16
SIZE = (32, 32)
LOOKS = [(255 * (n & 1), 127 * (n & 2), 63 * (n & 4)) for n in range(8)]  # colours
ALIKE = 8, 9  # two that differ by less than a coarse step
LOOKS += [(195, 100, 40), (215, 100, 40)]


class Seen(NamedTuple):
    """A query's show in a frame: how sure, which category, whose look, and where (left, top) with which side."""

    sure: float
    label: int = 1
    look: int = 0
    at: tuple[int, int] = (2, 2)
    side: int = 5


def observation(shown: dict[int, Seen]) -> Observation:
    """Queries that are left out show nothing."""
    probabilities = np.full((Q, K), 0.01, np.float32)
    masks = np.full((Q, SIDE, SIDE), -4.0, np.float32)
    for query, seen in shown.items():
        x, y = seen.at
        probabilities[query, seen.label] = seen.sure
        masks[query, max(y, 0) : y + seen.side, max(x, 0) : x + seen.side] = 4.0
    return Observation(probabilities, masks)


def picture(shown: dict[int, Seen]) -> np.ndarray:
    """The objects in their colours, the first query's nearest."""
    frame = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for seen in list(shown.values())[::-1]:
        x, y = seen.at
        frame[max(y, 0) : y + seen.side, max(x, 0) : x + seen.side] = LOOKS[seen.look]
    return frame


def follow(frames: list[dict[int, Seen]], **rules) -> list[dict[int, int]]:
    """For each frame query -> track id."""
    lives = TrackLives(LifeRules(**rules))
    return [
        {shown.query: shown.life.track_id for shown in lives.follow(observation(frame), picture(frame))[0]}
        for frame in frames
    ]


def test_a_query_becomes_a_track_in_the_frame_in_which_it_is_sure() -> None:
    frames = [{0: Seen(0.8)}, {0: Seen(0.8), 1: Seen(0.2, at=(10, 10))}, {0: Seen(0.7), 1: Seen(0.6, at=(10, 10))}]
    assert follow(frames) == [{0: 1}, {0: 1}, {0: 1, 1: 2}]


def test_a_track_goes_on_while_it_is_less_sure_and_ends_when_it_is_not() -> None:
    assert follow([{0: Seen(0.8)}, {0: Seen(0.15)}, {0: Seen(0.05)}, {}]) == [{0: 1}, {0: 1}, {}, {}]


def test_an_object_that_moves_keeps_its_track_also_from_query_to_query() -> None:
    frames = [{t % Q: Seen(0.8, at=(2 + t, 2))} for t in range(8)]
    assert [list(frame.values()) for frame in follow(frames)] == [[1]] * 8


def test_a_query_that_turns_to_another_object_is_a_new_track() -> None:
    other = Seen(0.8, label=2, look=1, at=(10, 10))
    assert follow([{0: Seen(0.8)}, {0: Seen(0.8)}, {0: other}, {0: other}]) == [{0: 1}, {0: 1}, {0: 2}, {0: 2}]


def test_what_comes_back_within_the_gap_is_itself_and_later_another_one() -> None:
    back = [{0: Seen(0.8)}] + [{}] * 5 + [{2: Seen(0.8, at=(6, 4))}]
    assert follow(back)[-1] == {2: 1}
    assert follow(back, max_gap=4)[-1] == {2: 2}
    assert follow([{0: Seen(0.8)}] + [{}] * 5 + [{2: Seen(0.8, label=2, look=1)}])[-1] == {2: 2}


def test_by_default_an_object_may_be_away_for_150_frames() -> None:
    rules = life_rules(load_config("instanceformer_toy"))
    assert rules == LifeRules()
    for frames_away, track in ((149, 1), (150, 2)):
        assert follow([{0: Seen(0.8)}, *[{}] * frames_away, {2: Seen(0.8)}], **vars(rules))[-1] == {2: track}


def test_what_comes_back_in_other_colours_is_another_one() -> None:
    gone = [{0: Seen(0.8)}] + [{}] * 5
    assert follow([*gone, {2: Seen(0.8, look=1, at=(3, 3))}])[-1] == {2: 2}
    assert follow([*gone, {2: Seen(0.8, at=(3, 3))}])[-1] == {2: 1}


@pytest.mark.parametrize("looks", [(0, 1), ALIKE])
def test_where_two_of_a_kind_meet_their_colours_tell_them_apart(looks: tuple[int, int]) -> None:
    """They have passed each other from one frame to the next, so that masks and queries say the opposite."""
    one, other = looks
    before = {0: Seen(0.8, look=one, at=(3, 5)), 1: Seen(0.8, look=other, at=(7, 5))}
    after = {0: Seen(0.8, look=other, at=(3, 5)), 1: Seen(0.8, look=one, at=(7, 5))}
    assert follow([before, before, after]) == [{0: 1, 1: 2}, {0: 1, 1: 2}, {1: 1, 0: 2}]


@pytest.mark.parametrize(("logit", "follows"), [(4.0, True), (0.5, False)])
def test_vague_masks_teach_nothing_about_colours(logit: float, follows: bool) -> None:
    """For 30 frames half of the mask lies on another object."""
    lives = TrackLives(LifeRules())
    alone = {0: Seen(0.8, look=0, at=(2, 2), side=6)}
    lives.follow(observation(alone), picture(alone))
    before = lives.alive[0].colours
    hidden = picture({1: Seen(0.8, look=1, at=(5, 2), side=6), **alone})
    seen = observation(alone)
    for _ in range(30):
        shown = lives.follow(seen._replace(mask_logits=np.where(seen.mask_logits > 0, logit, -4.0)), hidden).shown
        assert [each.life.track_id for each in shown] == [1]
    assert (np.abs(lives.alive[0].colours - before).max() > 0.1) == follows


def test_a_refused_pair_draws_no_query_to_another_track(monkeypatch) -> None:
    likeness = {"near": np.array([0.75, 0.65]), "far": np.array([0.72, 0.1])}
    monkeypatch.setattr(TrackLives, "_likeness", lambda self, life, frame: likeness[life])  # noqa: ARG005
    assert TrackLives(LifeRules())._assign(["near", "far"], [0, 1], None, 0.7) == [("near", 0, 0.75)]


def test_nothing_comes_back_from_the_other_end_of_the_picture_at_once() -> None:
    assert follow([{0: Seen(0.8, at=(0, 0), side=3)}, {}, {1: Seen(0.8, at=(13, 13), side=3)}])[-1] == {1: 2}


def test_two_queries_on_one_object_are_one_track() -> None:
    assert follow([{0: Seen(0.8), 1: Seen(0.9, side=6)}]) == [{1: 1}]
    assert follow([{0: Seen(0.8)}, {0: Seen(0.8), 1: Seen(0.9)}]) == [{0: 1}, {0: 1}]


def test_a_mask_that_leaks_onto_a_neighbour_does_not_take_its_place() -> None:
    first, second = Seen(0.8, look=0), Seen(0.8, label=2, look=1, at=(9, 2))
    leaking = Seen(0.9, at=(9, 2))
    tracks = follow([{0: first, 1: second}, {1: second, 0: leaking}, {0: first, 1: second}])  # the nearest first
    assert tracks == [{0: 1, 1: 2}, {1: 2}, {0: 1, 1: 2}]


def test_objects_that_cross_keep_their_tracks() -> None:
    """They pass each other, one before the other, which hides it for some frames; queries are dealt anew each frame."""
    rng = np.random.default_rng(0)
    frames = []
    for t in range(11):
        near, far = Seen(0.8, look=0, at=(t, 4)), Seen(0.7, label=2, look=1, at=(10 - t, 4))
        hidden = abs(near.at[0] - far.at[0]) < 3
        queries = rng.permutation(Q)
        frames.append({int(queries[0]): near} | ({} if hidden else {int(queries[1]): far}))
    tracks = follow(frames)
    for frame, shown in zip(frames, tracks):
        assert {shown[query]: seen.label for query, seen in frame.items()} == (
            {1: 1} if len(frame) == 1 else {1: 1, 2: 2}
        )


@pytest.mark.parametrize("frames", [[{}], [{}] * 5, [{0: Seen(0.9, side=1)}] * 3])
def test_nothing_to_see_is_no_track(frames: list[dict[int, Seen]]) -> None:
    assert follow(frames) == [{}] * len(frames)


def test_evidence_counts_sure_frames_more_and_doubts_the_young() -> None:
    evidence, scores = TrackEvidence(), []
    for _ in range(50):
        evidence.add(np.array([0.1, 0.64, 0.1]))
        evidence.add(np.array([0.05, 0.01, 0.05]))  # hidden
        scores.append(evidence.score_and_label())
    assert {label for _, label in scores} == {1}
    assert scores[0][0] < 0.5 and 0.7 < scores[-1][0] < 0.8 == pytest.approx(np.sqrt(0.64))
    assert [score for score, _ in scores] == sorted(score for score, _ in scores)


def test_a_mask_is_as_firm_as_its_border_is_sharp() -> None:
    side = np.arange(20.0) - 9.5  # distance from a border
    sharp, vague, nothing = (np.tile(-slope * side, (4, 1)).astype(np.float32) for slope in (9.0, 0.61, 0.0))
    found = firmness(np.stack([sharp, vague, nothing]))
    # Of the vague one 8 columns are above 1.5, and 12 above -1.5.
    assert found.tolist() == [1.0, pytest.approx(8 / 12), 0.0]


class State(NamedTuple):
    age: Tensor  # frames that each query has carried on, [Q]


class ScriptedStep:
    """Shows what is written for each frame; its state says for how long each query has not begun anew."""

    def __init__(self, frames: list[dict[int, Seen]]) -> None:
        self.frames, self.ages = frames, []

    def initial_state(self) -> State:
        self.next = 0
        return State(Tensor(np.zeros(Q, np.int32)))

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def observe(self, image: Tensor, state: State) -> tuple[Observation, State]:
        seen = observation(self.frames[self.next % len(self.frames)])
        self.next += 1
        self.ages.append(state.age.asnumpy().tolist())
        return seen, State(Tensor(state.age.asnumpy() + 1))

    def renewed(self, state: State, queries: np.ndarray) -> State:
        return State(Tensor(np.where(queries, 0, state.age.asnumpy()).astype(np.int32)))


def tracker(frames: list[dict[int, Seen]], **rules) -> AnyLengthTracker:
    pictures = itertools.cycle([picture(frame) for frame in frames])
    made = AnyLengthTracker(step=ScriptedStep(frames), resize=lambda frame: next(pictures), rules=LifeRules(**rules))
    made.begin(size=SIZE, num_frames=None, video_id="v")
    return made


PLAIN = np.zeros((*SIZE, 3), np.uint8)


def test_frames_are_final_at_once_and_agree_with_the_whole_result() -> None:
    late = Seen(0.9, label=2, look=1, at=(9, 9))
    frames = [{0: Seen(0.8)}, {0: Seen(0.8)}, {0: Seen(0.8), 3: late}, {3: late}, {}, {1: Seen(0.8), 3: late}]
    made = tracker(frames)
    shown = [made.feed(PLAIN) for _ in frames]
    result = made.finish()
    assert [len(each) for each in shown] == [1] * 6
    assert made.tracks.births == 2 and result.track_ids.tolist() == [1, 2] and result.labels.tolist() == [1, 2]
    present = [[mask is not None for mask in masks] for masks in result.segmentations]
    assert present == [[True, True, True, False, False, True], [False, False, True, True, False, True]]
    for index, (frame,) in enumerate(shown):
        for track, (mask,) in zip(frame.track_ids.tolist(), frame.segmentations):
            assert mask == result.segmentations[track - 1][index]


def test_queries_that_show_nothing_or_a_track_of_another_begin_anew() -> None:
    """The first follows an object, the second too, the third is not yet sure, the fourth shows nothing."""
    made = tracker([{0: Seen(0.8), 1: Seen(0.7), 2: Seen(0.2, at=(9, 9)), 3: Seen(0.05, at=(9, 2))}] * 3)
    for _ in range(3):
        made.feed(PLAIN)
    assert made.step.ages == [[0] * Q, [1, 0, 1, 0], [2, 0, 2, 0]]


@pytest.mark.parametrize("length", [1, 3])
def test_a_video_without_an_object_has_no_track(length: int) -> None:
    made = tracker([{}])
    assert all(len(made.feed(PLAIN)[0]) == 0 for _ in range(length))
    result = made.finish()
    assert len(result) == 0 and result.num_frames == length


def test_a_cut_in_every_frame_ends_every_track() -> None:
    made = SceneTracker(tracker([{0: Seen(0.8)}]))
    made.begin(size=SIZE, num_frames=None, video_id=0)
    flicker = [np.full((*SIZE, 3), colour, np.uint8) for colour in (10, 240)]
    for index in range(6):
        made.feed(flicker[index % 2])
    result = made.finish()
    assert made.cuts == [1, 2, 3, 4, 5] and len(result) == 6 == result.num_frames
    assert all(sum(mask is not None and has_pixels(mask) for mask in masks) == 1 for masks in result.segmentations)


def test_hundreds_of_births_leave_the_best_hundred() -> None:
    """Each object is there for two frames and never comes back: another look, category and place each time."""
    frames = []
    for number in range(250):
        seen = Seen(0.4 + 0.002 * number, 1 + number % 2, number % 8, ((5 * number) % 11, (7 * number) % 11))
        frames += [{number % Q: seen}] * 2
    made = tracker(frames, max_gap=1, min_return=2.0)
    for _ in frames:
        made.feed(PLAIN)
    assert made.tracks.births == 250
    assert len(made.tracks.by_id) <= MAX_ENDED_TRACKS + 4 and len(made.tracks.lives.alive) <= 4
    result = made.finish()
    assert result.num_frames == 500 and set(range(230, 251)) <= set(result.track_ids.tolist())


def test_memory_of_a_stream_without_an_object_does_not_grow() -> None:
    made = tracker([{}])
    for _ in range(20):
        made.feed(PLAIN)
    before = sys.getsizeof(made.tracks.by_id)
    for _ in range(500):
        made.feed(PLAIN)
    assert made.tracks.by_id == {} and sys.getsizeof(made.tracks.by_id) == before and made.tracks.lives.alive == []


def test_a_stream_keeps_the_masks_of_the_last_frames() -> None:
    made = tracker([{0: Seen(0.8)}], kept_frames=10)
    for _ in range(300):
        assert len(made.feed(PLAIN)[0]) == 1
    assert len(made.tracks.by_id[1].masks) == 10
    (masks,) = made.finish().segmentations
    assert [place for place, mask in enumerate(masks) if mask is not None] == list(range(290, 300))


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frames of"):
        tracker([{}]).feed(np.zeros((8, 8, 3), np.uint8))


class Published:
    """A tracker that offers another one for videos of any length."""

    def of_any_length(self) -> SimpleNamespace:
        return SimpleNamespace(is_any_length=True)


@pytest.mark.parametrize(
    ("wanted", "users", "evaluations"),
    [("videos", True, False), ("everywhere", True, True), ("nowhere", False, False)],
)
def test_the_key_says_where_tracks_are_of_any_length(wanted: str, users: bool, evaluations: bool) -> None:
    cfg = load_config("instanceformer_toy", [f"inference.any_length={wanted}", "inference.scene_cuts=nowhere"])
    for evaluated, expected in ((False, users), (True, evaluations)):
        chosen = for_videos(cfg, Published(), evaluated=evaluated)
        assert hasattr(chosen, "is_any_length") == expected
    whole_clips = SimpleNamespace()  # a family without such a tracker
    assert for_videos(cfg, whole_clips, evaluated=False) is whole_clips


def test_a_record_for_analysis_is_of_the_published_procedure() -> None:
    cfg = load_config("instanceformer_toy", ["inference.analysis_folder=there"])
    assert isinstance(for_videos(cfg, Published(), evaluated=False), Published)
