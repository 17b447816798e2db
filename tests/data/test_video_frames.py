"""Labelled sets whose frames lie in video files, read through decord."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from mindvideo.data.clips.rules import CircularWindow
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.split import video_name
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.data.media.video_frames import VideoFrames, parse_video_frame, video_frame_name
from mindvideo.data.synthetic.files import write_video_files
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.errors import UserError
from tests.data.test_converters import CVAT_XML
from tests.data.test_moving_pictures import write_video

PREPARE = Path(__file__).resolve().parents[2] / "tools/segmentation/prepare.py"
LENGTH, SIZE = 12, (64, 96)
# Both decode with FFmpeg; only the conversion from YUV to RGB may round differently from build to build.
LEVELS = 3


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three mp4 files."""
    folder = tmp_path_factory.mktemp("files")
    recipe = dataclasses.replace(RECIPES["easy"], num_frames=LENGTH)
    assert len(write_video_files(folder, recipe, split="valid", num_videos=3, seed=0)) == 3
    return folder / "videos"


def by_pyav(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def names(video: int, frames: list[int]) -> list[str]:
    return [f"valid_{video:05d}.mp4#{frame}" for frame in frames]


def test_names() -> None:
    assert parse_video_frame("a/clip.mp4#12") == ("a/clip.mp4", 12)
    assert parse_video_frame(video_frame_name("b#1.mp4", 0)) == ("b#1.mp4", 0)
    assert parse_video_frame("a/00012.jpg") is None and parse_video_frame("odd#3.jpg") is None
    assert video_name({"file_names": ["a/clip.mp4#0"]}) != video_name({"file_names": ["a/other.mp4#0"]})


def test_frames_in_any_order_are_those_of_pyav(videos: Path) -> None:
    order = [7, 0, 11, 7, 3]
    expected = by_pyav(videos / "valid_00000.mp4")
    clip = FrameReader(folder=videos).clip(names(0, order), SIZE)
    made = clip.pixels()
    assert np.abs(made.astype(int) - expected[order]).max() <= LEVELS
    neighbours = np.abs(expected[1:].astype(int) - expected[:-1]).mean(axis=(1, 2, 3))
    assert neighbours.min() > LEVELS  # so a frame taken for its neighbour would be seen
    clip.reverse()
    np.testing.assert_array_equal(clip.pixels(), made[::-1])


def test_a_clip_asks_a_file_once_and_the_cache_spares_it(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = VideoFrames.read
    monkeypatch.setattr(
        VideoFrames, "read", lambda self, file, f: asked.append((Path(file).name, f)) or read(self, file, f)
    )
    reader = FrameReader(folder=videos, cache_megabytes=64)
    mixed = [*names(0, [4, 2]), *names(1, [5]), *names(0, [2])]
    first = reader.clip(mixed, SIZE).pixels()
    assert asked == [("valid_00000.mp4", [4, 2]), ("valid_00001.mp4", [5])]
    np.testing.assert_array_equal(reader.clip(mixed, SIZE).pixels(), first)
    assert len(asked) == 2


def test_few_files_stay_open_and_none_travels_to_a_worker(videos: Path) -> None:
    reader = VideoFrames(max_open=2)
    for number in (0, 1, 2, 0):
        assert reader.num_frames(videos / f"valid_{number:05d}.mp4") == LENGTH
        assert len(reader._open) <= 2
    assert len(pickle.loads(pickle.dumps(reader))._open) == 0


def test_mindspore_can_be_imported_after_it(videos: Path) -> None:
    """decord's symbols, shared with the whole process, would end the program here."""
    program = (
        "from mindvideo.data.media.frame_reader import FrameReader; import sys;"
        "assert FrameReader(folder=sys.argv[1]).read('valid_00000.mp4#3').any(); assert 'mindspore' not in sys.modules;"
        "import mindspore; assert (mindspore.Tensor([1.0]) + 1).asnumpy() == 2"
    )
    root = PREPARE.parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(videos)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr


def test_unusable_frames_are_named(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 50)
    reader = FrameReader(folder=tmp_path)
    with pytest.raises(BrokenFrameError, match=r"none\.mp4: no such video file"):
        reader.read("none.mp4#0")
    with pytest.raises(BrokenFrameError, match=r"broken\.mp4: not a video that can be opened"):
        reader.read("broken.mp4#0")
    reader = FrameReader(folder=videos)
    with pytest.raises(BrokenFrameError, match=r"valid_00000\.mp4#12: the video has 12 frames, 0 to 11"):
        reader.read("valid_00000.mp4#12")
    with pytest.raises(BrokenFrameError, match=r"mp4#3: frame of 64 x 96 \(height x width\), annotated as 60 x 96"):
        reader.clip(names(0, [3]), (60, 96)).pixels()


def annotation_file(folder: Path, file_names: list[str], height: int = SIZE[0]) -> Path:
    length = len(file_names)
    box, polygon = [2.0, 2.0, 20.0, 10.0], [[2, 2, 22, 2, 22, 12, 2, 12]]
    content = {
        "videos": [{"id": 1, "height": height, "width": SIZE[1], "length": length, "file_names": file_names}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [
            {"id": 1, "video_id": 1, "category_id": 1, "bboxes": [box] * length, "segmentations": [polygon] * length}
        ],
    }
    file = folder / "labels.json"
    file.write_text(json.dumps(content))
    return file


def test_check_lists_what_is_wrong_with_frames_of_videos(videos: Path, tmp_path: Path) -> None:
    sound = annotation_file(tmp_path, names(0, list(range(LENGTH))))
    for decode in (False, True):
        assert [p for p in check_video_set(sound, videos, decode=decode) if p.is_error] == []
    bad = annotation_file(tmp_path, [*names(0, [0, 40]), "none.mp4#0"])
    found = [(p.kind, p.message) for p in check_video_set(bad, videos) if p.is_error]
    assert [kind for kind, _ in found] == ["broken frame", "missing frame"]
    assert "valid_00000.mp4#40: the video has 12 frames" in found[0][1] and "none.mp4" in found[1][1]
    flat = annotation_file(tmp_path, names(0, [0]), height=60)
    (problem, *_) = [p for p in check_video_set(flat, videos) if p.kind == "frame size"]
    assert "is 64 x 96 (height x width), annotated as 60 x 96" in problem.message


def test_a_data_set_reads_its_clips_from_a_video_file(videos: Path, tmp_path: Path) -> None:
    file = annotation_file(tmp_path, names(1, list(range(LENGTH))))
    dataset = VideoDataset(annotation_file=file, frame_folder=videos, clip_rule=CircularWindow(num_frames=4))
    clip = dataset.clip(5, np.random.default_rng(0))
    expected = by_pyav(videos / "valid_00001.mp4")[clip.frame_indices]
    assert np.abs(clip.frames.pixels().astype(int) - expected).max() <= LEVELS


def cvat_file(folder: Path) -> Path:
    """Labels of frames 2, 4, 6, 8 of a video of 64 x 96."""
    text = CVAT_XML.replace("<width>32</width><height>20</height>", "<width>96</width><height>64</height>")
    for old, new in zip(("10", "12", "14", "16"), ("2", "4", "6", "8")):
        text = text.replace(f'frame="{old}"', f'frame="{new}"').replace(f"_frame>{old}<", f"_frame>{new}<")
    file = folder / "cvat.xml"
    file.write_text(text)
    return file


def test_cvat_labels_of_a_video_need_no_extracted_frames(videos: Path, tmp_path: Path) -> None:
    labels, output = cvat_file(tmp_path), tmp_path / "labels.json"
    command = [sys.executable, PREPARE, "convert", "cvat", labels, "--video", videos / "valid_00002.mp4"]
    done = subprocess.run([*map(str, command), "--output", str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(output.read_text())
    assert content["videos"][0]["file_names"] == names(2, [2, 4, 6, 8])
    assert [p for p in check_video_set(output, videos, decode=True) if p.is_error] == []
    nested = convert_cvat_video(labels, videos.parent, video=videos / "valid_00002.mp4")
    assert nested["videos"][0]["file_names"][1] == "videos/valid_00002.mp4#4"
    assert nested["annotations"] == content["annotations"]


def test_cvat_mistakes_about_the_video_are_named(videos: Path, tmp_path: Path) -> None:
    labels = cvat_file(tmp_path)
    with pytest.raises(UserError, match=r"none\.mp4: no such video file"):
        convert_cvat_video(labels, video=videos / "none.mp4")
    with pytest.raises(UserError, match="is not below --frames"):
        convert_cvat_video(labels, tmp_path, video=videos / "valid_00000.mp4")
    other = tmp_path / "other.xml"
    other.write_text(labels.read_text().replace("<height>64<", "<height>80<"))
    with pytest.raises(UserError, match=r"is 64 x 96 \(height x width\), labelled as 80 x 96"):
        convert_cvat_video(other, video=videos / "valid_00000.mp4")


@pytest.mark.parametrize("suffix, lost", [(".mp4", 60), (".mkv", 20)])
def test_a_video_that_was_cut_off_is_one_problem(tmp_path: Path, suffix: str, lost: int) -> None:
    """decord opens a Matroska file that lacks its end, and no MP4."""
    total = 60
    whole = write_video(tmp_path / f"a{suffix}", total, "libx264", SIZE)
    file_names = [f"{whole.name}#{frame}" for frame in range(total)]
    labels = annotation_file(tmp_path, file_names)
    assert [p for p in check_video_set(labels, tmp_path) if p.is_error] == []
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 6 // 10])
    for decode in (False, True):
        (problem,) = [p for p in check_video_set(labels, tmp_path, decode=decode) if p.is_error]
        said = int(problem.message.partition(" more of its 60 frames")[0].split()[-1]) + 1
        assert said == 60 if suffix == ".mp4" else lost - 10 <= said <= lost + 15
    if suffix == ".mp4":
        assert problem.kind == "broken video" and re.search(r"\d\d of 60 frames can be decoded", problem.message)
        reader = FrameReader(folder=tmp_path)
        with pytest.raises(BrokenFrameError, match="not a video that can be opened"):
            reader.read("a.mp4#3")
