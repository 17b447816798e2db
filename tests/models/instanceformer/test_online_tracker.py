"""The online tracker with a made-up step: candidates, votes, state, pieces, memory. No network is compiled."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor
from pycocotools import mask as coco_mask

from mindvideo.inference.scoring.track_vote import TrackVote, first_candidates
from mindvideo.inference.trackers.online import OnlineTracker, SeenFrame, to_pixels

Q, K, SIDE = 6, 4, 4  # queries, classes, side of the mask logits
SIZE = (8, 8)


class Carried(NamedTuple):
    value: Tensor


class CountingStep:
    """Predictions that depend on the image's mean and on the frames seen so far, as a recurrent network's do."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.logits = rng.normal(size=(Q, K)).astype(np.float32)
        self.masks = rng.normal(size=(Q, SIDE, SIDE)).astype(np.float32)

    def initial_state(self):
        return Carried(Tensor(np.zeros((), np.float32)))

    def __call__(self, image: Tensor, state: Carried):
        carried = state.value.asnumpy().item() * 0.5 + float(image.asnumpy().mean()) / 255
        probabilities = 1 / (1 + np.exp(-self.logits - np.sin(carried * np.arange(1, Q * K + 1).reshape(Q, K))))
        masks = self.masks + np.float32(carried - 0.5)
        masks[0] = -1.0  # one query never has a pixel
        boxes = np.full((Q, 4), 0.5, np.float32) + np.float32(carried / 10)
        rest = [np.zeros((Q, 2), np.float32), np.zeros((Q, 2), np.float32), np.zeros((Q, 1, 1, 1, 2), np.float32)]
        seen = [Tensor(np.ascontiguousarray(part)) for part in (probabilities.astype(np.float32), boxes, masks, *rest)]
        return SeenFrame(*seen), Carried(Tensor(np.asarray(carried, np.float32)))


def tracker(**options) -> OnlineTracker:
    settings = {"first_frames": 3, "candidate_pairs": 5, "frames_per_vote": 4, "resize": lambda frame: frame}
    return OnlineTracker(step=CountingStep(), **{**settings, **options})


def video(length: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (length, *SIZE, 3), np.uint8)


def run(frames: np.ndarray, *, hint: int | None, **options):
    online = tracker(**options)
    online.begin(size=SIZE, num_frames=hint, video_id="v")
    per_frame = [online.feed(frame) for frame in frames]
    return online.finish(), per_frame


def whole_video_procedure(frames: np.ndarray, pairs: int):
    """The published procedure with everything kept: (queries, classes, scores), written independently."""
    step = CountingStep()
    state, probabilities, masks = step.initial_state(), [], []
    for frame in frames:
        seen, state = step(Tensor(frame), state)
        probabilities.append(seen.probabilities.asnumpy())
        masks.append(seen.mask_logits.asnumpy())
    probabilities = np.stack(probabilities)
    order = sorted(np.ndindex(min(3, len(frames)), Q, K), key=lambda index: -probabilities[index])[:pairs]
    queries = list(dict.fromkeys(query for _, query, _ in order))
    queries = [query for query in queries if query != 0]  # the query without pixels
    found = []
    for query in queries:
        entries = sorted(((p, k) for row in probabilities[:, query] for k, p in enumerate(row)), reverse=True)
        best = entries[: max(1, len(frames) // 4)]
        counts = np.bincount([k for _, k in best])
        found.append((query, int(counts.argmax()), np.mean([p for p, k in best if k == counts.argmax()])))
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 9, 40])
@pytest.mark.parametrize("hint", ["exact", None])
def test_equals_the_whole_video_procedure(length, hint):
    frames = video(length)
    result, _ = run(frames, hint=length if hint == "exact" else None)
    expected = whole_video_procedure(frames, 5)
    assert result.labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(result.scores, [score for _, _, score in expected], rtol=1e-6)
    assert result.num_frames == length and result.boxes.shape == (len(expected), length, 4)


def test_a_wrong_hint_that_is_too_long_changes_nothing():
    frames = video(20)
    right, _ = run(frames, hint=20)
    wrong, _ = run(frames, hint=500)
    assert right.to_results() == wrong.to_results()


