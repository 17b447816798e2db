"""The command line from end to end, with a tracker that finds coloured discs: files, exit codes, bad input, Ctrl-C."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mindvideo.cli import prepare_export as prepare
from mindvideo.cli.prepare import parse_arguments as prepare_arguments
from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.label_studio import convert_label_studio
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.media.video_file import VideoFile
from mindvideo.errors import UserError
from mindvideo.inference.output import video_files
from mindvideo.inference.output.colors import track_color
from mindvideo.inference.output.draw import TINT
from mindvideo.inference.predictor import Predictor
from tests.inference.colored_videos import (
    COLORS,
    ColorTracker,
    make_frame,
    true_masks,
    write_frame_folder,
    write_video,
)

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def infer():
    return importlib.import_module("mindvideo.cli.infer")


@pytest.fixture
def run(infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``run(input, *arguments)`` -> exit code, in this process, with the tracker of coloured discs as the model."""
    configuration = tmp_path / "discs.yaml"
    configuration.write_text("family: vistr\nname: discs\n")
    predictor = Predictor(tracker=ColorTracker(delay=3), class_names={1: "red", 2: "green", 3: "blue"})
    monkeypatch.setattr(infer, "predictor_maker", lambda cfg, weights: lambda: predictor)
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes(b"weights")

    def run_tool(given: Path | str, *arguments: str) -> int:
        command = ["infer.py", "-c", str(configuration), "--weights", str(weights), "--input", str(given)]
        monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "out"), *arguments])
        return infer.main()

    return run_tool


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _all_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_everything_about_one_video(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_frame_folder(tmp_path / "clip", 9, (60, 80))
    assert run(folder, "inference.write=[video,masks,coco]", "inference.draw=[masks]") == 0
    out = tmp_path / "out" / "clip"
    assert _names(out) == ["coco.json", "masks", "overlay.mp4", "results.json", "run.json"]

    records = json.loads((out / "results.json").read_text())
    assert [record["category_id"] for record in records] == [1, 2, 3]
    for record in records:
        assert sorted(record) == ["category_id", "score", "segmentations", "video_id"]
        for index, segmentation in enumerate(record["segmentations"]):
            expected = true_masks(index, (60, 80))[record["category_id"]]
            np.testing.assert_array_equal(coco_mask.decode(segmentation), expected)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == records

    with VideoFile(out / "overlay.mp4", name="overlay") as reader:
        frames = [frame.image[2::4, 2::4].astype(int) for frame in reader.frames()]
        assert reader.frames_per_second == 10
        assert reader.size == (240, 320)  # enlarged to be readable
    assert len(frames) == 9
    for index, frame in enumerate(frames):
        for category, mask in true_masks(index, (60, 80)).items():
            expected = (1 - TINT) * np.array(COLORS[category]) + TINT * np.array(track_color(category))
            assert np.abs(np.median(frame[mask], axis=0) - expected).max() < 20, (index, category)

    for index in range(9):
        with Image.open(out / "masks" / f"{index:06d}.png") as picture:
            assert picture.mode == "P"
            indices = np.array(picture)
        for category, mask in true_masks(index, (60, 80)).items():
            np.testing.assert_array_equal(indices == category, mask)

    coco = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"frame{index}.png" for index in range(9)]
    assert len(coco["annotations"]) == 27
    assert len({annotation["id"] for annotation in coco["annotations"]}) == 27
    annotation = coco["annotations"][0]
    mask = true_masks(0, (60, 80))[1]
    rows, columns = np.nonzero(mask)
    assert annotation["area"] == mask.sum()
    assert annotation["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert coco["categories"][0] == {"id": 1, "name": "red"}

    table = capsys.readouterr().out
    assert "clip" in table and "done" in table and "9" in table


EXCHANGED = {"coco": "coco.json", "csv": "objects.csv", "cutout_mov": "cutouts.mov", "cutout_webm": "cutouts.webm",
             "cutouts": "cutouts", "cvat": "cvat.xml", "labelme": "labelme", "labelstudio": "label_studio"}  # fmt: skip


def test_results_in_the_formats_of_other_tools(run, tmp_path: Path) -> None:
    """All at once; `prepare export` writes the same from the finished run."""
    clip = write_video(tmp_path / "clip.mp4", 6, (60, 80))
    assert run(clip, f"inference.write=[{','.join(EXCHANGED)}]", "--frames", "1:6:2") == 0
    out = tmp_path / "out" / "clip"
    assert set(_names(out)) == {*EXCHANGED.values(), "results.json", "run.json"}
    truth = [true_masks(index, (60, 80)) for index in (1, 3, 5)]
    pictures = [f"{index:06d}.jpg" for index in (1, 3, 5)]
    assert _names(out / "cutouts") == ["track_001", "track_002", "track_003"]
    assert [name for name in _names(out / "labelme") if name.endswith(".jpg")] == pictures
    read = {
        "cvat": convert_cvat_video(out / "cvat.xml", tmp_path, video=clip),
        "labelme": convert_labelme(out / "labelme"),
        "labelstudio": convert_label_studio(out / "label_studio" / "tasks.json", out / "label_studio"),
        "coco": convert_coco_video(out / "coco.json"),
    }
    for content in read.values():
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        assert sorted(names.values()) == ["blue", "green", "red"]
        for entry in content["annotations"]:
            category = {"red": 1, "green": 2, "blue": 3}[names[entry["category_id"]]]
            for masks, rle in zip(truth, entry["segmentations"]):
                found, mask = coco_mask.decode(rle) > 0, masks[category]
                assert (found & mask).sum() / (found | mask).sum() > 0.8
    assert read["cvat"]["videos"][0]["file_names"] == ["clip.mp4#1", "clip.mp4#3", "clip.mp4#5"]

    for name in ("cvat", "csv", "labelstudio"):
        prepare.run_export(prepare_arguments(["export", name, str(tmp_path / "out"), "--output", str(tmp_path / name)]))
        for made in (tmp_path / name / "clip").rglob("*"):
            same = out / made.relative_to(tmp_path / name / "clip")
            assert made.is_dir() or made.read_bytes() == same.read_bytes()
    assert run(clip, "--redraw", "inference.write=[csv]", "inference.confidence=0.99") == 0
    assert set(_names(out)) == {*EXCHANGED.values(), "results.json", "run.json"}  # drawing again adds to what is there
    assert len((out / "objects.csv").read_text().splitlines()) == 1 + 9  # tables have the weak tracks as well


def test_low_scores_are_in_the_results_but_not_drawn(run, tmp_path: Path) -> None:
    folder = write_frame_folder(tmp_path / "clip", 2, (60, 80))
    assert run(folder, "inference.confidence=0.95", "inference.write=[video,masks]") == 0
    out = tmp_path / "out" / "clip"
    assert len(json.loads((out / "results.json").read_text())) == 3
    with Image.open(out / "masks" / "000000.png") as picture:
        assert not np.array(picture).any()


def test_many_videos_the_bad_ones_reported_and_the_rest_done(run, tmp_path: Path, capsys) -> None:
    many = tmp_path / "many"
    write_frame_folder(many / "a", 4)
    broken = write_frame_folder(many / "b", 5)
    (broken / "frame2.png").write_bytes(b"\x89PNG")
    (many / "empty.mp4").touch()
    write_video(many / "good.mp4", 6)
    assert run(many) == 1
    output = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in output.out.splitlines() if line}
    assert lines["a"][1:3] == ["done", "4"]
    assert lines["b"][1:3] == ["done", "5"] and lines["b"][-1] == "1"
    assert lines["empty"][1] == "failed"
    assert lines["good"][1:3] == ["done", "6"]
    assert output.err.count("E mindvideo.inference:") == 1 and "0 bytes" in output.err
    assert not (tmp_path / "out" / "empty").exists()
    listed = json.loads((tmp_path / "out" / "videos.json").read_text())
    ids = {video["name"]: video["id"] for video in listed}
    assert sorted(ids) == ["a", "b", "good"] and len(set(ids.values())) == 3
    records = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {record["video_id"] for record in records} == set(ids.values())

    # A second run has nothing to do but what failed; its numbers and results stay.
    written = (tmp_path / "out" / "a" / "results.json").stat().st_mtime_ns
    (many / "empty.mp4").unlink()
    assert run(many) == 0
    assert "skipped" in capsys.readouterr().out
    assert (tmp_path / "out" / "a" / "results.json").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == records
    assert run(many / "a", "--force") == 0
    assert (tmp_path / "out" / "a" / "results.json").stat().st_mtime_ns != written
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == records


