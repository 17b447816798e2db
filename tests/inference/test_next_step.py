"""Commands that are printed at the end of another one: only those that would run."""

from __future__ import annotations

from pathlib import Path

from mindvideo.cli.next_step import analyze_command, folder_of_frames, official_annotations, submit_command


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_analysis_of_a_recorded_video(tmp_path):
    assert analyze_command(tmp_path, 12, video=None) is None
    touch(tmp_path / "analysis" / "12.npz", tmp_path / "set" / "a" / "1.jpg", tmp_path / "set" / "a" / "2.jpg")
    video = folder_of_frames(tmp_path / "set", ["a/1.jpg", "a/2.jpg"])
    shown = analyze_command(tmp_path, 12, video=video)
    record, drawn = tmp_path / "analysis" / "12.npz", tmp_path / "drawn"
    assert shown == f"next: mindvideo analyze {record} --input {tmp_path / 'set' / 'a'} --output {drawn}"
    # a folder with other pictures too would be another video
    assert folder_of_frames(tmp_path / "set", ["a/1.jpg"]) is None
    assert folder_of_frames(tmp_path / "set", ["a/1.jpg", "b/2.jpg"]) is None


def test_submission(tmp_path):
    shown = submit_command(Path("my run/results.json"), Path("valid.json"), dataset="ovis", upload=True)
    assert shown == (
        "next: mindvideo submit --results 'my run/results.json' --annotations valid.json --for ovis --upload"
    )


def test_official_trees_are_known_by_sight(tmp_path):
    trees = {
        "2019": ("valid.json", "valid/JPEGImages"),
        "2021": ("valid/instances.json", "valid/JPEGImages"),
        "ovis": ("annotations_valid.json", "valid"),
    }
    for name, (file, frames) in trees.items():
        touch(tmp_path / name / file, tmp_path / name / frames / "a" / "0.jpg")
        assert official_annotations(tmp_path / name / frames) == tmp_path / name / file
    assert official_annotations(tmp_path) is None
