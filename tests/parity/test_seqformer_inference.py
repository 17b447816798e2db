"""All of SeqFormer's inference against the original's: from frames to results.json."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest

from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.scoring.track_scores import BestPairs
from mindvideo.inference.scoring.track_vote import first_candidates
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.seqformer import card
from tests.parity.masks import assert_same_results
from tests.parity.seqformer_golden import Case, assert_close, fill_network

TOLERANCE = 2e-5
MASK_TOLERANCE = 2e-4


def frames_of(case: Case, source: dict) -> np.ndarray:
    """uint8 [T, H, W, 3]: random cells of 8 x 8 pixels."""
    values = case.make_input(source["name"], source["shape"], case.facts["input_seed"], low=0, high=256).astype(
        np.uint8
    )
    rows, columns = (np.arange(side) // 8 * 8 for side in source["shape"][1:3])
    return values[:, rows][:, :, columns]


def test_results_from_frames_equal_the_original(golden):
    case = Case(golden / "mssts" / "r50_tiny", "infer_e2e")
    facts = case.facts
    cfg = case.config()
    with cfg.unlocked():
        cfg.inference.short_side = facts["short_side"]
        cfg.seqformer.candidate_pairs = facts["top_pairs"]
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    tracker = card.build_tracker(cfg, network)
    runner = Recording(tracker.windows.runner)
    tracker.windows.runner = runner
    results = []
    for number, (video, source) in enumerate(zip(facts["videos"], facts["frames"])):
        frames = frames_of(case, source)
        tracker.begin(size=frames.shape[1:3], num_frames=len(frames), video_id=video["id"])
        for frame in frames:
            assert tracker.feed(frame) == []
        results += tracker.finish().to_results()
        chosen, prediction, logits = runner.last
        assert_close(logits, case, f"{number}.pred_logits", TOLERANCE)
        numbers, whole = case.stored(f"{number}.pred_masks")
        assert whole["flat_stride"] == 1
        theirs = numbers.reshape(whole["shape"])[0][chosen]
        assert np.abs(prediction.mask_logits - theirs).max() <= MASK_TOLERANCE * np.abs(theirs).max()
    assert_same_results(json.loads(json.dumps(results)), facts["results"], score_tolerance=TOLERANCE)


class Recording:
    """The runner, with what it gave last kept."""

    def __init__(self, runner) -> None:
        self._runner = runner

    def __call__(self, frames) -> ClipPrediction:
        prediction = self._runner(frames)
        logits = self._runner._portioned(frames).logits
        chosen = first_candidates(1.0 / (1.0 + np.exp(-logits[None])), self._runner._candidate_pairs)
        self.last = (chosen, prediction, logits)
        return prediction


def test_post_processing_of_the_originals_outputs(golden):
    """Stored logits and masks in place of a network: empty queries and frames, low scores, several categories."""
    case = Case(golden / "mssts" / "r50_tiny", "postprocess")
    facts = case.facts
    logits, masks = (
        case.arrays[name].reshape(facts["tensors"][name]["shape"]) for name in ("pred_logits", "pred_masks")
    )
    probabilities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64))).astype(np.float32)
    chosen = first_candidates(probabilities[None], facts["top_pairs"])
    T = facts["frames"]
    prediction = ClipPrediction(
        np.broadcast_to(probabilities[chosen, None], (len(chosen), T, logits.shape[1])), masks[chosen]
    )
    tracker = WindowTracker(
        runner=lambda _: prediction,
        num_frames=10,
        prepare=lambda frame: frame,
        rule=BestPairs(pairs=facts["top_pairs"]),
        repeat_short=False,
    )
    size = (facts["image_height"], facts["image_width"])
    tracker.begin(size=size, num_frames=T, video_id=facts["video_id"])
    for _ in range(T):
        tracker.feed(np.zeros((*size, 3), np.uint8))
    assert_same_results(tracker.finish().to_results(), facts["results"], score_tolerance=1e-6)
    assert any(record["segmentations"][0] is None for record in facts["results"])


@pytest.mark.parametrize("num_frames", [1, 5])
@pytest.mark.usefixtures("operator_by_operator")  # compiled the runner gives the original's numbers, see above
def test_frame_by_frame_equals_the_whole_network(golden, num_frames):
    case = Case(golden / "mssts" / "r50_tiny", "infer_e2e")
    cfg = case.config()
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (num_frames, 72, 104, 3)).astype(np.uint8)
    with cfg.unlocked():
        cfg.inference.short_side = None
    runner = card.build_tracker(cfg, network).windows.runner
    prediction = runner([runner.prepare(frame) for frame in frames])
    sizes = ms.Tensor(np.array([frames.shape[1:3]], np.int32))
    probabilities, _, masks = (output.asnumpy() for output in runner._whole(ms.Tensor(frames[None]), sizes))
    chosen = first_candidates(probabilities[None], cfg.seqformer.candidate_pairs)
    np.testing.assert_allclose(prediction.probabilities[:, 0], probabilities[chosen], atol=1e-5)
    np.testing.assert_allclose(prediction.mask_logits, masks[chosen], atol=1e-4)
