"""The commands that pages print for data and results, run in their order on tiny sets that lie as official ones do."""

from __future__ import annotations

import importlib
import json
import logging
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.cli.arguments import EXIT_OK
from mindvideo.data.media.video_frames import VideoFrames
from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES
from tests.data.cvat_clip import write_clip
from tests.data.test_clips import coco_set
from tests.data.test_converters import cvat_coco_export, labelme_file, palette_png, polygon, rectangle, write_pictures
from tests.printed_commands import command_lines
from tests.test_layout import PROJECT

SMALL = " --train 3 --valid 2 --mp4 1"  # of a made-up set; the last of two options counts


def commands_of(page: str, *starts: str) -> list[str]:
    """The command lines of a page's code blocks, as ``COMMAND arguments``, that start with one of these."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in command_lines(block):
            line = re.sub(r"^(?:python (?:tools/segmentation/)?(\w+)\.py|mindvideo (\w+))", r"\1\2", line)
            found += [line] if line.startswith(starts) else []
    return found


def run(monkeypatch, line: str) -> None:
    name, *words = shlex.split(line)
    monkeypatch.setattr("sys.argv", [f"mindvideo {name}", *words])
    assert importlib.import_module(f"mindvideo.cli.{name}").main() in (None, EXIT_OK), line


def frames_of_clip(clip: Path, folder: Path, count: int) -> None:
    folder.mkdir()
    for index, frame in enumerate(VideoFrames().read(clip, list(range(count)))):
        Image.fromarray(np.asarray(frame)).save(folder / f"frame_{index:06d}.png")


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with everything that ``datas/README.md`` speaks of."""
    ytvis = tmp_path / "data" / "youtube_vis_2019"
    list(write_split(ytvis, RECIPES["easy"], split="train", num_videos=12, seed=0))
    official = ytvis / "annotations" / "instances_train_sub.json"
    (ytvis / "annotations" / "instances_train.json").rename(official)
    (tmp_path / "my").mkdir()
    shutil.copy(official, tmp_path / "my" / "train.json")
    coco = tmp_path / "data" / "coco"
    (coco / "annotations").mkdir(parents=True)
    coco_set(coco).rename(coco / "annotations" / "instances_train2017.json")
    write_clip(tmp_path, num_frames=4)
    frames_of_clip(tmp_path / "clip.mp4", tmp_path / "frames", 4)
    exported = tmp_path / "exported"
    exported.mkdir()
    shutil.copy(cvat_coco_export(exported), tmp_path / "instances_default.json")
    write_pictures(tmp_path / "videos", ["walk/f1.jpg", "walk/f2.jpg"])
    labelme_file(tmp_path / "videos" / "walk" / "f1.json", [polygon("dog", 2, 1), polygon("cat", 22)])
    write_pictures(tmp_path / "JPEGImages" / "480p", ["bear/00000.jpg"])
    palette_png(tmp_path / "Annotations" / "480p" / "bear" / "00000.png", rectangle(2, 2, 6, 6))
    box = {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["dog"]}
    region = {"type": "rectanglelabels", "original_width": 320, "original_height": 180, "value": box}
    task = {"data": {"image": "/data/upload/1/frame_000000.png"}, "annotations": [{"result": [region]}]}
    (tmp_path / "project.json").write_text(json.dumps([task]))
    monkeypatch.chdir(tmp_path)
    logging.getLogger("mindvideo").setLevel("INFO")
    return tmp_path


def test_the_commands_for_data_sets(place, monkeypatch, capsys):
    """One after the other, as a reader would; what an earlier one wrote under the same name is moved away first."""
    lines = commands_of("datas/README.md", "prepare ")
    done = set()
    for line in lines:
        kind = " ".join(line.split()[1:3]) if line.split()[1] == "convert" else line.split()[1]
        if kind == "browse" or "--long" in line:
            continue  # MindSpore loads, or 20 s of drawing: tests/data/test_prepare.py, tests/data/test_long_sets.py
        output = re.search(r"--output (\S+)", line)
        if output and output[1] == "my.json":
            Path("my.json").unlink(missing_ok=True)
        line = line.replace("/data/", f"{place}/data/").replace("--root /data", f"--root {place}/data")
        run(monkeypatch, line + (SMALL if kind == "synthetic" else ""))
        assert output is None or Path(output[1].replace("/data/", f"{place}/data/")).exists(), line
        done.add(kind)
    kinds = {"synthetic", "check", "split", "coco-keep", "config", "export"}
    formats = ("cvat", "coco-video", "labelme", "labelstudio", "masks")
    assert done == kinds | {f"convert {name}" for name in formats}
    assert "no errors" in capsys.readouterr().out


def test_the_commands_for_results(tmp_path, monkeypatch, capsys):
    """Evaluate, report, compare and pack the labels themselves as results."""
    list(write_split(tmp_path, RECIPES["easy"], split="valid", num_videos=2, seed=0))
    labels = tmp_path / "annotations" / "instances_valid.json"
    content = json.loads(labels.read_text())
    for name in ("gt.json", "valid.json"):
        shutil.copy(labels, tmp_path / name)
    records = [
        {"score": 0.9, **{key: entry[key] for key in ("video_id", "category_id", "segmentations")}}
        for entry in content["annotations"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(records))
    monkeypatch.chdir(tmp_path)
    lines = commands_of("docs/evaluation.md", "eval --results", "report", "submit")
    lines += commands_of("README.md", "eval --results")
    assert len(lines) >= 5
    for line in lines:
        for folder in re.findall(r"runs/\S+", line):
            run(monkeypatch, f"eval --results results.json --annotations gt.json --output {folder}")
        run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "100.0" in printed and "comparison: comparison.html" in printed and "submission.zip" in printed
