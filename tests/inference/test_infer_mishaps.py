"""The command line where something is odd: one video's fault, inputs of one name, two commands, streams that stall."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media.video_file import VideoFile
from mindvideo.errors import UserError
from mindvideo.inference import video_runner
from mindvideo.inference.output import video_files
from mindvideo.inference.output.folder_lock import FolderLock
from mindvideo.inference.predictor import Predictor
from mindvideo.structures import VideoInstances
from tests.inference.colored_videos import ColorTracker, make_frame, write_frame_folder, write_video

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def infer():
    return importlib.import_module("mindvideo.cli.infer")


@pytest.fixture
def run(infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``run(*arguments)`` -> exit code, in this process, with the tracker of coloured discs as the model."""
    (tmp_path / "discs.yaml").write_text("family: vistr\nname: discs\n")
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes(b"weights")
    predictor = Predictor(tracker=ColorTracker(delay=3))

    def run_tool(*arguments: object, tracker=None) -> int:
        chosen = predictor if tracker is None else Predictor(tracker=tracker)
        monkeypatch.setattr(infer, "predictor_maker", lambda cfg, weights: lambda: chosen)
        command = ["infer", "-c", str(tmp_path / "discs.yaml"), "--weights", str(weights)]
        monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "out"), *map(str, arguments)])
        return infer.main()

    run_tool.output, run_tool.weights = tmp_path / "out", weights
    return run_tool


def _ids(run) -> dict[str, int]:
    return {video["name"]: video["id"] for video in json.loads((run.output / "videos.json").read_text())}


def _lengths(run) -> dict[int, int]:
    records = json.loads((run.output / "results.json").read_text())
    return {record["video_id"]: len(record["segmentations"]) for record in records}


def test_the_input_needs_no_option(run, tmp_path: Path) -> None:
    first, second = write_frame_folder(tmp_path / "a", 2), write_frame_folder(tmp_path / "b", 3)
    assert run(first, second, "inference.write=[]", "--frames", "0:2", "inference.confidence=0.5") == 0
    assert _ids(run) == {"a": 1, "b": 2} and _lengths(run) == {1: 2, 2: 2}
    with pytest.raises(UserError, match="no input: name a video"):
        run("inference.write=[]")


def test_another_input_of_the_same_name_is_another_video(run, tmp_path: Path) -> None:
    first, second = write_frame_folder(tmp_path / "one" / "clip", 2), write_frame_folder(tmp_path / "two" / "clip", 3)
    assert run("--input", first) == 0 and run("--input", second) == 0
    assert _ids(run) == {"clip": 1, "clip-2": 2} and _lengths(run) == {1: 2, 2: 3}
    Image.fromarray(make_frame(9)).save(second / "frame1.png")  # the same files with another content
    os.utime(second / "frame1.png", (1, 2**31))
    assert run("--input", second) == 0
    assert _ids(run) == {"clip": 1, "clip-2": 2}


def test_a_changed_file_is_run_again(run, tmp_path: Path, caplog, capsys) -> None:
    clip = write_video(tmp_path / "clip.mp4", 3)
    assert run(clip) == 0
    assert run(clip) == 0
    assert "skipped" in capsys.readouterr().out
    write_video(clip, 5)
    assert run(clip) == 0
    assert "skipped" not in capsys.readouterr().out and _lengths(run) == {1: 5}


def test_other_weights_under_the_same_path_are_refused(run, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 3)
    assert run(clip) == 0
    record = json.loads((run.output / "clip" / "run.json").read_text())
    assert record["source"]["path"] == str(clip) and record["source"]["bytes"] == clip.stat().st_size
    assert record["made_with"]["weights"] == str(run.weights) and len(record["settings"]["weights"]) == 16
    before = {path: path.stat().st_mtime_ns for path in run.output.rglob("*") if path.name != "log.txt"}
    run.weights.write_bytes(b"WEIGHTS")
    with pytest.raises(UserError, match=r"other settings \(weights: .*--force"):
        run(clip)
    with pytest.raises(UserError, match=r"other settings \(frames"):
        run.weights.write_bytes(b"weights")
        run(clip, "--frames", "0:2")
    after = {path: path.stat().st_mtime_ns for path in run.output.rglob("*") if path.name != "log.txt"}
    assert {path for path in after if after[path] != before.get(path)} <= {run.output / ".lock"}
    assert run(clip, "--frames", "0:2", "--force") == 0 and _lengths(run) == {1: 2}


