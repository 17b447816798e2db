"""Parts of VidEoMT by themselves against stored numbers: resampling, points, rotations, frame sizes, results."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest

from mindvideo.data.media.frame_size import resize_frame
from mindvideo.inference.trackers.video_pairs import QueryFrame, VideoPairsTracker
from mindvideo.models.videomt import card
from mindvideo.models.videomt.inference import OnlineState, RoundedResize
from mindvideo.models.videomt.weights import resample_patches, resample_table
from mindvideo.modules.layers.rotary import RotaryPositions
from mindvideo.modules.losses.point_sampling import sample_channels, sample_maps
from mindvideo.ops.cubic import resize_table
from mindvideo.resources import resource_folder
from mindvideo.training.schedule import build_schedule
from tests.parity.videomt_golden import Case, filled_network

TOLERANCE = 2e-5


@pytest.fixture
def units(golden) -> Case:
    return Case(golden / "videomt", "units")


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def filled(case: Case, source) -> np.ndarray:
    return case.make_input(source["name"], source["shape"], source["seed"])


def test_position_tables_are_resampled(units):
    for entry in units.facts["position"]:
        table = filled(units, entry["make_input"])
        got = resize_table(ms.Tensor(table), tuple(entry["old"]), tuple(entry["new"])).asnumpy()
        close(got, units.arrays[entry["key"]])
    first = units.facts["position"][0]
    table = filled(units, first["make_input"])[None]  # as DINOv2's file holds it
    close(resample_table(table, new_grid=tuple(first["new"])), units.arrays[first["key"]])


def test_patch_kernels_are_resampled(units):
    for entry in units.facts["kernel"]:
        kernel = filled(units, entry["make_input"])
        close(resample_patches(kernel, new_size=entry["new"]), units.arrays[entry["key"]])


def test_maps_are_read_at_points(units):
    for entry in units.facts["points"]:
        maps, points = filled(units, entry["make_input"]), units.arrays[f"{entry['key']}_xy"]
        expected = units.arrays[entry["key"]]
        close(sample_maps(ms.Tensor(maps), ms.Tensor(points)).asnumpy(), expected)
        both = np.stack([maps, 2 * maps], -1)
        sampled = sample_channels(ms.Tensor(both), ms.Tensor(points)).asnumpy()
        close(sampled, np.stack([expected, 2 * expected], -1))


def test_rotations(units):
    for entry in units.facts["rope"]:
        rotary = RotaryPositions(depth=entry["head_width"], temperature=entry["theta"])
        cosine, sine = rotary(2, *entry["grid"], ms.Tensor(entry["rescale"], ms.float32))
        assert (cosine.asnumpy()[:2] == 1).all() and (sine.asnumpy()[:2] == 0).all()  # the tokens in front
        close(cosine.asnumpy()[2:], units.arrays[f"{entry['key']}_cos"])
        close(sine.asnumpy()[2:], units.arrays[f"{entry['key']}_sin"])


def test_frame_sizes(units):
    for entry in units.facts["test_size"]:
        resize = RoundedResize(short_side=entry["short_side"], long_side=entry["max_size"])
        assert resize.size_for(tuple(entry["hw"])) == tuple(entry["resized_hw"]), entry
        padded = [side + -side % 32 for side in entry["resized_hw"]]
        assert padded == entry["padded_hw"]
    assert RoundedResize(short_side=448, long_side=1333, square=640).size_for((72, 100)) == (640, 640)


def test_learning_rate_schedule(units):
    for entry in units.facts["schedule"]:
        warmup, late = entry["warmup"]
        factors = build_schedule(
            "poly", num_steps=entry["total"], steps_per_epoch=1, power=entry["power"], warmup_steps=warmup,
            late_warmup_steps=late,
        )  # fmt: skip
        for step, new, backbone in entry["rows"]:
            if step < entry["total"]:
                expected = [new / entry["base_new"], backbone / entry["base_backbone"]]
                np.testing.assert_allclose(factors[step], expected, rtol=1e-6, atol=1e-9)


def test_class_lists_and_maps(golden):
    stored = json.loads((golden / "videomt" / "category_maps.json").read_text())
    for stem, ours in {"ytvis2019": "ytvis19", "ytvis2021": "ytvis21", "ovis": "ovis"}.items():
        categories = json.loads((resource_folder("datas") / "categories" / f"{ours}.json").read_text())
        assert [entry["id"] for entry in categories] == list(range(1, len(categories) + 1))
        names = [entry["name"].lower() for entry in categories]
        assert names == [name.lower() for name in stored["classes"][stem]]


class StoredStep:
    """A step that gives stored logits and masks."""

    def __init__(self, logits: np.ndarray, masks: np.ndarray, padded: tuple[int, int]) -> None:
        self.logits, self.masks, self.padded = logits, masks, padded
        self.calls = 0

    def initial_state(self) -> OnlineState:
        return OnlineState(0)

    def padded_size(self, size) -> tuple[int, int]:  # noqa: ARG002
        return self.padded

    def __call__(self, image, state: OnlineState):  # noqa: ARG002
        self.calls += 1
        seen = QueryFrame(ms.Tensor(self.logits[state.query]), ms.Tensor(self.masks[state.query]))
        return seen, OnlineState(state.query + 1)


def check_results(case: Case, video, category_ids: list[int]) -> None:
    from pycocotools import mask as coco_mask

    stored = case.facts["results"]
    assert len(video) == len(stored)
    for record, wanted in zip(video.to_results(), stored):
        assert record["score"] == pytest.approx(wanted["score"], abs=1e-5)
        assert category_ids[record["category_id"] - 1] == wanted["category_id"]
        for ours, theirs in zip(record["segmentations"], wanted["segmentations"], strict=True):
            if coco_mask.area(theirs) == 0:
                assert coco_mask.area(ours) == 0
            else:
                [[overlap]] = coco_mask.iou([ours], [theirs], [0])
                assert overlap > 0.999


@pytest.mark.parametrize("kept", [1, 1000])
def test_results_equal_the_original(golden, kept):
    case = Case(golden / "videomt", "postprocess")
    facts = case.facts
    step = StoredStep(case.arrays["logits"], case.arrays["masks"], tuple(facts["padded_hw"]))
    H, W = facts["valid_hw"]
    tracker = VideoPairsTracker(
        step=step, resize=lambda frame: resize_frame(frame, (H, W)), max_tracks=facts["top"], max_frames=kept
    )
    size = tuple(facts["size_hw"])
    tracker.begin(size=size, num_frames=None, video_id=facts["video_id"])
    for _ in range(len(case.arrays["logits"])):
        [shown] = tracker.feed(np.zeros((*size, 3), np.uint8))
        assert shown.num_frames == 1
    video = tracker.finish()
    check_results(case, video, facts["category_ids"])
    assert [(i - 1) % facts["num_queries"] for i in video.track_ids] == facts["queries"]
    assert len(set(video.track_ids.tolist())) == len(video)


def test_video_equals_the_original(golden):
    """From the frames' bytes to the results, as users run it."""
    case = Case(golden / "videomt", "tiny/infer")
    facts = case.facts
    source = facts["input"]
    cfg = case.config()
    with cfg.unlocked():
        cfg.inference.short_side, cfg.inference.long_side = source["short_side"], source["max_size"]
    network, _ = filled_network(case, cfg)
    tracker = card.build_tracker(cfg, network)
    frames = np.load(golden / "videomt" / "tiny" / "infer_frames.npz")["frames_uint8"]
    tracker.begin(size=frames.shape[1:3], num_frames=len(frames), video_id=facts["video"]["id"])
    for t, frame in enumerate(frames):
        tracker.feed(frame)
        resized = tracker.frames[t].image
        assert list(resized.shape[:2]) == source["resized_hw"]
        close(tracker.state.query.asnumpy()[0], case.arrays["next_queries"][t])
    stored = case.arrays["resized_uint8"]
    every = np.stack([frame.image for frame in tracker.frames]).reshape(-1)[:: int(case.arrays["resized_uint8_stride"])]
    np.testing.assert_array_equal(every, stored)
    close(tracker.logits / len(frames), case.arrays["logits"].astype(np.float64).mean(0))
    video = tracker.finish()
    check_results(case, video, facts["category_ids"])
    assert [(i - 1) % facts["args"]["queries"] for i in video.track_ids] == facts["queries"]


def test_a_late_winner_is_looked_at_again():
    """Its masks of the early frames come from a second pass over those frames only."""
    logits = np.zeros((6, 8, 3), np.float32)
    logits[..., 2] = 4.0
    logits[:2, 0, 0] = 9.0
    logits[2:, 7, 1] = 12.0
    masks = np.full((6, 8, 4, 4), -1.0, np.float32)
    masks[:, 7, :2] = 1.0
    masks[:, 0, 2:] = 1.0
    step = StoredStep(logits, masks, (16, 16))
    tracker = VideoPairsTracker(step=step, resize=lambda frame: frame, max_tracks=1, max_frames=1000)
    tracker.begin(size=(16, 16), num_frames=6, video_id=1)
    for _ in range(6):
        tracker.feed(np.zeros((16, 16, 3), np.uint8))
    assert 7 not in tracker.frames[0].masks
    video = tracker.finish()
    assert step.calls > 6
    assert video.labels.tolist() == [2] and video.track_ids.tolist() == [8]
    assert len({s["counts"] for s in video.segmentations[0]}) == 1  # the same mask in every frame
