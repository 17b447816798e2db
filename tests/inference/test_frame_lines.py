"""Results on disk frame by frame, and what the overlay points out: births and cuts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.inference.output import video_files
from mindvideo.inference.output.draw import draw_instances, mark_cut
from mindvideo.inference.output.video_files import MARKED_FRAMES, OutputChoice, VideoFiles
from mindvideo.inference.video_run import lives_of
from mindvideo.masks.rle import empty_mask, encode_mask
from mindvideo.structures import Frame, VideoInstances

SIZE = (24, 32)


def instances(tracks: list[int], num_frames: int = 1) -> VideoInstances:
    mask = np.zeros(SIZE, bool)
    mask[4:12, 4:12] = True
    N = len(tracks)
    return VideoInstances(
        video_id=1,
        size=SIZE,
        num_frames=num_frames,
        scores=np.full(N, 0.9, np.float32),
        labels=np.full(N, 2),
        track_ids=np.array(tracks, np.int64),
        segmentations=[[encode_mask(mask)] * num_frames for _ in range(N)],
    )


def frame(index: int) -> Frame:
    return Frame(image=np.full((*SIZE, 3), 60, np.uint8), index=index, source=f"clip.mp4, frame {index}")


def files_of(folder: Path, **options) -> VideoFiles:
    return VideoFiles(folder, choice=OutputChoice(write=options.pop("write")), frames_per_second=10, **options)


def test_each_frame_is_on_disk_when_the_next_one_comes(tmp_path: Path) -> None:
    files = files_of(tmp_path / "v", write=("frames",), cuts=lambda: [1])
    for index, tracks in enumerate([[1], [1, 2], []]):
        files.add((frame(index), instances(tracks)))
        lines = [json.loads(line) for line in (tmp_path / "v" / "frames.partial.jsonl").read_text().splitlines()]
        assert [line["frame"] for line in lines] == list(range(index + 1))
    files.finish(instances([1, 2], num_frames=3))
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"frames.jsonl", "results.json"}
    lines = [json.loads(line) for line in (tmp_path / "v" / "frames.jsonl").read_text().splitlines()]
    assert [[track["track_id"] for track in line["tracks"]] for line in lines] == [[1], [1, 2], []]
    assert [line.get("cut", False) for line in lines] == [False, True, False]
    first = lines[0]["tracks"][0]
    assert first == {"track_id": 1, "category_id": 2, "score": 0.9, "segmentation": instances([1]).segmentations[0][0]}


@pytest.mark.parametrize("end", ["keep_partial", "abandon"])
def test_an_interruption_keeps_the_lines_and_an_error_removes_them(tmp_path: Path, end: str) -> None:
    files = files_of(tmp_path / "v", write=("frames",))
    files.add((frame(0), instances([1])))
    files.keep_partial(None) if end == "keep_partial" else files.abandon()
    assert (tmp_path / "v" / "frames.partial.jsonl").exists() == (end == "keep_partial")


def test_the_overlay_points_out_births_and_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, cut = [], []
    monkeypatch.setattr(
        video_files, "draw_instances", lambda image, *_, **options: (new.append(options["new_tracks"]), image)[1]
    )
    monkeypatch.setattr(video_files, "mark_cut", lambda canvas: cut.append(len(new) - 1))
    files = files_of(tmp_path / "v", write=("video",), cuts=lambda: [20])
    for index in range(30):
        # 1 from the start, 2 enters, 3 is there when the second scene begins
        tracks = [1] + [2] * (index >= 8) if index < 20 else [3]
        files.add((frame(index), instances(tracks)))
    files.abandon()
    assert [index for index, tracks in enumerate(new) if tracks] == list(range(8, 8 + MARKED_FRAMES))
    assert new[8] == [2] and cut == list(range(20, 20 + MARKED_FRAMES))


def test_marks_can_be_seen() -> None:
    canvas = np.full((240, 320, 3), 60, np.uint8)
    plain = draw_instances(frame(0).image, instances([1]), [], tags=False)
    assert (draw_instances(frame(0).image, instances([1]), [], tags=False, new_tracks=[1]) != plain).any()
    mark_cut(canvas)
    assert (canvas[120, 0] == 255).all() and (canvas[120, 160] == 60).all()


def test_lives_are_from_the_first_to_the_last_pixel() -> None:
    result = instances([1, 2, 3], num_frames=4)
    none = empty_mask(SIZE)
    result.segmentations[0][:] = [None, result.segmentations[0][1], none, None]
    result.segmentations[1][:] = [none] * 4
    assert lives_of(result) == [[1, 1], None, [0, 3]]
