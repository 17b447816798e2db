"""The view of a tracker: recorded, read back, drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.analysis.embedding_map import place_embeddings
from mindvideo.analysis.record import read_record
from mindvideo.analysis.sampling_points import draw_sampling_points
from mindvideo.errors import UserError
from mindvideo.inference.analysis_record import AnalysisRecorder
from mindvideo.inference.output.colors import track_color
from mindvideo.structures import VideoInstances

TOOL = Path(__file__).resolve().parents[3] / "tools" / "segmentation" / "analyze.py"
T, N, C, SIZE = 4, 3, 8, (40, 60)


@pytest.fixture
def record(tmp_path) -> Path:
    """Three candidates, of which the second had no pixel; all points of a track in one place."""
    rng = np.random.default_rng(0)
    recorder = AnalysisRecorder(tmp_path / "seen")
    recorder.begin(video_id="clip", size=SIZE)
    places = np.asarray([[0.25, 0.5], [0.9, 0.9], [0.75, 0.25]])
    for _ in range(T):
        recorder.observe(
            embeddings=rng.normal(size=(N, C)) + 20 * np.arange(N)[:, None],
            references=places,
            locations=np.broadcast_to(places[:, None, None, None], (N, 2, 3, 4, 2)),
        )
    kept = [0, 2]
    video = VideoInstances(
        video_id="clip",
        size=SIZE,
        num_frames=T,
        scores=np.asarray([0.4, 0.8], np.float32),
        labels=np.asarray([1, 2]),
        track_ids=np.asarray(kept),
        segmentations=[[None] * T] * 2,
    )
    recorder.finish(video, queries=[7, 5, 3], kept=kept)
    return tmp_path / "seen" / "clip.npz"


def test_record_holds_the_tracks_of_the_result(record):
    read = read_record(record)
    assert read.embeddings.shape == (T, 2, C) and read.locations.shape == (T, 2, 2, 3, 4, 2)
    assert read.queries.tolist() == [7, 3] and read.track_ids.tolist() == [0, 2]
    assert read.strongest(1) == [1]


def test_points_are_drawn_where_the_network_looked(record):
    read = read_record(record)
    picture = draw_sampling_points(np.zeros((*SIZE, 3), np.uint8), read, 0, [0, 1])
    H, W = picture.shape[:2]
    assert (H, W) == (360, 540)
    for row, (x, y) in ((0, (0.25, 0.5)), (1, (0.75, 0.25))):
        around = picture[int(y * H) - 3 : int(y * H) + 3, int(x * W) - 3 : int(x * W) + 3].reshape(-1, 3)
        assert (around == track_color(int(read.track_ids[row]))).all(1).any()
    assert picture[: H // 8].max() == 0 and picture[-H // 8 :].max() == 0


def test_embeddings_of_a_track_stay_together(record):
    placed = place_embeddings(read_record(record).embeddings)
    centres = placed.mean(0)
    spread = np.linalg.norm(placed - centres, axis=-1).max()
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def test_the_tool_writes_map_pictures_and_overlay(record, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(T):
        Image.fromarray(np.full((*SIZE, 3), 40 * index, np.uint8)).save(frames / f"{index:05d}.png")
    arguments = [str(record), "--input", str(frames), "--output", str(tmp_path / "drawn")]
    finished = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(list((tmp_path / "drawn" / "frames").glob("*.png"))) == T
    assert Image.open(tmp_path / "drawn" / "embeddings.png").size[0] > 300
    assert (tmp_path / "drawn" / "overlay.mp4").stat().st_size > 500
    other = tmp_path / "other" / "analysis" / "clip.npz"
    other.parent.mkdir(parents=True)
    other.write_bytes(record.read_bytes())
    beside = [str(record), str(other), "--input", str(frames), "--output", str(tmp_path / "two")]
    finished = subprocess.run([sys.executable, TOOL, *beside], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    one, two = (Image.open(tmp_path / name / "frames" / "00000.png").size for name in ("drawn", "two"))
    assert two == (2 * one[0], one[1])
    (frames / "00003.png").unlink()
    finished = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)
    assert finished.returncode == 2 and "3 frames" in finished.stderr


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", embeddings=np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"labels, locations.* missing; embeddings has 2 axes, not 3"):
        read_record(tmp_path / "other.npz")
