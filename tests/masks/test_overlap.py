"""The two implementations of the overlap, against each other and against decoded masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mindvideo.masks import overlap as tube_overlap
from mindvideo.masks.forms import tube_of
from mindvideo.masks.overlap import BrokenMaskError
from mindvideo.masks.runs import first_broken

IMPLEMENTATIONS = {"reference": tube_overlap._overlap_reference}
if tube_overlap.native_overlap() is not None:
    IMPLEMENTATIONS["compiled"] = tube_overlap._overlap_compiled


def random_tubes(rng: np.random.Generator, tracks: int, frames: int, size: tuple[int, int]):
    """Masks [tracks, frames, H, W] from dense noise to nothing, and their texts."""
    density = rng.choice([0.0, 0.02, 0.5, 1.0], (tracks, frames, 1, 1))
    masks = rng.random((tracks, frames, *size)) < density
    absent = rng.random((tracks, frames)) < 0.2
    masks[absent] = False
    tubes = [
        [
            b"" if absent[n, t] else coco_mask.encode(np.asfortranarray(masks[n, t], dtype=np.uint8))["counts"]
            for t in range(frames)
        ]
        for n in range(tracks)
    ]
    return masks, tubes


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), frames=st.integers(1, 5), height=st.integers(1, 30), width=st.integers(1, 40))
def test_equal_to_decoded_masks(name, seed, frames, height, width):
    rng = np.random.default_rng(seed)
    detections, detection_tubes = random_tubes(rng, 4, frames, (height, width))
    truths, truth_tubes = random_tubes(rng, 3, frames, (height, width))
    wanted = rng.random((4, 3)) < 0.8
    overlap = IMPLEMENTATIONS[name](detection_tubes, truth_tubes, height * width, wanted)
    common = np.einsum("dthw,gthw->tdg", detections.astype(int), truths.astype(int)) * wanted
    np.testing.assert_array_equal(overlap.intersections, common)
    np.testing.assert_array_equal(overlap.detection_areas, detections.sum((2, 3)))
    np.testing.assert_array_equal(overlap.truth_areas, truths.sum((2, 3)))
    union = (detections[:, None] | truths).sum((2, 3, 4))
    expected = np.divide(common.sum(0), union, out=np.zeros((4, 3)), where=union > 0)
    np.testing.assert_allclose(np.where(wanted, overlap.tube_iou(), 0), np.where(wanted, expected, 0), rtol=0, atol=0)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_large_masks_stay_exact(name):
    """Long runs, and areas at which a quotient must be rounded back to the right integer."""
    size = (1080, 1920)
    rng = np.random.default_rng(0)
    masks = [np.asfortranarray(rng.random(size) < density, dtype=np.uint8) for density in (0.5, 0.999)]
    masks.append(np.asfortranarray(np.indices(size)[1] > 700, dtype=np.uint8))
    texts = [coco_mask.encode(mask)["counts"] for mask in masks]
    overlap = IMPLEMENTATIONS[name]([[texts[0]], [texts[1]]], [[texts[2]]], size[0] * size[1], np.ones((2, 1), bool))
    expected = [int((mask & masks[2]).sum()) for mask in masks[:2]]
    assert overlap.intersections[0, :, 0].tolist() == expected


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("damage", [lambda t: t[:-1], lambda t: t + b"1", lambda t: b"\x7f" + t, lambda t: b"o" + t])
def test_damage_is_found_where_it_is(name, damage):
    _, tubes = random_tubes(np.random.default_rng(1), 5, 4, (20, 30))
    whole = coco_mask.encode(np.asfortranarray(np.eye(20, 30), dtype=np.uint8))["counts"]
    tubes[3][2] = damage(whole)
    with pytest.raises(BrokenMaskError) as caught:
        IMPLEMENTATIONS[name](tubes[:2], tubes[2:], 600, np.ones((2, 3), bool))
    assert (caught.value.track, caught.value.frame) == (3, 2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000), bad=st.integers(0, 11))
def test_the_first_broken_text_is_found(seed, bad):
    _, tubes = random_tubes(np.random.default_rng(seed), 3, 4, (9, 11))
    texts = [text for tube in tubes for text in tube]
    assert first_broken(texts, 99) is None
    texts[bad] = coco_mask.encode(np.ones((9, 12), np.uint8, order="F"))["counts"]
    assert first_broken(texts, 99) == bad


def test_the_native_library_is_used_where_it_is_built(tmp_path, monkeypatch):
    tube_overlap.native_overlap.cache_clear()
    monkeypatch.setenv("MINDVIDEO_OPS_FOLDER", str(tmp_path))
    try:
        assert tube_overlap.native_overlap() is None  # nothing there
        tube_overlap.native_overlap.cache_clear()
        (tmp_path / "libmindvideo_cpu.so").write_bytes(b"not a library")
        assert tube_overlap.native_overlap() is None  # and what is there is no library
    finally:
        tube_overlap.native_overlap.cache_clear()


@pytest.mark.parametrize("empty", [None, [], {}])
def test_absent_frames(empty):
    assert tube_of([empty], 4, 5) == [b""]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"size": [4, 5], "counts": ""}, "frame 1: the RLE string is empty"),
        ({"size": [5, 4], "counts": "d0"}, r"frame 1: mask size \[5, 4\]"),
        ({"size": [4, 5], "counts": "é"}, "frame 1: "),
        ({"counts": "d0"}, "frame 1: mask size None"),
        ({"size": 5, "counts": "d0"}, "frame 1: mask size 5"),
        ([[1.0, 2.0]], "frame 1: a polygon of 2 numbers"),
        (3.5, "frame 1: a segmentation of type float"),
    ],
)
def test_masks_that_are_none(mask, message):
    with pytest.raises(ValueError, match=message):
        tube_of([None, mask], 4, 5)