def test_frames_become_final_once_each_and_in_order():
    frames = video(6)
    result, per_frame = run(frames, hint=None)
    assert [len(given) for given in per_frame] == [0, 0, 3, 1, 1, 1]
    shown = [given for feed in per_frame for given in feed]
    assert min(track for frame in shown for track in frame.track_ids) == 1
    for index, frame in enumerate(shown):
        for track, (segmentation,) in zip(frame.track_ids, frame.segmentations):
            row = result.track_ids.tolist().index(track)
            assert segmentation == result.segmentations[row][index]


def test_state_starts_anew_with_each_video():
    online, frames = tracker(), video(5)
    results = []
    for _ in range(2):
        online.begin(size=SIZE, num_frames=5, video_id=1)
        for frame in frames:
            online.feed(frame)
        results.append(online.finish().to_results())
    assert results[0] == results[1]


def test_masks_are_scaled_thresholded_and_encoded():
    result, _ = run(video(4), hint=4)
    mask = coco_mask.decode(result.segmentations[0][0])
    assert mask.shape == SIZE and 0 < mask.sum() < mask.size


def test_first_frames_are_forgotten_once_candidates_are_known():
    online = tracker()
    online.begin(size=SIZE, num_frames=None, video_id=0)
    for frame in video(4):
        online.feed(frame)
    assert online.undecided == []


def test_a_frame_of_another_size_is_refused():
    online = tracker()
    online.begin(size=SIZE, num_frames=1, video_id=0)
    with pytest.raises(ValueError, match=r"frames of \(8, 8\), got \(4, 8\)"):
        online.feed(np.zeros((4, 8, 3), np.uint8))


def test_a_weak_track_has_no_masks():
    online = tracker(candidate_pairs=1)
    online.step.logits[:] = -20.0
    online.begin(size=SIZE, num_frames=3, video_id=0)
    for frame in video(3):
        online.feed(frame)
    result = online.finish()
    assert all(segmentations == [None] * 3 for segmentations in result.segmentations)


def test_an_empty_video_has_no_tracks():
    online = tracker()
    online.begin(size=SIZE, num_frames=0, video_id=0)
    assert len(online.finish()) == 0


def test_candidates_come_in_the_order_of_their_best_hit():
    probabilities = np.zeros((3, 4, 2), np.float32)
    probabilities[2, 3, 1], probabilities[0, 1, 0], probabilities[1, 3, 0] = 0.9, 0.8, 0.7
    assert first_candidates(probabilities, 3) == [3, 1]


def test_ties_go_to_the_smallest_class():
    vote = TrackVote(num_tracks=1, frames_per_vote=1, num_frames=None)
    vote.add(np.asarray([[0.0, 0.0, 0.9]], np.float32))
    vote.add(np.asarray([[0.0, 0.8, 0.0]], np.float32))
    scores, classes = vote.result()
    assert classes.tolist() == [1] and scores[0] == pytest.approx(0.8)


def test_votes_of_a_long_video_stay_small():
    vote = TrackVote(num_tracks=3, frames_per_vote=4, num_frames=2000)
    rng = np.random.default_rng(0)
    everything = []
    for _ in range(2000):
        frame = rng.random((3, 5)).astype(np.float32)
        everything.append(frame)
        vote.add(frame)
    scores, classes = vote.result()
    assert vote.scores.shape == (3, 500)
    full = np.stack(everything, 1)  # [N, T, K]
    for track in range(3):
        order = np.argsort(-full[track].reshape(-1), kind="stable")[:500]
        counts = np.bincount(order % 5)
        assert classes[track] == counts.argmax()
        assert scores[track] == pytest.approx(full[track].reshape(-1)[order][order % 5 == counts.argmax()].mean())
    assert sys.getsizeof(vote.waiting) < 4096


def test_boxes_in_pixels():
    np.testing.assert_allclose(to_pixels(np.asarray([[0.5, 0.5, 0.5, 1.0]]), (10, 20)), [[5.0, 0.0, 15.0, 10.0]])
