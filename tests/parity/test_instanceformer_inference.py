"""All of InstanceFormer's inference against the original's: from frames to results.json, and what analysis keeps."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np

from mindvideo.inference.analysis_record import AnalysisRecorder
from mindvideo.models.instanceformer import card
from tests.parity.instanceformer_golden import Case, assert_close, fill_network
from tests.parity.masks import assert_same_results

SCORE_TOLERANCE = 2e-5
TOLERANCE = 5e-5


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden")) / "instanceformer" / "r50_tiny"
        names = sorted(path.stem for path in folder.glob("infer_*.npz") if path.stem != "infer_frames")
        metafunc.parametrize("name", names)


def test_results_from_frames_equal_the_original(golden, name, tmp_path):
    folder = golden / "instanceformer" / "r50_tiny"
    case = Case(folder, name, facts_name=f"{name}_results")
    facts = case.facts
    frames = np.load(folder / "infer_frames.npz")["frames_uint8"]
    cfg = case.config()
    with cfg.unlocked():
        cfg.inference.short_side = min(facts["input"]["resized_hw"])
        cfg.instanceformer.candidate_pairs = facts["num_proposals"]
    ms.set_context(mode=ms.GRAPH_MODE)
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    tracker = card.build_tracker(cfg, network)
    tracker.observer = AnalysisRecorder(tmp_path)
    seen = Recording(tracker.step)
    tracker.step = seen
    tracker.begin(size=frames.shape[1:3], num_frames=len(frames), video_id=facts["video"]["id"])
    final = [result for frame in frames for result in tracker.feed(frame)]
    video = tracker.finish()
    assert len(final) == len(frames)
    check_seen(case, seen.seen)
    assert_same_results(json.loads(json.dumps(video.to_results())), facts["results"], score_tolerance=SCORE_TOLERANCE)
    check_analysis(case, np.load(tmp_path / f"{facts['video']['id']}.npz"))


class Recording:
    """The step, with what it gave kept."""

    def __init__(self, step) -> None:
        self.step, self.seen = step, []

    def initial_state(self):
        return self.step.initial_state()

    def __call__(self, image, state):
        seen, following = self.step(image, state)
        self.seen.append(seen.on_host())
        return seen, following


def check_seen(case: Case, frames) -> None:
    probabilities = np.stack([frame.probabilities for frame in frames])
    boxes = np.stack([frame.boxes for frame in frames])
    masks = np.stack([frame.mask_logits for frame in frames])
    expected = 1.0 / (1.0 + np.exp(-case.arrays["pred_logits"].astype(np.float64)))
    np.testing.assert_allclose(probabilities, expected, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(boxes, case.arrays["pred_boxes"], atol=SCORE_TOLERANCE)
    assert_close(masks, case.arrays, "pred_masks", 2e-4)


def check_analysis(case: Case, record) -> None:
    T, _, N, *rest = case.arrays["ref_analysis_shape"].tolist()
    assert record["locations"].shape == (T, N, *rest)
    assert_close(record["embeddings"], case.arrays, "hs_analysis", TOLERANCE)
    assert_close(record["references"], case.arrays, "init_ref_analysis", TOLERANCE)
    # The original keeps the sigmoid of the locations; ours are the locations, as float16.
    squashed = 1.0 / (1.0 + np.exp(-record["locations"].astype(np.float32)))
    assert_close(squashed, case.arrays, "ref_analysis", 5e-4)
