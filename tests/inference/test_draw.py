"""Drawing: what is tinted, outlined and tagged, and colours that stay with a track."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.inference.output.colors import PALETTE_LENGTH, palette, to_lab, track_color
from mindvideo.inference.output.draw import TINT, draw_instances, name_of_class, readable_scale, rows_to_draw
from mindvideo.structures import VideoInstances

SIZE = (120, 160)


def _instances(masks: list[np.ndarray | None], scores: list[float], boxes: np.ndarray | None = None) -> VideoInstances:
    segmentations = []
    for mask in masks:
        encoded = None if mask is None else coco_mask.encode(np.asfortranarray(mask))
        segmentations.append([encoded and {"size": list(SIZE), "counts": encoded["counts"].decode()}])
    return VideoInstances(
        video_id=1,
        size=SIZE,
        num_frames=1,
        scores=np.array(scores, np.float32),
        labels=np.arange(1, len(masks) + 1),
        track_ids=np.arange(len(masks)) + 4,
        segmentations=segmentations,
        boxes=boxes,
    )


def _block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[rows, columns] = True
    return mask


IMAGE = np.full((*SIZE, 3), 100, np.uint8)


def test_masks_are_tinted_and_nothing_else_changes() -> None:
    mask = _block(slice(40, 80), slice(30, 90))
    drawn = draw_instances(IMAGE, _instances([mask], [0.9]), [], boxes=False, tags=False)
    expected = (1 - TINT) * 100 + TINT * np.array(track_color(4))
    assert np.abs(drawn[45:75, 35:85] - expected).max() <= 1
    assert np.abs(drawn[40, 40:80].astype(int) - track_color(4)).max() <= 20  # the outline, antialiased
    assert (drawn[~_block(slice(38, 82), slice(28, 92))] == 100).all()
    assert (IMAGE == 100).all()


def test_boxes_tags_and_confidence() -> None:
    masks = [_block(slice(40, 80), slice(30, 90)), _block(slice(90, 110), slice(100, 120))]
    instances = _instances(masks, [0.9, 0.2])
    drawn = draw_instances(IMAGE, instances, ["cat", "dog"], confidence=0.3, masks=False)
    assert (drawn[79, 30:90] == track_color(4)).all()  # lower side of the box
    tag = drawn[28:40, 30:60]
    assert (tag != 100).any() and (tag == track_color(4)).all(axis=-1).any()
    assert (drawn[85:] == 100).all()  # the weak track
    both = draw_instances(IMAGE, instances, ["cat", "dog"], confidence=0.1, masks=False)
    assert (both[109, 100:120] == track_color(5)).all()


def test_a_second_track_of_an_object_is_left_out() -> None:
    object_mask, shifted = _block(slice(40, 80), slice(30, 90)), _block(slice(40, 80), slice(36, 96))
    other = _block(slice(40, 80), slice(60, 120))  # overlaps both, by a third and by 43 %
    instances = _instances([shifted, object_mask, other, None], [0.5, 0.9, 0.4, 0.8])
    assert rows_to_draw(instances, confidence=0.0, max_overlap=0.6) == [2, 3, 1]
    assert rows_to_draw(instances, confidence=0.0, max_overlap=1.0) == [2, 0, 3, 1]
    assert rows_to_draw(instances, confidence=0.0, max_overlap=0.3) == [3, 1]
    assert rows_to_draw(instances, confidence=0.6, max_overlap=0.6) == [3, 1]


def test_own_boxes_are_drawn_and_clipped() -> None:
    boxes = np.array([[[-10, 50, 400, 70]]], np.float32)
    drawn = draw_instances(IMAGE, _instances([None], [0.9], boxes), [], tags=False)
    assert (drawn[50] == track_color(4)).all() and (drawn[60, 1:-1] == 100).all()


def test_a_box_lies_around_the_mask_whatever_the_network_says() -> None:
    boxes = np.array([[[0, 0, 160, 120]]], np.float32)
    mask = _block(slice(40, 80), slice(30, 90))
    drawn = draw_instances(IMAGE, _instances([mask], [0.9], boxes), [], masks=False, tags=False)
    assert (drawn[40, 30:90] == track_color(4)).all() and (drawn[0] == 100).all()


@pytest.mark.parametrize(
    ("size", "scale"), [((720, 1280), 1), ((64, 96), 4), ((7, 500), 3), ((3, 5000), 1), ((1, 1), 240), ((500, 7), 3)]
)
def test_small_frames_are_enlarged_within_bounds(size: tuple[int, int], scale: int) -> None:
    assert readable_scale(size) == scale


def test_the_strongest_track_lies_on_top() -> None:
    mask = _block(slice(40, 80), slice(30, 90))
    drawn = draw_instances(IMAGE, _instances([mask, mask], [0.9, 0.4]), [], boxes=False, tags=False)
    assert np.abs(drawn[40, 40:80].astype(int) - track_color(4)).max() <= 20


def test_tags_stay_inside_and_apart() -> None:
    masks = [_block(slice(0, 20), slice(150, 160)), _block(slice(0, 21), slice(149, 160)), np.zeros(SIZE, bool)]
    drawn = draw_instances(IMAGE, _instances(masks, [0.9, 0.8, 0.7]), ["a very long class name"] * 3, masks=False)
    for track in (4, 5):
        assert (drawn == track_color(track)).all(axis=-1).sum() > 300  # the tag's ground
    assert not (drawn == track_color(6)).all(axis=-1).any()  # an empty mask has no tag


def test_colors_are_stable_and_can_be_told_apart() -> None:
    colors = palette()
    assert len(set(colors)) == PALETTE_LENGTH and colors == palette()
    assert track_color(3) == track_color(3 + PALETTE_LENGTH) == colors[3]
    lab = to_lab(np.array(colors, np.uint8))
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(PALETTE_LENGTH)
    assert distance[:10, :10].min() > 40  # a just noticeable difference is 2.3
    assert distance.min() > 10


def test_class_names_and_wrong_input() -> None:
    assert name_of_class(["cat"], 1) == "cat"
    assert name_of_class(["cat"], 2) == "class 2"
    assert name_of_class([], 0) == "class 0"
    assert name_of_class({7: "ape"}, 7) == "ape"
    with pytest.raises(ValueError, match=r"expected one frame of \(10, 10\)"):
        draw_instances(np.zeros((10, 10, 3), np.uint8), _instances([], []), [])
