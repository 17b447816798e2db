"""The video of a job, as it lies in its folder."""

from __future__ import annotations

from pathlib import Path

from mindvideo.data.media.sources import VideoSource, find_videos
from mindvideo.errors import UserError


def only_video(folder: Path) -> VideoSource:
    """The one video of a job's input."""
    frames = folder / "frames"
    sources = find_videos(frames if frames.is_dir() else next(folder.glob("video.*"), folder))
    if len(sources) != 1:
        raise UserError(f"{len(sources)} videos were sent where one is looked at")
    return sources[0]
