"""All of InstanceFormer's inference against the original's: from frames to results.json, and what analysis keeps."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.families import instanceformer as card
from mindvideo.inference.analysis_record import AnalysisRecorder
from tests.parity.instanceformer_golden import Case, assert_close, fill_network

SCORE_TOLERANCE = 2e-5
TOLERANCE = 5e-5
LEAST_IOU = 0.995  # of one mask: a logit near 0 may fall on either side


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
    check_outputs(case, seen.outputs)
    check_results(facts["results"], json.loads(json.dumps(video.to_results())))
    check_analysis(case, np.load(tmp_path / f"{facts['video']['id']}.npz"))


class Recording:
    """The step, with what it gave kept."""

    def __init__(self, step) -> None:
        self.step, self.num_predictions, self.outputs = step, step.num_predictions, []

    def initial_state(self):
        return self.step.initial_state()

    def __call__(self, image, *state):
        outputs = self.step(image, *state)
        self.outputs.append([output.asnumpy() for output in outputs[: self.num_predictions]])
        return outputs


def check_outputs(case: Case, outputs) -> None:
    probabilities, boxes, masks = (np.stack([frame[part] for frame in outputs]) for part in range(3))
    expected = 1.0 / (1.0 + np.exp(-case.arrays["pred_logits"].astype(np.float64)))
    np.testing.assert_allclose(probabilities, expected, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(boxes, case.arrays["pred_boxes"], atol=SCORE_TOLERANCE)
    assert_close(masks, case.arrays, "pred_masks", 2e-4)


def check_results(expected: list[dict], results: list[dict]) -> None:
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected):
        assert ours["video_id"] == theirs["video_id"]
        assert ours["category_id"] == theirs["category_id"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=SCORE_TOLERANCE)
        assert len(ours["segmentations"]) == len(theirs["segmentations"])
        for mine, original in zip(ours["segmentations"], theirs["segmentations"]):
            assert (mine is None) == (original is None)
            if original is None:
                continue
            assert mine["size"] == original["size"]
            if mine["counts"] != original["counts"]:
                difference = np.logical_xor(coco_mask.decode(mine), coco_mask.decode(original)).sum()
                overlap = coco_mask.iou([mine], [original], [0])[0, 0]
                assert overlap >= LEAST_IOU or difference <= 2, f"IoU {overlap:.4f}, {difference} pixels"


def check_analysis(case: Case, record) -> None:
    T, _, N, *rest = case.arrays["ref_analysis_shape"].tolist()
    assert record["locations"].shape == (T, N, *rest)
    assert_close(record["embeddings"], case.arrays, "hs_analysis", TOLERANCE)
    assert_close(record["references"], case.arrays, "init_ref_analysis", TOLERANCE)
    # The original keeps the sigmoid of the locations; ours are the locations, as float16.
    squashed = 1.0 / (1.0 + np.exp(-record["locations"].astype(np.float32)))
    assert_close(squashed, case.arrays, "ref_analysis", 5e-4)
