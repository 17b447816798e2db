"""Readers: every kind of picture becomes RGB, selections, natural order, and one clear line for every bad input."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media.frame_size import short_side_size
from mindvideo.data.media.images import natural_order, read_image
from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.sources import find_videos
from mindvideo.data.media.streams import open_stream
from mindvideo.errors import UserError
from tests.inference.colored_videos import (
    COLORS,
    make_frame,
    masks_by_color,
    true_masks,
    write_frame_folder,
    write_video,
)


def _read_all(path: Path | str, **options) -> list[np.ndarray]:
    (source,) = find_videos(path)
    with source.open(**options) as reader:
        return [frame.image for frame in reader.frames()]


def _message(path: Path | str, **options) -> str:
    with pytest.raises(UserError) as caught:
        _read_all(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- pictures ----------------------------------------------------------------------------------------------------


def _rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_every_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    rgb = _rgb()
    grey = rgb[:, :, 0]
    alpha = np.concatenate([rgb, np.full((6, 9, 1), 7, np.uint8)], axis=2)
    wide = grey.astype(np.uint16) * 256 + 77
    palette = Image.fromarray(grey)
    palette.putpalette([value for level in range(256) for value in (level, 255 - level, 3)])
    cases = {
        "rgb": (Image.fromarray(rgb), rgb),
        "grey": (Image.fromarray(grey), np.repeat(grey[:, :, None], 3, axis=2)),
        "rgba": (Image.fromarray(alpha), rgb),
        "16bit": (Image.fromarray(wide), np.repeat(grey[:, :, None], 3, axis=2)),
        "palette": (palette, np.stack([grey, 255 - grey, np.full_like(grey, 3)], axis=2)),
    }
    for name, (picture, expected) in cases.items():
        picture.save(tmp_path / f"{name}.png")
        found = read_image(tmp_path / f"{name}.png")
        assert found.dtype == np.uint8, name
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    Image.fromarray(_rgb()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(_rgb(), -1))
    (frame,) = _read_all(tmp_path / "turned.png")
    assert frame.shape == (9, 6, 3)


def test_natural_order() -> None:
    names = [Path(name) for name in ("f10.png", "f2.png", "a/f1.png", "F1.png")]
    assert [path.name for path in natural_order(names)] == ["f1.png", "F1.png", "f2.png", "f10.png"]


def test_size_rule_of_the_originals(golden: Path) -> None:
    table = np.load(golden / "vistr" / "data.npz")["size_table"]
    for width, height, short, longest, new_width, new_height in table.tolist():
        found = short_side_size((height, width), short_side=short, long_side=None if longest < 0 else longest)
        assert found == (new_height, new_width)


# ---- videos ------------------------------------------------------------------------------------------------------


def test_folder_of_frames_in_natural_order(tmp_path: Path) -> None:
    folder = write_frame_folder(tmp_path / "clip", 12)
    for index, image in enumerate(_read_all(folder)):
        np.testing.assert_array_equal(image, make_frame(index))


@pytest.mark.parametrize(("text", "expected"), [(":", range(12)), ("3:", range(3, 12)), ("1:9:3", [1, 4, 7])])
def test_selection_is_the_same_for_files_and_folders(tmp_path: Path, text: str, expected) -> None:
    selection = FrameSelection.parse(text)
    for path in (write_frame_folder(tmp_path / "clip", 12), write_video(tmp_path / "clip.mp4", 12)):
        with find_videos(path)[0].open(selection=selection) as reader:
            assert [frame.index for frame in reader.frames()] == list(expected)
            assert reader.num_frames == len(expected)
            assert reader.frames_per_second == pytest.approx((25 if path.suffix else 10) / selection.step)


def test_video_file_has_the_right_frames(tmp_path: Path) -> None:
    frames = _read_all(write_video(tmp_path / "clip.mp4", 9, size=(47, 65)))
    assert len(frames) == 9
    for index, image in enumerate(frames):
        image = image[:47, :65]  # written with an even size
        for category, mask in true_masks(index, (47, 65)).items():
            found = masks_by_color(image)[category]
            assert (found & mask).sum() > 0.7 * mask.sum(), (index, category)
            assert np.abs(image[mask].mean(axis=0) - COLORS[category]).max() < 40


def test_the_many_ways_to_name_videos(tmp_path: Path) -> None:
    write_frame_folder(tmp_path / "many" / "b10", 2)
    write_frame_folder(tmp_path / "many" / "b9", 2)
    write_video(tmp_path / "many" / "a.mp4", 2)
    write_video(tmp_path / "many" / "a.mkv.mp4", 2)
    write_video(tmp_path / "twice" / "x.mp4", 2)
    write_video(tmp_path / "twice" / "y" / "x.mp4", 2)

    def names(given: str | Path) -> list[str]:
        return [source.name for source in find_videos(given)]

    assert names(tmp_path / "many") == ["a.mkv", "a", "b9", "b10"]
    assert names(tmp_path / "many" / "*.mp4") == ["a.mkv", "a"]
    assert names(tmp_path / "many" / "*" / "*.png") == ["b9", "b10"]
    assert names(tmp_path / "many" / "b9" / "*0.png") == ["b9"]
    assert names(str(tmp_path / "twice" / "**" / "*.mp4")) == ["x-mp4", "x-mp4-2"]
    assert names("camera:3") == ["camera-3"]
    assert find_videos("camera:3")[0].camera == 3
    assert names("-") == ["stdin"]


def test_standard_input_takes_mjpeg_and_raw_frames() -> None:
    frames = [make_frame(index, (48, 64)) for index in range(5)]
    jpegs = io.BytesIO()
    for frame in frames:
        Image.fromarray(frame).save(jpegs, format="JPEG", quality=95)
    with open_stream(io.BytesIO(jpegs.getvalue()), raw_size=None) as reader:
        decoded = [frame.image for frame in reader.frames()]
    assert len(decoded) == 5
    for found, frame in zip(decoded, frames):
        assert np.abs(found.astype(int) - frame).mean() < 6
    raw = b"".join(frame.tobytes() for frame in frames)
    with open_stream(io.BytesIO(raw), raw_size=(48, 64)) as reader:
        np.testing.assert_array_equal([frame.image for frame in reader.frames()], frames)
    problems: list[str] = []
    with open_stream(io.BytesIO(raw[:-5]), raw_size=(48, 64)) as reader:
        assert len(list(reader.frames(problems.append))) == 5
    assert problems == ["frame 4 cannot be read: the stream ended after 9211 of its 9216 bytes"]


def test_pictures_are_read_when_their_turn_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mindvideo.data.media import pictures

    read: list[Path] = []
    monkeypatch.setattr(pictures, "read_image", lambda path: read.append(path) or read_image(path))
    with find_videos(write_frame_folder(tmp_path / "clip", 12))[0].open() as reader:
        frames = reader.frames()
        next(frames)
        assert len(read) == 1


# ---- bad input ---------------------------------------------------------------------------------------------------


def test_bad_inputs_get_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "notes.txt").write_text("nothing")
    whole = write_video(tmp_path / "whole.mp4", 20).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    folder = write_frame_folder(tmp_path / "mixed", 3)
    Image.fromarray(make_frame(0, (30, 40))).save(folder / "frame3.png")
    for index in range(2):
        (tmp_path / "rotten").mkdir(exist_ok=True)
        (tmp_path / "rotten" / f"{index}.png").write_bytes(b"\x89PNG not really")
    assert "no such file or folder" in _message(tmp_path / "missing")
    assert "no pictures and no videos" in _message(tmp_path / "empty")
    assert "zero.mp4: the file is empty (0 bytes)" in _message(tmp_path / "zero.mp4")
    assert "text.mp4: not a video that can be opened" in _message(tmp_path / "text.mp4")
    assert "cut.mp4" in _message(tmp_path / "cut.mp4")
    assert "not known as a video" in _message(tmp_path / "notes.txt")
    assert "the pattern matches 1 files" in _message(tmp_path / "*.txt")
    assert "frame3.png: 40x30 pixels, but the video began with 32x24" in _message(tmp_path / "mixed")
    assert "none of its 2 pictures can be read" in _message(tmp_path / "rotten")
    assert "camera:9: no such camera" in _message("camera:9")
    assert "selects none" in _message(tmp_path / "whole.mp4", selection=FrameSelection.parse("90:95"))
    assert "selects none" in _message(folder, selection=FrameSelection.parse("90:95"))
    write_video(tmp_path / "mixed" / "x.mp4", 2)
    assert "beside each other" in _message(tmp_path / "mixed")


@pytest.mark.parametrize("text", ["5", "a:b", "5:3", "-1:3", "::0", "1:2:3:4"])
def test_bad_selections(text: str) -> None:
    with pytest.raises(UserError, match="START"):
        FrameSelection.parse(text)


def test_bad_streams() -> None:
    with pytest.raises(UserError, match="nothing arrived"):
        open_stream(io.BytesIO(b""), raw_size=None)
    with pytest.raises(UserError, match="--raw-size"):
        open_stream(io.BytesIO(b"raw bytes"), raw_size=None)


def test_a_broken_frame_is_reported_and_the_frame_before_stands_in(tmp_path: Path) -> None:
    folder = write_frame_folder(tmp_path / "clip", 6)
    for index in (0, 3):
        (folder / f"frame{index}.png").write_bytes((folder / f"frame{index}.png").read_bytes()[:60])
    with find_videos(folder)[0].open() as reader, pytest.raises(UserError, match=r"frame 0 cannot be read.*frame0"):
        list(reader.frames())
    problems: list[str] = []
    with find_videos(folder)[0].open() as reader:
        frames = list(reader.frames(problems.append))
    assert [frame.index for frame in frames] == list(range(6))
    assert len(problems) == 2
    for frame, shown in zip(frames, (1, 1, 2, 2, 4, 5)):
        np.testing.assert_array_equal(frame.image, make_frame(shown))


def test_a_damaged_packet_costs_one_frame_of_a_video(tmp_path: Path) -> None:
    import av

    path = write_video(tmp_path / "clip.mp4", 40)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    position, size = packets[20]
    content[position : position + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    problems: list[str] = []
    with find_videos(path)[0].open() as reader:
        assert [frame.index for frame in reader.frames(problems.append)] == list(range(40))
    assert len(problems) == 1
