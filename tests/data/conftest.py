"""Small data sets that several data tests share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES

NUM_VIDEOS = 12
RECIPE = dataclasses.replace(RECIPES["easy"], num_frames=6)


@pytest.fixture(scope="session")
def shapes_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up set of 12 training and 4 validation videos of 6 frames."""
    folder = tmp_path_factory.mktemp("shapes") / "synthetic_easy"
    for split, count in (("train", NUM_VIDEOS), ("valid", 4)):
        assert list(write_split(folder, RECIPE, split=split, num_videos=count, seed=7))[-1] == count
    return folder
