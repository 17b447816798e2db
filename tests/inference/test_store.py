"""The store of finished videos: whatever happens and whenever, no video is lost, taken for another, or run in vain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.inference.output.safe_names import RESERVED, safe_folder_name
from mindvideo.inference.output.store import VideoReport, VideoStore
from mindvideo.structures import VideoInstances

PROJECT = Path(__file__).resolve().parents[2]

# Runs three videos in a forked process that kills itself at the N-th moment (before each rename or sync of a file and
# before each frame), then again to the end; until N is beyond the last moment.
KILLS = """
import importlib, os, pathlib, signal, sys
sys.path.insert(0, {root!r})
from mindvideo.cli import infer
from mindvideo.cli.arguments import run_tool
from mindvideo.inference.predictor import Predictor
from tests.inference.colored_videos import ColorTracker

def may_die(of, function):
    def wrapper(*arguments, **options):
        of["left"] -= 1
        if of["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapper

def run(output, moment):
    child = os.fork()
    if child == 0:
        count = {{"left": moment}}
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.replace = may_die(count, os.replace)
        pathlib.Path.replace = may_die(count, pathlib.Path.replace)
        os.fsync = may_die(count, os.fsync)
        tracker = ColorTracker()
        tracker.feed = may_die(count, tracker.feed)
        infer.predictor_maker = lambda cfg, weights: lambda: Predictor(tracker=tracker, read_ahead=1)
        sys.argv = ["infer", {videos!r}, "-c", {config!r}, "--weights", {weights!r}, "--output", output,
                    "inference.write=[masks]"]
        try:
            run_tool(infer.main)
        except SystemExit as error:
            os._exit(error.code)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

moment = 1
while True:
    output = "{out}/" + str(moment)
    first = run(output, moment)
    if first == 0:
        break
    assert first == -signal.SIGKILL, first
    again = run(output, 10**9)
    print(moment, again, flush=True)
    moment += {step}
"""


def test_a_kill_at_any_moment_loses_no_video(tmp_path: Path) -> None:
    from tests.inference.colored_videos import write_frame_folder

    for name in ("a", "b", "c"):
        write_frame_folder(tmp_path / "videos" / name, 3)
    (tmp_path / "discs.yaml").write_text("family: vistr\nname: discs\n")
    (tmp_path / "w.ckpt").write_bytes(b"weights")
    script = KILLS.format(
        root=str(PROJECT), videos=str(tmp_path / "videos"), config=str(tmp_path / "discs.yaml"),
        weights=str(tmp_path / "w.ckpt"), out=str(tmp_path / "out"), step=3,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    moments = [line.split() for line in done.stdout.splitlines()]
    assert len(moments) > 10
    for moment, code in moments:
        output = tmp_path / "out" / moment
        assert code == "0", f"killed at moment {moment}, the next run ended with {code}"
        listed = json.loads((output / "videos.json").read_text())
        assert sorted(video["id"] for video in listed) == [1, 2, 3], f"moment {moment}: {listed}"
        assert sorted(video["name"] for video in listed) == ["a", "b", "c"]
        assert all(video["status"] == "done" and video["length"] == 3 for video in listed)
        records = json.loads((output / "results.json").read_text())
        assert sorted({record["video_id"] for record in records}) == [1, 2, 3] and len(records) == 9, moment
        begun = [
            path for path in output.rglob(".*.tmp*") if path.parent != output or path.name[1:7] in ("videos", "result")
        ]
        assert not begun
        for video in listed:
            own = json.loads((output / video["folder"] / "results.json").read_text())
            assert {record["video_id"] for record in own} == {video["id"]}


def _result(video_id: int = 1) -> VideoInstances:
    return VideoInstances.nothing(video_id=video_id, size=(4, 6), num_frames=2)


def _finish(store: VideoStore, name: str, path: str) -> None:
    store.start()
    video = store.register(name=name, source={"path": path})
    store.begin(video)
    store.save_results(video, _result(video.id))
    report = VideoReport(name=video.name, video_id=video.id, status="done", frames=2)
    store.finish(video, report, _result(video.id), source={"path": path})


def test_a_lost_or_damaged_list_of_videos_is_made_again(tmp_path: Path) -> None:
    with VideoStore(tmp_path / "out", settings={}) as store:
        _finish(store, "a", "/one/a.mp4")
        _finish(store, "a", "/two/a.mp4")
    for damage in (b"", b"[{", b'[{"name": "a"}]', None):
        path = tmp_path / "out" / "videos.json"
        path.unlink() if damage is None else path.write_bytes(damage)
        with VideoStore(tmp_path / "out", settings={}) as store:
            found = {video.source["path"]: (video.id, video.folder) for video in store.videos}
        assert found == {"/one/a.mp4": (1, "a"), "/two/a.mp4": (2, "a-2")}


def test_a_damaged_record_counts_as_unfinished(tmp_path: Path) -> None:
    with VideoStore(tmp_path / "out", settings={}) as store:
        _finish(store, "a", "/one/a.mp4")
        (tmp_path / "out" / "a" / "run.json").write_text('{"report": 3}')
        assert store.record_of(store.videos[0]) is None


def test_another_command_is_kept_out_and_nothing_is_touched(tmp_path: Path) -> None:
    with VideoStore(tmp_path / "out", settings={}) as store:
        store.start()
        with pytest.raises(UserError, match=r"is in use by another mindvideo command \(process \d+\)") as caught:
            VideoStore(tmp_path / "out", settings={}).start()
        assert "\n" not in str(caught.value)
    with VideoStore(tmp_path / "out", settings={}) as store:
        store.start()  # the first one has let go


def test_results_of_other_settings_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with VideoStore(tmp_path / "out", settings={"weights": "one"}) as store:
        _finish(store, "a", "/a.mp4")
    with VideoStore(tmp_path / "out", settings={"weights": "two"}) as store:
        with pytest.raises(UserError, match=r"weights: 'one' then, 'two' now.*--force"):
            store.finished(store.videos[0])
        _finish(store, "b", "/b.mp4")
        store.gather()
    assert "left out of results.json: a" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", " ", "...", "a/b", "a\\b", "../../x", "a\nb\x07", "\udcff", "x" * 400, "é" * 200, "-", "con:"],
)
def test_names_stay_inside_the_output(tmp_path: Path, name: str) -> None:
    folder = safe_folder_name(name)
    made = tmp_path / "out" / folder
    made.mkdir(parents=True)
    assert made.resolve().parent == (tmp_path / "out").resolve()
    assert folder.isprintable() and not folder.startswith(".") and len(folder.encode()) <= 130


def test_names_of_a_runs_own_files_and_taken_names() -> None:
    for name in RESERVED:
        assert safe_folder_name(name).casefold() not in RESERVED
        assert safe_folder_name(name.upper()).casefold() not in RESERVED
    assert safe_folder_name("Clip", taken={"clip", "clip-2"}) == "Clip-3"
    assert safe_folder_name("x" * 300) != safe_folder_name("x" * 300 + "y")


def test_repr_and_masks_of_instances() -> None:
    from tests.inference.colored_videos import ColorTracker, make_frame, true_masks

    tracker = ColorTracker()
    tracker.begin(size=(24, 32), num_frames=2, video_id="v")
    for index in range(2):
        tracker.feed(make_frame(index))
    result = tracker.finish()
    assert repr(result) == (
        "VideoInstances(video 'v', 2 frames of 24x32, 3 tracks: [#1 class 1 0.90, #2 class 2 0.90, #3 class 3 0.90])"
    )
    expected = np.stack([np.stack([true_masks(index)[track] for index in range(2)]) for track in (1, 2, 3)])
    np.testing.assert_array_equal(result.masks(), expected)
    np.testing.assert_array_equal(result.masks(1), expected[:, 1])


def test_results_are_read_again(tmp_path: Path) -> None:
    import mindvideo
    from tests.inference.colored_videos import ColorTracker, make_frame

    assert {"VideoPredictor", "load_results"} <= set(dir(mindvideo))
    tracker = ColorTracker()
    tracker.begin(size=(24, 32), num_frames=1, video_id=7)
    tracker.feed(make_frame(0))
    result = tracker.finish()
    result.save(tmp_path / "results.json")
    for path in (tmp_path, tmp_path / "results.json"):
        read = mindvideo.load_results(path)
        assert list(read) == [7]
        assert read[7].to_results() == result.to_results() and read[7].size == (24, 32)
    for content, message in (
        ("{", "not a result file"),
        ("[3]", "not a result file"),
        ('[{"video_id": 1}]', "segmentations"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(UserError, match=message):
            mindvideo.load_results(tmp_path / "bad.json")
