"""Files that hold several pictures, and video files that were cut off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.sources import find_videos

SIZE = (32, 48)
COUNT = 7
SAVE = {
    "gif": {"save_all": True, "duration": 40, "loop": 0},
    "webp": {"save_all": True, "duration": 40, "lossless": True},
    "tiff": {"save_all": True},
}


def grey_steps(count: int = COUNT) -> list[Image.Image]:
    """Frames of one grey level each, which every format keeps."""
    return [Image.fromarray(np.full((*SIZE, 3), 20 * t + 10, np.uint8)) for t in range(count)]


def write_animation(file: Path, count: int = COUNT) -> Path:
    first, *others = grey_steps(count)
    first.save(file, append_images=others, **SAVE[file.suffix[1:]])
    return file


@pytest.mark.parametrize("kind", SAVE)
def test_every_picture_of_a_file_is_a_frame(tmp_path: Path, kind: str) -> None:
    (source,) = find_videos(write_animation(tmp_path / f"clip.{kind}"))
    with source.open(frames_per_second=8) as reader:
        assert (reader.name, reader.num_frames, tuple(reader.size)) == ("clip", COUNT, SIZE)
        assert reader.frames_per_second == pytest.approx(8 if kind == "tiff" else 25)
        frames = list(reader.frames())
    assert [frame.index for frame in frames] == list(range(COUNT))
    for frame, step in zip(frames, grey_steps()):
        assert np.abs(frame.image.astype(int) - np.asarray(step)).max() <= 1
    with source.open(selection=FrameSelection(start=1, stop=6, step=2)) as reader:
        assert [frame.index for frame in reader.frames()] == [1, 3, 5]
        assert reader.num_frames == 3


@pytest.mark.parametrize("kind", SAVE)
def test_a_single_picture_of_these_kinds_stays_a_picture(tmp_path: Path, kind: str) -> None:
    (source,) = find_videos(write_animation(tmp_path / f"one.{kind}", count=1))
    with source.open() as reader:
        assert len(list(reader.frames())) == reader.num_frames == 1


@pytest.mark.parametrize("kind", SAVE)
def test_a_folder_of_them_says_once_that_only_the_first_counts(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        write_animation(tmp_path / f"frame{number}.{kind}")
    (source,) = find_videos(tmp_path)
    with caplog.at_level(logging.WARNING), source.open() as reader:
        assert len(list(reader.frames())) == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{tmp_path}/frame0.{kind} holds {COUNT} pictures, of which only the first is a frame here")


def test_a_damaged_page_says_how_many_frames_are_lost(tmp_path: Path) -> None:
    file = tmp_path / "clip.tiff"
    first, *others = grey_steps()
    first.save(file, save_all=True, append_images=others, compression="tiff_adobe_deflate")
    with Image.open(file) as pages:
        pages.seek(4)
        place = pages.tag_v2[273][0]  # where the strip of the fifth page lies
    content = bytearray(file.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    file.write_bytes(content)
    frames, problems = problems_of(file, 1)
    (line,) = problems
    assert frames == 5 and line.startswith("frame 4 cannot be read") and line.endswith("3 of its 7 frames are lost")


def write_video(file: Path, count: int, codec: str, size: tuple[int, int] = SIZE) -> Path:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    options = {"movflags": "faststart"} if file.suffix in (".mp4", ".mov") else {}
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for t in range(count):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, t, 1), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "libx264")]
)
@pytest.mark.parametrize("step", [1, 3])
def test_a_video_that_was_cut_off_says_how_many_frames_are_lost(
    tmp_path: Path, name: str, codec: str, step: int
) -> None:
    total = 120
    file = write_video(tmp_path / name, total, codec)
    assert problems_of(file, step)[1] == []
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    frames, problems = problems_of(file, step)
    assert 0.3 * total < frames * step < 0.8 * total
    lost = int(problems[-1].partition("frames are lost")[0].split()[-1])
    # The line's own frame is among the lost ones, and the last good frame stands in for it.
    assert abs(frames - 1 + lost - total // step) <= 1, problems
    assert len(problems) <= 3 and "cut off" in problems[-1]


def problems_of(file: Path, step: int) -> tuple[int, list[str]]:
    problems: list[str] = []
    on_problem: Callable[[str], None] = problems.append
    with find_videos(file)[0].open(selection=FrameSelection(step=step)) as reader:
        return len(list(reader.frames(on_problem))), problems


def test_a_trimmed_video_that_is_whole_lost_nothing(tmp_path: Path) -> None:
    """Phones keep the frames that trimming hides: fewer are shown than the file has."""
    whole = write_video(tmp_path / "a.mp4", 60, "mpeg4")
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts -= 10_240  # frames before time 0 are not shown
                packet.dts -= 10_240
                packet.stream = stream
                target.mux(packet)
    with av.open(str(trimmed)) as container:
        declared = container.streams.video[0].frames
    shown, problems = problems_of(trimmed, 1)
    assert declared == 60 and problems == []
    assert shown <= declared