def test_frames_are_selected(run, tmp_path: Path) -> None:
    assert run(write_frame_folder(tmp_path / "clip", 9), "--frames", "2:8:3") == 0
    records = json.loads((tmp_path / "out" / "clip" / "results.json").read_text())
    assert [len(record["segmentations"]) for record in records] == [2, 2, 2]


def test_one_frame_odd_sizes_and_other_kinds_of_pictures(run, tmp_path: Path) -> None:
    grey = np.full((25, 31), 90, np.uint8)
    for name, array in {
        "grey": grey,
        "rgba": np.concatenate([make_frame(0, (25, 31)), np.full((25, 31, 1), 9, np.uint8)], axis=2),
        "deep": grey.astype(np.uint16) * 256,
    }.items():
        (tmp_path / "many" / name).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "many" / name / "0.png")
    assert run(tmp_path / "many") == 0
    found = {name: json.loads((tmp_path / "out" / name / "results.json").read_text()) for name in ("grey", "rgba")}
    assert found["grey"] == [] and len(found["rgba"]) == 3


def test_mistakes_get_one_line(run, infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_frame_folder(tmp_path / "clip", 2)
    for arguments, message in (
        ((tmp_path / "nowhere",), "no such file or folder"),
        ((folder, "--frames", "x"), "START:STOP"),
        ((folder, "--raw-size", "12"), "WIDTHxHEIGHT"),
        ((folder, "inference.write=[film]"), "inference.write"),
    ):
        with pytest.raises(UserError, match=message):
            run(*arguments)
    from mindvideo.inference.output import video_writer

    monkeypatch.setattr(video_writer, "ENCODERS", {"no-such-encoder": {}})
    with pytest.raises(UserError, match=r"no H\.264 encoder"):
        run(folder)
    assert not (tmp_path / "out" / "clip").exists()
    assert run(folder, "inference.write=[]") == 0


@pytest.mark.parametrize("what", ["video", "results", "masks"])
def test_a_full_disk_is_one_line_and_nothing_half_written(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def no_room(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if what == "video":
        monkeypatch.setattr(video_files.VideoWriter, "_mux", no_room)
    elif what == "results":
        monkeypatch.setattr(video_files, "write_json", no_room)
    else:
        monkeypatch.setattr(video_files, "write_mask_picture", no_room)
    write_frame_folder(tmp_path / "many" / "a", 4)
    write_frame_folder(tmp_path / "many" / "b", 4)
    with pytest.raises(UserError, match="no room to write .*free some space") as caught:
        run(tmp_path / "many", "inference.write=[video,masks]")
    assert "\n" not in str(caught.value)
    final = {"overlay.mp4", "results.json", "coco.json", "run.json", "masks"}
    left = set(_all_files(tmp_path / "out" / "a"))
    assert not left & final and not any(name.endswith(".mp4") for name in left)


SLOW_RUN = """
import sys, time
sys.path.insert(0, {root!r})
from mindvideo.cli import infer
from mindvideo.cli.arguments import run_tool
from mindvideo.inference.predictor import Predictor
from tests.inference.colored_videos import ColorTracker

class SlowTracker(ColorTracker):
    def feed(self, frame):
        print("fed", flush=True)
        time.sleep(0.2)
        return super().feed(frame)

infer.predictor_maker = lambda cfg, weights: lambda: Predictor(tracker=SlowTracker(), read_ahead=2)
run_tool(infer.main)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_files_that_play(tmp_path: Path, times: int) -> None:
    folder = write_frame_folder(tmp_path / "clip", 400)
    (tmp_path / "discs.yaml").write_text("family: vistr\nname: discs\n")
    (tmp_path / "w").write_bytes(b"weights")
    script = SLOW_RUN.format(root=str(PROJECT))
    arguments = [
        "-c",
        str(tmp_path / "discs.yaml"),
        "--weights",
        str(tmp_path / "w"),
        "--input",
        str(folder),
        "--output",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(5):
        assert process.stdout.readline() == "fed\n"
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    out = tmp_path / "out" / "clip"
    with VideoFile(out / "overlay.partial.mp4", name="overlay") as reader:
        frames = len(list(reader.frames()))
    assert 6 - times <= frames < 100
    if times == 1:
        assert _names(out) == ["overlay.partial.mp4", "results.partial.json"]
        records = json.loads((out / "results.partial.json").read_text())
        assert [len(record["segmentations"]) for record in records] == [frames] * 3
        assert "interrupted" in output
    else:
        assert _names(out) == ["overlay.partial.mp4"]
    assert "Traceback" not in errors