def test_names_that_would_leave_the_output_or_hide_its_files(run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    odd = ["...mp4", "config.yaml.mp4", "log.txt.mp4", "x" * 230 + ".mp4", "a b\n.mp4"]
    clip = write_video(tmp_path / "clip.mp4", 2)
    for name in odd:
        shutil.copy(clip, folder / name)
    here = {path.name for path in tmp_path.iterdir()}
    for name in odd:
        assert run("--input", folder / name, "inference.write=[]") == 0, name
    assert {path.name for path in tmp_path.iterdir()} - here == {"out"}
    assert (run.output / "config.yaml").is_file() and (run.output / "log.txt").is_file()
    assert len(_ids(run)) == len(odd) == len(_lengths(run))


class Fails(ColorTracker):
    """Runs into something unexpected in videos of 3 frames, and gives scores of NaN in those of 4."""

    def begin(self, *, size, num_frames, video_id):
        super().begin(size=size, num_frames=num_frames, video_id=video_id)
        self._length = num_frames

    def feed(self, frame):
        if self._length == 3:
            raise RuntimeError("the graph cannot\nbe compiled")
        return super().feed(frame)

    def finish(self):
        result = super().finish()
        if self._length == 4:
            result.scores[:] = np.nan
            type(result).__post_init__(result)
        return result


def test_whatever_goes_wrong_with_one_video_stays_its_own(run, tmp_path: Path, capsys) -> None:
    many = tmp_path / "many"
    write_frame_folder(many / "a_fails", 3)
    write_frame_folder(many / "b_nan", 4)
    write_frame_folder(many / "c_flat", 2, (7, 500))
    write_frame_folder(many / "d_line", 2, (3, 5000))
    write_frame_folder(many / "e_dot", 2, (1, 1))
    write_frame_folder(many / "f_huge", 1, (2, 17000))
    (many / "g.mp4").write_bytes(b"no video at all")
    write_frame_folder(many / "h_good", 5)
    assert run(many, tracker=Fails()) == 1
    output = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in output.out.splitlines() if line}
    status = {name: cells[1] for name, cells in lines.items() if name[1:2] == "_" or name == "g"}
    failed = {"a_fails", "b_nan", "f_huge", "g"}
    assert status == {name: "failed" if name in failed else "done" for name in status} and len(status) == 8
    assert "Traceback" not in output.err and "RuntimeError: the graph cannot\n" in output.err
    assert "does not take frames of 17000x2" in output.err
    assert 5 in _lengths(run).values()
    assert sorted(path.parent.name for path in run.output.glob("*/run.json")) == sorted(set(status) - failed)
    assert not (run.output / "a_fails").exists()


@pytest.mark.parametrize("rate", [0.0001, 100_000.0])
def test_rates_that_no_player_shows(run, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from mindvideo.data.media import sources
    from mindvideo.inference.predictor import ArrayFrames

    reader = ArrayFrames([make_frame(0)] * 3, name="odd")
    reader.frames_per_second = rate
    monkeypatch.setattr(sources, "open_stream", lambda **options: reader)
    assert run("-") == 0
    with VideoFile(run.output / "stdin" / "overlay.mp4", name="overlay") as written:
        assert 0.1 <= written.frames_per_second <= 240 and len(list(written.frames())) == 3


def test_weights_that_do_not_fit_are_refused_once_and_leave_nothing(
    run, infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    calls = []

    def refuse():
        calls.append(1)
        raise UserError("these weights are for another network")

    for name in "abc":
        write_frame_folder(tmp_path / "many" / name, 2)
    run(tmp_path / "many" / "a")
    shutil.rmtree(run.output)
    monkeypatch.setattr(infer, "predictor_maker", lambda cfg, weights: refuse)
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], str(tmp_path / "many")])
    with pytest.raises(UserError, match="another network"):
        infer.main()
    assert len(calls) == 1 and not run.output.exists()


