"""Objects of one training clip pasted on another."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.assembly.browse import _clip_on_disk
from mindvideo.data.clips.assemble import ClipSettings, training_clips
from mindvideo.data.clips.pasting import PastedClips, fitted, pasted
from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.transforms.pipelines import AugmentationSettings
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.masks.lazy import ClipMasks

SIZE = (40, 60)


def clip_of(places: list[list[tuple[int, int, int, int] | None]], value: int, video_id: int = 1) -> ClipSample:
    """Frames of one grey; instance n covers ``places[n][t]``, (x0, y0, x1, y1), in frame t."""
    T = len(places[0]) if places else 2
    masks = np.zeros((len(places), T, *SIZE), np.uint8)
    boxes = np.zeros((len(places), T, 4), np.float32)
    for n, track in enumerate(places):
        for t, place in enumerate(track):
            if place is not None:
                boxes[n, t] = place
                masks[n, t, place[1] : place[3], place[0] : place[2]] = 1
    return ClipSample(
        frames=ClipFrames.of_pixels(np.full((T, *SIZE, 3), value, np.uint8)),
        labels=np.arange(len(places), dtype=np.int32) + value,
        boxes=boxes,
        masks=ClipMasks.of_pixels(masks),
        present=boxes.any(axis=-1),
        video_id=video_id,
        frame_indices=np.arange(T),
        key_frame=1,
    )


class Clips:
    """A source of given clips; each call gives a copy."""

    def __init__(self, *clips: ClipSample) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def category_ids(self) -> set[int]:
        return {int(label) for clip in self.clips for label in clip.labels}

    def frame_size(self, index: int) -> tuple[int, int]:
        return self.clips[index].size

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample:
        return copy.deepcopy(self.clips[index])


def test_what_is_pasted_hides_what_is_below() -> None:
    below = clip_of([[(0, 0, 20, 10), (0, 0, 20, 10), None], [(30, 20, 50, 30)] * 3, [(2, 2, 4, 4), None, None]], 10)
    below.boxes[1] += 0.25  # the annotation's box, not the mask's: kept where nothing is hidden
    above = clip_of([[(10, 0, 30, 10), (1, 0, 30, 10), (25, 0, 30, 10)], [None, (0, 0, 10, 10), None]], 200, video_id=2)
    clip = pasted(below, above)

    assert clip.labels.tolist() == [10, 11, 12, 200, 201]
    assert (clip.video_id, clip.key_frame, clip.frame_indices.tolist()) == (1, 1, [0, 1, 2])
    masks = clip.masks.pixels()
    assert masks.sum(axis=(2, 3)).tolist() == [[100, 0, 0], [200, 200, 200], [4, 0, 0], [200, 290, 50], [0, 100, 0]]
    assert clip.boxes[0].tolist() == [[0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert clip.boxes[1].tolist() == [[30.25, 20.25, 50.25, 30.25]] * 3
    assert clip.boxes[3].tolist() == [[10, 0, 30, 10], [1, 0, 30, 10], [25, 0, 30, 10]]
    assert clip.present.tolist() == [[1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1], [0, 1, 0]]
    assert not (masks[:3].any(axis=0) & masks[3:].any(axis=0)).any()
    frames = clip.frames.pixels()
    assert (frames[masks[3:].any(axis=0)] == 200).all() and (frames[~masks[3:].any(axis=0).astype(bool)] == 10).all()


def test_little_that_is_left_counts_as_hidden_and_what_is_nowhere_left_is_dropped() -> None:
    below = clip_of([[(0, 0, 20, 10)] * 2, [(40, 20, 60, 40)] * 2], 10)
    kept = pasted(copy.deepcopy(below), clip_of([[(0, 0, 18, 10), None]], 200))  # a tenth is left
    assert kept.present.tolist() == [[1, 1], [1, 1], [1, 0]] and kept.boxes[0, 0].tolist() == [18, 0, 20, 10]
    hidden = pasted(copy.deepcopy(below), clip_of([[(0, 0, 19, 10), None]], 200))
    assert hidden.present.tolist() == [[0, 1], [1, 1], [1, 0]] and not hidden.masks.pixels()[0, 0].any()
    assert not hidden.boxes[0, 0].any()
    gone = pasted(copy.deepcopy(below), clip_of([[(0, 0, 20, 10)] * 2], 200))
    assert gone.labels.tolist() == [11, 200] and len(gone.boxes) == len(gone.present) == len(gone.masks.pixels()) == 2


def test_an_instance_that_the_file_says_is_absent_stays_in_the_clip() -> None:
    """Only pasting drops instances here; those that were never seen are for ``data.absent`` to judge."""
    below = clip_of([[None, None], [(0, 0, 9, 9), None]], 10)
    clip = pasted(below, clip_of([[(20, 20, 30, 30)] * 2], 200))
    assert clip.labels.tolist() == [10, 11, 200]


@pytest.mark.parametrize("size", [(40, 60), (20, 30), (50, 60), (80, 60), (64, 200), (41, 59)])
def test_the_other_clip_is_made_to_cover_the_frame(size: tuple[int, int]) -> None:
    height, width = size
    grey = np.linspace(0, 250, width).astype(np.uint8)
    for seed in range(8):
        masks = np.zeros((1, 2, height, width), np.uint8)
        masks[:, :, :, width // 2 :] = 1
        clip = clip_of([[None, None]], 0)
        clip.frames = ClipFrames.of_pixels(np.broadcast_to(grey[:, None], (2, height, width, 3)).copy())
        clip.masks = ClipMasks.of_pixels(masks)
        result = fitted(clip, SIZE, np.random.default_rng(seed))
        assert result.size == SIZE and result.masks.size == SIZE
        frames, mask = result.frames.pixels(), result.masks.pixels()[0].astype(bool)
        assert frames.shape == (2, *SIZE, 3)
        assert (frames[mask] >= 117).all() and (frames[~mask] <= 133).all()  # the middle of the greys


def test_the_other_clip_is_not_distorted() -> None:
    """A square of a tall clip is one of the same size in a wide frame; the top or the bottom may be cut off."""
    tall = np.zeros((1, 1, 80, 60), np.uint8)
    tall[:, :, 30:50, 20:40] = 1
    heights = []
    for seed in range(20):
        clip = clip_of([[None]], 0)
        clip.frames = ClipFrames.of_pixels(np.zeros((1, 80, 60, 3), np.uint8))
        clip.masks = ClipMasks.of_pixels(tall)
        mask = fitted(clip, SIZE, np.random.default_rng(seed)).masks.pixels()[0, 0]
        assert mask.any(axis=0).sum() == 20
        heights.append(mask.any(axis=1).sum())
    assert max(heights) == 20


def test_the_share_and_the_number_of_pasted_objects_are_drawn() -> None:
    three = [[(2 + 20 * n, 22, 18 + 20 * n, 38)] * 2 for n in range(3)]
    source = Clips(clip_of([], 10, video_id=7), clip_of(three, 200, video_id=8))
    clips = PastedClips(source=source, share=0.5)
    assert len(clips) == 2 and clips.frame_size(0) == SIZE and clips.category_ids() == {200, 201, 202}
    drawn = [clips.clip(0, np.random.default_rng(seed)) for seed in range(400)]
    again = [clips.clip(0, np.random.default_rng(seed)) for seed in range(400)]
    assert all((a.frames.pixels() == b.frames.pixels()).all() for a, b in zip(drawn, again))
    assert {clip.video_id for clip in drawn} == {7}
    chosen = [tuple(clip.labels) for clip in drawn]
    assert 265 <= chosen.count(()) <= 335  # half of them, and a half of the rest drew the clip without objects
    assert len(set(chosen)) == 8 and chosen.count((200, 201, 202)) > 15  # any of the three, in any number


def test_browsing_shows_the_clip_on_disk_without_what_is_pasted(shapes_set: Path) -> None:
    named = {"names": ["synthetic_easy/train"], "catalogue": Catalogue(root=shapes_set.parent)}
    plain, full = (
        training_clips(**named, settings=ClipSettings(num_frames=3, pasted_share=share)) for share in (0.0, 1.0)
    )
    for index in range(6):
        expected = plain.source.clip(index, np.random.default_rng(index))
        shown = _clip_on_disk(full, index, np.random.default_rng(index))
        assert (shown.frames.pixels() == expected.frames.pixels()).all()
        assert shown.labels.tolist() == expected.labels.tolist()
        sample, _ = full.sample(index, np.random.default_rng(index))
        assert sample.video_id == expected.video_id and sample.labels.tolist() != expected.labels.tolist()


def test_a_clip_without_objects_pastes_nothing() -> None:
    source = Clips(clip_of([], 10))
    clip = PastedClips(source=source, share=1.0).clip(0, np.random.default_rng(0))
    assert clip.num_instances == 0 and (clip.frames.pixels() == 10).all()


@pytest.fixture(scope="module")
def image_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight images of noise, 90 x 60 and 60 x 90, with two labelled rectangles each."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 9):
        width, height = (90, 60) if number % 2 else (60, 90)
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for left, top in ((4, 6), (34, 30)):
            outline = [left, top, left + 20, top, left + 20, top + 24, left, top + 24]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 480}
                | {"segmentation": [outline], "bbox": [left, top, 20, 24]}
            )
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    return f"{folder / 'labels.json'}@{folder}"


@pytest.mark.parametrize(("kind", "frames"), [("video", 3), ("image", 1), ("image", 3)])
def test_sets_of_videos_and_of_images_take_it(shapes_set: Path, image_set: str, kind: str, frames: int) -> None:
    """Through the builder that training uses: more objects than without, none of them overlapping, boxes about them."""
    counts = {}
    for share in (0.0, 1.0):
        settings = ClipSettings(
            num_frames=frames,
            augmentation=AugmentationSettings(name="toy"),
            absent="drop",
            pasted_share=share,
        )
        name = "synthetic_easy/train" if kind == "video" else image_set
        clips = training_clips([name], catalogue=Catalogue(root=shapes_set.parent), settings=settings)
        samples = [clips.sample(index, np.random.default_rng(index))[0] for index in range(8)]
        counts[share] = sum(sample.num_instances for sample in samples)
        for sample in samples:
            masks = sample.masks.pixels()
            assert masks.sum(axis=0).max() <= 1
            seen = masks.any(axis=(2, 3))
            assert not sample.boxes[~seen].any() and (sample.boxes[seen][:, 2:] >= sample.boxes[seen][:, :2]).all()
    assert counts[1.0] > 1.4 * counts[0.0]
