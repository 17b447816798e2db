"""The refusals of prepare.py: one line each, and nothing that was there is lost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mindvideo.cli import prepare
from mindvideo.cli.arguments import EXIT_OK, EXIT_USAGE, run_tool
from mindvideo.data.labels.split import split_annotations
from tests.data.test_clips import coco_set
from tests.data.test_converters import coco_video_file
from tests.data.test_prepare import PREPARE

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run prepare.py in this process; gives the exit status and what was written to standard error."""

    def run_prepare(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_tool(prepare.main)
        return ended.value.code, capsys.readouterr().err

    return run_prepare


def assert_refused(outcome: tuple[int, str], reason: str) -> None:
    code, text = outcome
    assert code == EXIT_USAGE
    assert text.startswith("error: ") and text.count("\n") == 1, text
    assert re.search(reason, text), text


def state_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- made-up sets

SMALL = ("--train", 2, "--valid", 1, "--mp4", 0)


def make_set(run: Run, folder: Path, *options: object) -> dict[str, bytes]:
    assert run("synthetic", "--output", folder, *SMALL, *options)[0] == EXIT_OK
    return state_of(folder)


def test_overwrite_replaces_nothing_but_synthetic_sets(shapes_set: Path, tmp_path: Path, run: Run) -> None:
    own, mixed, frames, odd = (tmp_path / name for name in ("own", "mixed", "frames", "odd"))
    shutil.copytree(shapes_set, own)
    file = own / "annotations/instances_train.json"
    file.write_text(file.read_text().replace("mindvideo synthetic set", "YouTube-VIS 2021"))
    shutil.copytree(shapes_set, mixed)
    (mixed / "annotations/notes.txt").write_text("of a user")
    (frames / "train/JPEGImages/0a1b").mkdir(parents=True)
    (frames / "train/JPEGImages/0a1b/00000.jpg").write_bytes(b"of a user")
    (odd / "annotations").mkdir(parents=True)
    (odd / "annotations/instances_train.json").write_text("[1]")
    for folder, reason in (
        (own, "is no synthetic set .annotations/instances_train.json was made elsewhere"),
        (mixed, "also holds annotations/notes.txt"),
        (frames, "holds files but no annotation file of a synthetic set"),
        (odd, "is no synthetic set"),
    ):
        before = state_of(folder)
        assert_refused(run("synthetic", "--output", folder, *SMALL, "--overwrite"), reason)
        assert state_of(folder) == before


def test_a_good_set_stays_until_the_new_one_is_whole(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "set"
    first = make_set(run, target)
    assert_refused(run("synthetic", "--output", target, *SMALL), "holds a set already")
    assert_refused(run("synthetic", "--output", target, *SMALL, "--overwrite", "--seed", -1), "--seed: -1")
    assert state_of(target) == first

    def fail(*_: object) -> None:
        assert state_of(target) == first
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr("mindvideo.data.synthetic.files._write_jpeg", fail)
        assert run("synthetic", "--output", target, *SMALL, "--overwrite") == (130, "interrupted\n")
    assert state_of(target) == first and [path.name for path in tmp_path.iterdir()] == ["set"]
    second = make_set(run, target, "--overwrite", "--seed", 5)
    assert second.keys() == first.keys() and second != first


def listen_to_ctrl_c() -> None:
    """A shell that runs the tests in the background has its processes ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, str(PREPARE), "synthetic", "--output", str(tmp_path / "set"), "--train", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c)
    try:
        deadline = time.monotonic() + 60
        while not any(tmp_path.rglob("*.jpg")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "interrupted\n" and process.returncode == 130
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_does_not_disturb(tmp_path: Path, run: Run) -> None:
    left = tmp_path / ".set-a1b2c3d4.making/new/train"
    left.mkdir(parents=True)
    code, text = run("synthetic", "--output", tmp_path / "set", *SMALL)
    assert code == EXIT_OK and f"{left.parents[1]} is of a run that was killed" in text
    assert left.is_dir() and (tmp_path / "set/annotations/instances_valid.json").is_file()


def test_synthetic_outputs_that_cannot_be(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "textfile").write_text("kept")
    assert_refused(run("synthetic", "--output", tmp_path / "textfile", *SMALL), "textfile is not a folder")
    assert_refused(run("synthetic", "--output", tmp_path / "textfile/set", *SMALL), "textfile is not a folder")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert_refused(run("synthetic", "--output", ".", *SMALL), "is the current folder or above it")
    make_set(run, Path("below"))


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mindvideo.data.synthetic.files._write_jpeg", no_room)
    assert_refused(run("synthetic", "--output", tmp_path / "set", *SMALL), "no room to write .*--output")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- numbers and choices


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (("synthetic", "--output", "x", "--seed", "-1"), "--seed: -1: a whole number of at least 0 is needed"),
        (("synthetic", "--output", "x", "--mp4", "-2"), "--mp4: -2: a whole number of at least 0"),
        (("synthetic", "--output", "x", "--train", "0"), "--train: 0: a whole number of at least 1"),
        (("synthetic", "--output", "x", "--valid", "many"), "--valid: many: a whole number of at least 1"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--epoch", "-1"), "--epoch: -1: a whole number of at least 0"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--width", "0"), "--width: 0: a whole number from 1 to 2000"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--width", "-5"), "--width: -5: a whole number from 1 to 2000"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--width", "9999"), "--width: 9999: a whole number from 1"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--clips", "0"), "--clips: 0: a whole number of at least 1"),
        (("browse", "-c", "vistr_toy", "--output", "x", "--clips", "-1"), "--clips: -1: a whole number of at least 1"),
        (("browse", "-c", "vistr_toy", "--output", "x", "data.train=[]"), "data.train is empty.* name a set"),
        (("coco-keep", "a", "--for", "ytvis2022", "--output", "x"), "'ytvis2022' .*ytvis19.*ytvis21.*ytvis22.*ovis"),
        (("convert", "labelm", "a", "--output", "x"), "'labelm' .*coco-video.*labelme.*cvat.*masks"),
        (("sinthetic",), "'sinthetic' .*synthetic.*browse"),
        ((), "COMMAND"),
    ],
)
def test_arguments_out_of_range(
    arguments: tuple[str, ...], reason: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(run(*arguments), reason)
    assert list(tmp_path.iterdir()) == []


def test_youtube_vis_2022_has_the_map_of_2021(tmp_path: Path, run: Run) -> None:
    file = coco_set(tmp_path)
    for name in ("ytvis21", "ytvis22"):
        assert run("coco-keep", file, "--for", name, "--output", tmp_path / f"{name}.json") == (EXIT_OK, "")
    assert (tmp_path / "ytvis21.json").read_bytes() == (tmp_path / "ytvis22.json").read_bytes()


# ---------------------------------------------------------------- outputs


def writing_commands(folder: Path, shapes_set: Path) -> dict[str, tuple[Path, tuple[object, ...]]]:
    """Command -> (its input, its arguments without the output)."""
    folder.mkdir()
    coco, video = coco_set(folder), coco_video_file(folder)
    labels = shapes_set / "annotations/instances_train.json"
    return {
        "coco-keep": (coco, (coco, "--for", "ytvis19")),
        "convert": (video, ("coco-video", video)),
        "browse": (labels, ("-c", "vistr_toy", f"data.root={shapes_set.parent}", "--clips", 1)),
    }


@pytest.mark.parametrize("command", ["coco-keep", "convert", "browse"])
def test_outputs_are_not_replaced_unasked(command: str, shapes_set: Path, tmp_path: Path, run: Run) -> None:
    given, arguments = writing_commands(tmp_path / "in", shapes_set)[command]
    (tmp_path / "somefolder").mkdir()
    (tmp_path / "textfile").write_text("kept")
    before = given.read_bytes()
    for output, reason in (
        (given, "is an input of this very command"),
        (tmp_path / "somefolder", "somefolder is a folder; give the name of a new file"),
        (tmp_path / "textfile/x.json", "textfile is not a folder"),
    ):
        assert_refused(run(command, *arguments, "--overwrite", "--output", output), reason)
    assert_refused(run(command, *arguments, "--output", tmp_path / "textfile"), "textfile exists already.* --overwrite")
    assert (tmp_path / "textfile").read_text() == "kept" and given.read_bytes() == before
    assert run(command, *arguments, "--overwrite", "--output", tmp_path / "textfile")[0] == EXIT_OK
    assert (tmp_path / "textfile").read_text() != "kept"


def test_split_replaces_nothing_unasked(shapes_set: Path, tmp_path: Path, run: Run) -> None:
    given = tmp_path / "split_train.json"
    shutil.copy(shapes_set / "annotations/instances_train.json", given)
    before = given.read_bytes()
    assert_refused(run("split", given, "--overwrite"), "split_train.json is an input")
    assert_refused(run("split", given, "--output", given), "split_train.json is not a folder")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/split_valid.json").write_text("kept")
    assert_refused(run("split", given, "--output", tmp_path / "out"), "split_valid.json exists already.*--overwrite")
    assert state_of(tmp_path / "out") == {"split_valid.json": b"kept"} and given.read_bytes() == before
    assert run("split", given, "--output", tmp_path / "out", "--overwrite") == (EXIT_OK, "")
    assert len(state_of(tmp_path / "out")) == 2


def test_convert_does_not_write_over_labels_in_a_folder(tmp_path: Path, run: Run) -> None:
    label = tmp_path / "video/00000.json"
    label.parent.mkdir()
    label.write_text("{}")
    label.with_suffix(".jpg").write_bytes(b"")
    for labels in (tmp_path, label.parent):
        outcome = run("convert", "labelme", labels, "--output", label, "--overwrite")
        assert_refused(outcome, "00000.json is an input of this very command")
    assert label.read_text() == "{}"


# ---------------------------------------------------------------- options of convert


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (
            ("coco-video", "--categories", "dog,cat"),
            "coco-video takes no --categories; it is for labelme, cvat, labelstudio, masks",
        ),
        (("labelme", "--frames", "nope"), "labelme takes no --frames; it is for coco-video, cvat, labelstudio, masks"),
        (("labelme", "--video", "v.mp4"), "labelme takes no --video; it is for cvat"),
        (("cvat", "--frames", ".", "--meta", "m"), "cvat takes no --meta; it is for masks"),
        (("masks",), "masks needs --frames"),
        (("labelme", "--categories", "object,object"), "'object,object' has object more than once"),
        (("labelme", "--categories", ", ,object"), "', ,object' has an empty name"),
        (("labelme", "--categories", ""), "'' has an empty name"),
    ],
)
def test_options_of_convert(arguments: tuple[str, ...], reason: str, tmp_path: Path, run: Run) -> None:
    assert_refused(run("convert", *arguments, tmp_path, "--output", tmp_path / "x.json"), reason)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- content of annotation files


def small_set(**changes: Any) -> dict[str, Any]:
    """Four videos of one frame, two of each category."""
    return {
        "videos": [{"id": n, "file_names": [f"v{n}/0.jpg"]} for n in range(4)],
        "annotations": [{"id": n, "video_id": n, "category_id": n % 2} for n in range(4)],
        "categories": [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}],
    } | changes


def one_changed(part: str, **changes: Any) -> dict[str, Any]:
    """The small set with one entry changed; None removes a key."""
    content = small_set()
    entry = content[part][1] | changes
    content[part][1] = {key: value for key, value in entry.items() if value is not None}
    return content


@pytest.mark.parametrize(
    "content, reason",
    [
        ([1, 2], "no 'videos' list, so not a labelled YouTube-VIS annotation file"),
        ({"images": [], "annotations": [{"image_id": 1}], "categories": []}, "no 'videos' list"),
        (small_set(annotations=None), "has no annotations; only a labelled set can be split"),
        (small_set(annotations={"a": 1}), "no 'annotations' list"),
        (small_set(categories=None), "no 'categories' list"),
        (small_set(videos=[7]), r"videos\[0\]: 7; an object with id, file_names is needed"),
        (one_changed("videos", id=[1]), r"videos\[1\]: id is \[1\]; a number or a string is needed"),
        (one_changed("videos", file_names=None), "video 1: no file_names"),
        (one_changed("videos", file_names=[]), r"video 1: file_names is \[\]; a list of at least one string"),
        (one_changed("annotations", video_id=None), "annotation 1: no video_id"),
        (one_changed("annotations", video_id=9), r"annotations of videos that are not listed: \[9\]"),
        (one_changed("annotations", category_id="dog"), "annotation 1: category_id is 'dog'; a whole number"),
        (one_changed("categories", name=None), "category 1: no name"),
        (one_changed("annotations", score=float("nan")), "cannot be written as JSON"),
        (small_set(videos=small_set()["videos"][:1], annotations=small_set()["annotations"][:1]), "one labelled video"),
        (small_set(annotations=small_set()["annotations"][:2]), "no category is in two of the 2 labelled videos"),
    ],
)
def test_split_names_what_is_wrong_with_a_file(content: Any, reason: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    assert_refused(run("split", file), reason)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


@pytest.mark.parametrize(
    "content, reason",
    [
        ([1, 2], "no 'images' list, so not a labelled COCO annotation file"),
        (small_set(), "no 'images' list"),
        ({"images": [{"id": 1}], "annotations": None}, "no 'annotations' list"),
        ({"images": [{"id": 1}], "annotations": [{"category_id": 1}]}, r"annotations\[0\]: no image_id"),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 1}]}, r"annotations\[0\]: no category_id"),
        ({"images": [{}], "annotations": [{"image_id": 1, "category_id": 1}]}, r"images\[0\]: no id"),
    ],
)
def test_coco_keep_names_what_is_wrong_with_a_file(content: Any, reason: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    assert_refused(run("coco-keep", file, "--for", "ovis", "--output", tmp_path / "x.json"), reason)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


@pytest.mark.parametrize("pattern", ["video{}_0.jpg", "all/video{}_0.jpg", "clip.mp4#{}"])
def test_videos_in_one_folder_or_file_are_told_apart_by_their_first_frames(pattern: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    videos = [{"id": n, "file_names": [pattern.format(n)]} for n in range(20)]
    annotations = [{"id": n, "video_id": n, "category_id": 1} for n in range(20)]
    content = {"videos": videos, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    file.write_text(json.dumps(content))
    splits = [split_annotations(file, share=0.2, seed=seed) for seed in range(4)]
    assert len({split.fingerprint for split in splits}) == 4
    file.write_text(json.dumps(content | {"videos": videos[::-1], "annotations": annotations[::-1]}))
    assert split_annotations(file, share=0.2).fingerprint == splits[0].fingerprint


def test_one_folder_for_each_video_keeps_its_split(tmp_path: Path) -> None:
    """The fingerprint that was printed for such a set since there are splits."""
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(small_set()))
    assert split_annotations(file, share=0.5).fingerprint == "c7fed83e725073cc"


# ---------------------------------------------------------------- pages of clips


def browse(run: Run, folder: Path, output: Path, *overrides: str) -> tuple[str, str]:
    """(the page, standard error)."""
    code, text = run("browse", "-c", "vistr_toy", "--output", output, f"data.root={folder.parent}", *overrides)
    assert code == EXIT_OK, text
    assert "Traceback" not in text
    return output.read_text(), text


@pytest.fixture
def broken_set(shapes_set: Path, tmp_path: Path) -> Path:
    """A copy whose frames, but those of video 1, are cut off in the middle."""
    folder = tmp_path / "synthetic_easy"
    shutil.copytree(shapes_set, folder)
    for frame in (folder / "train/JPEGImages").glob("*/*.jpg"):
        if frame.parent.name != "00000":
            frame.write_bytes(frame.read_bytes()[:300])
    return folder


def test_browse_names_broken_frames_and_the_clip_in_their_place(broken_set: Path, tmp_path: Path, run: Run) -> None:
    page, text = browse(run, broken_set, tmp_path / "page.html")
    named = re.findall(r"<h2>Video (\d+), key frame \d+</h2>\n<p>(as on disk: [^<]*)</p>\n<(img|p)", page)
    broken = [(video, explanation, following) for video, explanation, following in named if video != "1"]
    assert len(named) == 6 and broken
    for video, explanation, following in broken:
        assert f"{int(video) - 1:05d}/" in explanation and "the frame cannot be decoded" in explanation
        assert following == "p"
    instead = re.findall(r"<p>as training sees it, which takes Video (\d+), key frame \d+ instead \(([^<]*)\)", page)
    assert len(instead) == len(broken)
    assert all(video == "1" and "cannot be decoded" in reason for video, reason in instead)
    assert "the frame cannot be decoded" in text


def test_browse_goes_on_where_training_would_stop(broken_set: Path, tmp_path: Path, run: Run) -> None:
    page, _ = browse(run, broken_set, tmp_path / "page.html", "data.strict=true")
    assert "as training sees it: training stops here: " in page and "data.strict is on" in page
    assert page.count("<p>as training sees it") == 6