def test_two_commands_in_one_output(run, tmp_path: Path) -> None:
    clip = write_frame_folder(tmp_path / "clip", 2)
    run.output.mkdir()
    lock = FolderLock(run.output)
    with pytest.raises(UserError, match="in use by another mindvideo command"):
        run(clip)
    assert {path.name for path in run.output.iterdir()} <= {".lock", "log.txt"}
    lock.release()
    assert run(clip) == 0


def test_drawing_again_needs_no_network(run, infer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clip = write_video(tmp_path / "clip.mp4", 4)
    assert run(clip, "inference.confidence=0.95", "inference.write=[video,masks]") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[2].split()[:6] == ["clip", "done", "4", "3", "0", "0.90"]
    assert "so none is drawn; --redraw" in shown.err
    results = (run.output / "clip" / "results.json").read_bytes()
    before = (run.output / "clip" / "overlay.mp4").read_bytes()
    options = ("inference.confidence=0.5", "inference.write=[video,masks,coco]", "inference.class_names=[ball]")
    monkeypatch.setattr(infer, "predictor_maker", None)
    command = ["infer", "-c", str(tmp_path / "discs.yaml"), "--output", str(run.output), "--redraw", *options]
    for given in ([], [str(clip)]):
        monkeypatch.setattr(sys, "argv", [*command, *given])
        assert infer.main() == 0
        assert capsys.readouterr().out.splitlines()[2].split()[:6] == ["clip", "redrawn", "4", "3", "3", "0.90"]
    assert (run.output / "clip" / "results.json").read_bytes() == results
    assert (run.output / "clip" / "overlay.mp4").read_bytes() != before
    legend = json.loads((run.output / "clip" / "masks" / "tracks.json").read_text())
    assert legend["background"] == 0 and [track["pixel"] for track in legend["tracks"]] == [1, 2, 3]
    assert legend["tracks"][0]["class"] == "ball" and legend["tracks"][1]["class"] == "class 2"
    coco = json.loads((run.output / "clip" / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"clip.mp4#{index}" for index in range(4)]
    write_video(clip, 3)
    assert infer.main() == 1 or "no longer what it was" in capsys.readouterr().err


class SureLate(ColorTracker):
    """Knows by the third frame only that what it sees is something, and at the end of what category."""

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        known = super().feed(frame)
        for instances in known:
            instances.labels[:] = 2
            if len(self._seen) < 3:
                instances.scores[:] = 0.1
        return known


def _drawn_pixels(run) -> list[int]:
    """Of each frame, how many tracks the mask picture shows."""
    shown = []
    for picture in sorted((run.output / "clip" / "masks").glob("*.png")):
        with Image.open(picture) as opened:
            shown.append(len(np.unique(np.array(opened))) - 1)
    return shown


def test_a_finished_video_is_drawn_with_what_was_known_at_its_end(run, tmp_path: Path, capsys) -> None:
    clip = write_frame_folder(tmp_path / "clip", 5)
    written = "inference.write=[video,masks,frames,csv]"
    assert run(clip, written, "inference.redraw=false", tracker=SureLate()) == 0
    assert _drawn_pixels(run) == [0, 0, 3, 3, 3]
    folder = run.output / "clip"
    as_it_ran, lines = (folder / "overlay.mp4").read_bytes(), (folder / "frames.jsonl").read_bytes()
    assert run(clip, written, "--force", tracker=SureLate()) == 0
    assert _drawn_pixels(run) == [3] * 5
    assert (folder / "frames.jsonl").read_bytes() == lines  # these are written as it goes
    drawn = (folder / "overlay.mp4").read_bytes()
    assert drawn != as_it_ran
    assert capsys.readouterr().out.splitlines()[-2].split()[:6] == ["clip", "done", "5", "3", "3", "0.90"]
    command = ["inference.write=[video]", "--redraw"]
    assert run(clip, *command) == 0 and (folder / "overlay.mp4").read_bytes() == drawn


@pytest.mark.parametrize("why", ["too long", "too many tracks", "other frames", "stopped", "disk full"])
def test_where_it_is_not_drawn_again_the_first_drawing_stays(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, why: str
) -> None:
    clip = write_frame_folder(tmp_path / "clip", 5)
    draw_video = video_runner.draw_video

    def no_room(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def draw_after_that(*arguments, **options):
        if why == "other frames":
            for picture in clip.glob("*.png"):
                Image.fromarray(make_frame(0, (48, 64))).save(picture)
        elif why == "stopped":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            assert why == "disk full"
            monkeypatch.setattr(video_files, "write_mask_picture", no_room)
        return draw_video(*arguments, **options)

    monkeypatch.setattr(video_runner, "draw_video", draw_after_that)
    options = ["inference.write=[masks]", *(["inference.kept_frames=4"] if why == "too long" else [])]
    if why == "too many tracks":  # of more the result keeps the best only
        monkeypatch.setattr(video_runner, "MAX_ENDED_TRACKS", 3)
    if why == "disk full":
        with pytest.raises(UserError, match="no room to write"):
            run(clip, *options, tracker=SureLate())
    else:
        others = write_frame_folder(tmp_path / "more", 5)
        code = run(clip, others, *options, tracker=SureLate())
        assert code == (130 if why == "stopped" else 0)  # Ctrl-C ends the command, not only the drawing
        assert (run.output / "more").exists() == (why != "stopped")
    assert _drawn_pixels(run) == [0, 0, 3, 3, 3]
    record = json.loads((run.output / "clip" / "run.json").read_text())
    assert record["report"]["status"] == "done" and record["report"]["problems"] == []
    said = "drawings show what was known frame by frame" in capsys.readouterr().err
    assert said == (why in ("other frames", "stopped"))


def test_the_first_track_has_pixels_and_a_track_zero_is_refused(run, tmp_path: Path) -> None:
    class FromZero(ColorTracker):
        def _result(self, frames):
            result = super()._result(frames)
            result.track_ids[:] -= 1
            return result

    folder = write_frame_folder(tmp_path / "clip", 2)
    assert run(folder, "inference.write=[masks]", tracker=FromZero()) == 1
    assert run(folder, "inference.write=[masks]") == 0
    with Image.open(run.output / "clip" / "masks" / "000000.png") as picture:
        assert sorted(np.unique(np.array(picture)).tolist()) == [0, 1, 2, 3]


STREAM = """
import sys
sys.path.insert(0, {root!r})
from mindvideo.cli import infer
from mindvideo.cli.arguments import run_tool
from mindvideo.inference.predictor import Predictor
from mindvideo.structures import VideoInstances
from tests.inference.colored_videos import ColorTracker

class Tells(ColorTracker):
    def feed(self, frame):
        print("fed", flush=True)
        return super().feed(frame)

infer.predictor_maker = lambda cfg, weights: lambda: Predictor(tracker=Tells())
run_tool(infer.main)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_stream_that_stalls_can_be_ended(tmp_path: Path, times: int) -> None:
    (tmp_path / "discs.yaml").write_text("family: vistr\nname: discs\n")
    (tmp_path / "w.ckpt").write_bytes(b"weights")
    command = [sys.executable, "-c", STREAM.format(root=str(PROJECT)), "-", "--raw-size", "32x24"]
    command += ["-c", str(tmp_path / "discs.yaml"), "--weights", str(tmp_path / "w.ckpt"), "--output"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for index in range(3):
        process.stdin.write(make_frame(index).tobytes())
    process.stdin.flush()
    for _ in range(3):
        assert process.stdout.readline() == b"fed\n"
    started = time.monotonic()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    code = process.wait(timeout=30)
    assert time.monotonic() - started < 8
    errors = process.stderr.read().decode()
    assert "Fatal Python error" not in errors and "Traceback" not in errors
    out = tmp_path / "out" / "stdin"
    name = "overlay.mp4" if code == 0 else "overlay.partial.mp4"
    assert code == (0 if times == 1 else code) and code in (0, 130), errors
    with VideoFile(out / name, name="overlay") as reader:
        assert len(list(reader.frames())) == 3
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def test_streams_are_new_each_time(run, infer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mindvideo.data.media import sources
    from mindvideo.inference.predictor import ArrayFrames

    lengths = iter([2, 3])
    monkeypatch.setattr(
        sources, "open_stream", lambda **options: ArrayFrames([make_frame(0)] * next(lengths), name="stdin")
    )
    assert run("--input", "-") == 0 and run("-") == 0
    assert _ids(run) == {"stdin": 1, "stdin-2": 2} and _lengths(run) == {1: 2, 2: 3}
