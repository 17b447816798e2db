"""All of InstanceFormer's inference against the original's: from frames to results.json, and what analysis keeps.

The case with the most switched on is compiled, the others run operator by operator.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mindvideo.inference.analysis_record import AnalysisRecorder
from mindvideo.models.instanceformer import card
from tests.modes import mode
from tests.parity.instanceformer_golden import Case, fill_network, fullest_case, row_of
from tests.parity.masks import assert_same_results
from tests.parity.rounding import Row, assert_same_up_to_rounding, rounded_weights

# Of a case whose own rounding is larger, a few times that (tests/parity/rounding.py): it travels through all frames.
SCORE_TOLERANCE = 2e-5
MASK_TOLERANCE = 2e-4
TOLERANCE = 5e-5


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden")) / "instanceformer" / "r50_tiny"
        names = sorted(path.stem for path in folder.glob("infer_*.npz") if path.stem != "infer_frames")
        compiled = fullest_case(folder, [f"{name}_results" for name in names])
        cases = [(name, f"{name}_results" == compiled) for name in names]
        metafunc.parametrize(("name", "compiled"), cases, ids=names)


def test_results_from_frames_equal_the_original(golden, name, compiled, tmp_path):
    with mode(compiled=compiled):
        check_results_from_frames(golden, name, tmp_path)


def check_results_from_frames(golden: Path, name: str, tmp_path: Path) -> None:
    folder = golden / "instanceformer" / "r50_tiny"
    case = Case(folder, name, facts_name=f"{name}_results")
    facts = case.facts
    frames = np.load(folder / "infer_frames.npz")["frames_uint8"]
    cfg = case.config()
    with cfg.unlocked():
        cfg.inference.short_side = min(facts["input"]["resized_hw"])
        cfg.instanceformer.candidate_pairs = facts["num_proposals"]
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    tracker = card.build_tracker(cfg, network)
    tracker.step = Recording(tracker.step)
    results, rows = track(case, tracker, frames, tmp_path)

    def again(draw: int):
        with rounded_weights(network, draw):
            return track(case, tracker, frames, tmp_path / str(draw))[1]

    allowed = assert_same_up_to_rounding(rows, again)
    tolerance = max([SCORE_TOLERANCE, *(allowed[name] for name in allowed if name == "probabilities")])
    assert_same_results(json.loads(json.dumps(results)), facts["results"], score_tolerance=tolerance)


def track(case: Case, tracker, frames: np.ndarray, folder: Path) -> tuple[list[dict], dict[str, Row]]:
    """Results of the video, and all that the network gave beside the original's."""
    tracker.observer = AnalysisRecorder(folder)
    tracker.step.seen = []
    number = case.facts["video"]["id"]
    tracker.begin(size=frames.shape[1:3], num_frames=len(frames), video_id=number)
    final = [result for frame in frames for result in tracker.feed(frame)]
    video = tracker.finish()
    assert len(final) == len(frames)
    rows = {**seen_rows(case, tracker.step.seen), **analysis_rows(case, np.load(folder / f"{number}.npz"))}
    return video.to_results(), rows


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


def seen_rows(case: Case, frames) -> dict[str, Row]:
    probabilities = np.stack([frame.probabilities for frame in frames])
    boxes = np.stack([frame.boxes for frame in frames])
    masks = np.stack([frame.mask_logits for frame in frames])
    expected = 1.0 / (1.0 + np.exp(-case.arrays["pred_logits"].astype(np.float64)))
    return {
        "probabilities": Row(probabilities, expected, SCORE_TOLERANCE),
        "boxes": Row(boxes, case.arrays["pred_boxes"], SCORE_TOLERANCE),
        "masks": row_of(masks, case.arrays, "pred_masks", MASK_TOLERANCE),
    }


def analysis_rows(case: Case, record) -> dict[str, Row]:
    T, _, N, *rest = case.arrays["ref_analysis_shape"].tolist()
    assert record["locations"].shape == (T, N, *rest)
    # The original keeps the sigmoid of the locations; ours are the locations, as float16.
    squashed = 1.0 / (1.0 + np.exp(-record["locations"].astype(np.float32)))
    return {
        "embeddings": row_of(record["embeddings"], case.arrays, "hs_analysis", TOLERANCE),
        "references": row_of(record["references"], case.arrays, "init_ref_analysis", TOLERANCE),
        "locations": row_of(squashed, case.arrays, "ref_analysis", 5e-4),
    }
