"""Commands that are printed at the end of another one, as they can be pasted."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from mindvideo.data.media.images import is_image


def command(*words: object) -> str:
    return f"next: {shlex.join(['mindvideo', *map(str, words)])}"


def submit_command(results: Path, annotations: Path, *, dataset: str = "", upload: bool = False) -> str:
    more = [*(["--for", dataset] if dataset else []), *(["--upload"] if upload else [])]
    return command("submit", "--results", results, "--annotations", annotations, *more)


def analyze_command(output: Path, video_id: int | str, *, video: Path | None) -> str | None:
    """For the record of one video, and the video itself where its frames are a file or a folder of their own."""
    record = output / "analysis" / f"{video_id}.npz"
    if not record.is_file():
        return None
    shown = ["--input", video] if video is not None else []
    return command("analyze", record, *shown, "--output", output / "drawn")


def folder_of_frames(folder: Path, file_names: Sequence[str]) -> Path | None:
    """The folder that holds just these pictures; None where there is none, or where it holds others too."""
    parents = {os.path.dirname(name) for name in file_names}
    if len(parents) != 1:
        return None
    place = folder / parents.pop()
    pictures = {path.name for path in place.iterdir() if is_image(path)} if place.is_dir() else set()
    return place if pictures == {os.path.basename(name) for name in file_names} else None


def official_annotations(frames: Path) -> Path | None:
    """The annotation file of an official set whose frames these are, as the trees of YouTube-VIS and OVIS have them."""
    split = frames.parent if frames.name == "JPEGImages" else frames
    names = (split / "instances.json", split.with_suffix(".json"), split.with_name(f"annotations_{split.name}.json"))
    return next((name for name in names if name.is_file()), None)
