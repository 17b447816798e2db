"""The mp4: codec, colours, odd sizes, key frames, and what is on disk after an end, an interruption and an error."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import numpy as np
import pytest

from mindvideo.data.media.video_file import VideoFile
from mindvideo.errors import UserError
from mindvideo.inference.output.video_writer import VideoWriter, find_encoder
from tests.inference.colored_videos import make_frame


def _decoded(path: Path) -> list[np.ndarray]:
    with VideoFile(path, name=path.name) as reader:
        return [frame.image for frame in reader.frames()]


def test_a_file_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "clip.mp4"
    with VideoWriter(path, frames_per_second=29.97) as writer:
        for index in range(100):
            writer.write(make_frame(index, (61, 83)))
        assert not path.exists()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (84, 62, 100)
        assert float(stream.average_rate) == pytest.approx(29.97)
        keys = [index for index, packet in enumerate(container.demux(stream)) if packet.is_keyframe]
        assert max(np.diff(keys)) <= 61
    content = path.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")  # faststart: playable while it loads
    assert [file.name for file in path.parent.iterdir()] == ["clip.mp4"]
    frames = _decoded(path)
    assert len(frames) == 100
    for index in (0, 50, 99):
        expected = np.pad(make_frame(index, (61, 83)), ((0, 1), (0, 1), (0, 0)), mode="edge")
        assert np.abs(frames[index].astype(int) - expected).mean() < 4


def test_flat_colors_survive(tmp_path: Path) -> None:
    color = (220, 40, 90)
    with VideoWriter(tmp_path / "flat.mp4", frames_per_second=10) as writer:
        writer.write(np.full((32, 32, 3), color, np.uint8))
    assert np.abs(_decoded(tmp_path / "flat.mp4")[0].astype(int) - color).max() <= 2
    with av.open(str(tmp_path / "flat.mp4")) as container:
        luma = bytes(next(container.decode(video=0)).planes[0])[0]
        assert container.streams.video[0].codec_context.colorspace == 1
    # The BT.709 luma that the file says it has, in limited range.
    assert luma == pytest.approx(16 + 219 / 255 * (0.2126 * 220 + 0.7152 * 40 + 0.0722 * 90), abs=1)


def test_an_interruption_leaves_a_partial_file_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, frames_per_second=10) as writer:
        for index in range(7):
            writer.write(make_frame(index))
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["clip.partial.mp4"]
    assert len(_decoded(tmp_path / "clip.partial.mp4")) == 7
    with VideoWriter(path, frames_per_second=10) as writer:
        writer.write(make_frame(0))
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_error_leaves_nothing_and_spares_an_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"earlier")
    with pytest.raises(RuntimeError), VideoWriter(path, frames_per_second=10) as writer:
        writer.write(make_frame(0))
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"earlier"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError) as caught, VideoWriter(tmp_path / "clip.mp4", frames_per_second=10) as writer:
            for _ in range(200):
                writer.write(noise.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_no_frames_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", frames_per_second=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_one_frame_size_and_a_known_encoder(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="expected a frame of"),
        VideoWriter(tmp_path / "clip.mp4", frames_per_second=10) as writer,
    ):
        writer.write(make_frame(0))
        writer.write(make_frame(0, (10, 10)))
    with pytest.raises(UserError, match=r"no H\.264 encoder .*inference\.write"):
        find_encoder("no-such-encoder")
