"""The made-up sets of long videos: objects that stay and cross, come and go, and cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.long_sets import LONG_SETS, long_recipe
from mindvideo.data.synthetic.videos import MIN_VISIBLE_PIXELS, RECIPES, SyntheticVideo, render_video
from mindvideo.inference.trackers.scenes import CutDetector

EASY = RECIPES["easy"]
COUNT = 12
AREAS = [1436, 3632, 2024, 1223]  # pixels of a clip's objects, before there were long sets


def videos_of(name: str, count: int = COUNT) -> list[SyntheticVideo]:
    return [render_video(long_recipe(EASY, name), seed=5, split=name, index=index) for index in range(count)]


def presence_of(video: SyntheticVideo) -> np.ndarray:
    return video.masks.any(axis=(2, 3))  # [N, T]


@pytest.mark.parametrize("name", LONG_SETS)
def test_videos_are_well_formed_and_as_long_as_said(name: str) -> None:
    for video in videos_of(name, 3):
        assert video.frames.shape == (LONG_SETS[name], 64, 96, 3)
        assert video.masks.shape == (len(video.labels), *video.frames.shape[:3])
        assert video.masks.sum(axis=0).max() == 1
        areas = video.masks.sum(axis=(2, 3))
        assert areas.any(axis=1).all() and (areas[areas > 0] >= MIN_VISIBLE_PIXELS).all()


def test_objects_that_stay_are_seen_almost_always_and_hide_each_other() -> None:
    videos = videos_of("stay")
    assert {len(video.labels) for video in videos} == {3, 4}
    assert np.mean(np.concatenate([presence_of(video) for video in videos])) > 0.95
    hidden = 0
    for video in videos:
        areas = video.masks.sum(axis=(2, 3))  # an object that grows by a few percent a frame does not halve in five
        hidden += int((areas[:, 5:] < 0.6 * areas[:, :-5]).any())
    assert hidden >= COUNT // 2


@pytest.mark.parametrize("name", ["late", "late200"])
def test_objects_enter_late_leave_for_good_and_come_back(name: str) -> None:
    T = LONG_SETS[name]
    entries, gone, returns, objects = [], 0, 0, 0
    for video in videos_of(name):
        present = presence_of(video)
        first = present.argmax(axis=1)
        assert first[0] == 0 and (first[1:] > 0).all()  # one object at the start
        entries += first[1:].tolist()
        objects += len(present)
        gone += int((~present[:, -1]).sum())
        returns += sum(bool((np.diff(row.astype(int)) == 1).sum() > (not row[0])) for row in present)
    assert max(entries) <= 0.75 * T + 6 and max(entries) > 0.6 * T and min(entries) < 0.2 * T
    assert 0.2 * objects < gone < 0.5 * objects
    assert returns >= COUNT // 2


def test_objects_come_in_over_the_border() -> None:
    for video in videos_of("late", 6):
        for masks, present in zip(video.masks, presence_of(video)):
            entry = int(present.argmax())
            if entry:
                rows, columns = np.nonzero(masks[entry])
                reach = min(rows.min(), columns.min(), 63 - rows.max(), 95 - columns.max())
                assert reach < 12  # it may be hidden in its very first frames


def test_a_cut_is_where_all_objects_change() -> None:
    for video in videos_of("cuts", 6):
        present = presence_of(video)
        last, first = present.shape[1] - present[:, ::-1].argmax(axis=1), present.argmax(axis=1)
        detector = CutDetector()
        cuts = [t for t, frame in enumerate(video.frames) if detector.is_cut(frame)]
        assert len(cuts) == 1 and 20 <= cuts[0] <= 40
        assert all(stop <= cuts[0] or start >= cuts[0] for start, stop in zip(first, last))


def test_clips_for_training_are_drawn_as_before() -> None:
    video = render_video(EASY, seed=3, split="train", index=5)
    assert video.labels == (1, 1, 1, 3)
    assert video.masks.sum(axis=(1, 2, 3)).tolist() == AREAS


def test_written_sets_are_found_by_name_and_have_no_problems(tmp_path: Path) -> None:
    for name in ("late", "cuts"):
        list(write_split(tmp_path / "synthetic_easy", long_recipe(EASY, name), split=name, num_videos=2, seed=0))
        files = Catalogue(root=tmp_path).find(f"synthetic_easy/{name}").require()
        assert [each for each in check_video_set(files.annotations, files.frames, decode=True) if each.is_error] == []
