"""The tool that makes the pictures of the pages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.errors import UserError
from tests.inference.colored_videos import write_video
from tests.test_layout import PROJECT


def test_frames_side_by_side(tmp_path: Path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("overlay_strip", PROJECT / "tools" / "overlay_strip.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    clip = write_video(tmp_path / "clip.mp4", 6, (48, 64))
    command = ["overlay_strip.py", str(clip), str(tmp_path / "strip.png"), "--height", "24"]
    monkeypatch.setattr("sys.argv", [*command, "--frames", "5,0"])
    tool.main()
    with Image.open(tmp_path / "strip.png") as picture:
        strip = np.array(picture.convert("RGB"))
    assert strip.shape == (24, 2 * 32 + tool.GAP, 3) and (strip[:, 32 : 32 + tool.GAP] == 255).all()
    monkeypatch.setattr("sys.argv", [*command, "--frames", "6"])
    with pytest.raises(UserError, match="no frame 6"):
        tool.main()
