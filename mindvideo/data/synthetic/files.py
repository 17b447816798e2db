"""Writes a made-up set as a YouTube-VIS data set: JPEG folders, annotations and a few video files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mindvideo.data.labels.reading import read_json
from mindvideo.data.synthetic.videos import SPLIT_STREAMS, SyntheticRecipe, SyntheticVideo, render_video
from mindvideo.errors import UserError
from mindvideo.files import atomic_path, check_place, write_json
from mindvideo.masks.rle import encode_mask, pixel_box

JPEG_QUALITY = 95
VIDEO_FRAMES_PER_SECOND = 10
MAKER = "mindvideo synthetic set"  # begins the description in the annotation files
_SPLITS = "|".join(SPLIT_STREAMS)
_SET_FILE = re.compile(
    rf"annotations/instances_({_SPLITS})\.json"
    rf"|({_SPLITS})/JPEGImages/\d{{5,}}/\d{{5,}}\.jpg"
    rf"|videos/({_SPLITS})_\d{{5,}}\.mp4"
)


def check_set_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot become a made-up set or holds anything other than such a set that may be replaced."""
    check_place(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the name of a new one")
    whole = folder.resolve()
    if os.path.ismount(whole) or Path.cwd().is_relative_to(whole):
        where = "a mount point" if os.path.ismount(whole) else "the current folder or above it"
        raise UserError(f"{folder} is {where}, so no new set can take its place; give the name of a folder below it")
    if not any(whole.iterdir()):
        return
    _require_made_up(folder)
    if not overwrite:
        raise UserError(f"{folder} holds a set already; give another --output, or --overwrite")


def _require_made_up(folder: Path) -> None:
    """Refuse a folder unless its annotation files say that they were made here and all else is of such a set too."""
    kept = "so it is not replaced; give the name of a new folder"
    annotation_files = sorted((folder / "annotations").glob("*.json"))
    if not annotation_files:
        raise UserError(f"{folder} holds files but no annotation file of a synthetic set, {kept}")
    for file in annotation_files:
        if not _says_made_up(read_json(file)):
            raise UserError(f"{folder} is no synthetic set ({file.relative_to(folder)} was made elsewhere), {kept}")
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and not _SET_FILE.fullmatch(name):
            raise UserError(f"{folder} also holds {name}, which is not of the synthetic set, {kept}, or move that away")


def _says_made_up(content: Any) -> bool:
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and str(info.get("description")).startswith(MAKER)


def write_split(
    folder: str | Path, recipe: SyntheticRecipe, *, split: str, num_videos: int, seed: int
) -> Iterator[int]:
    """Write one split below ``folder``; yields the number of videos done, for a progress line.

    ``<split>/JPEGImages/<video>/<frame>.jpg`` and ``annotations/instances_<split>.json``.
    """
    folder = Path(folder)
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(num_videos):
        video = render_video(recipe, seed=seed, split=split, index=index)
        name = f"{index:05d}"
        frames = folder / split / "JPEGImages" / name
        frames.mkdir(parents=True, exist_ok=True)
        for t, frame in enumerate(video.frames):
            _write_jpeg(frames / f"{t:05d}.jpg", frame)
        T, H, W, _ = video.frames.shape
        file_names = [f"{name}/{t:05d}.jpg" for t in range(T)]
        videos.append({"id": index + 1, "height": H, "width": W, "length": T, "file_names": file_names})
        annotations += video_annotations(video, video_id=index + 1, first_id=len(annotations) + 1)
        yield index + 1
    content = {
        "info": {"description": f"{MAKER}, split {split}, seed {seed}"},
        "videos": videos,
        "categories": [{"id": number + 1, "name": shape} for number, shape in enumerate(recipe.shapes)],
        "annotations": annotations,
    }
    write_json(folder / "annotations" / f"instances_{split}.json", content, indent=None)


def _write_jpeg(path: Path, frame: np.ndarray) -> None:
    written, content = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not written:
        raise OSError(f"{path}: the JPEG encoder failed")
    path.write_bytes(content.tobytes())


def video_annotations(video: SyntheticVideo, *, video_id: int, first_id: int) -> list[dict[str, Any]]:
    """The annotation entries of one video."""
    entries = []
    for n, label in enumerate(video.labels):
        masks = video.masks[n]
        boxes = [pixel_box(mask) for mask in masks]
        entries.append(
            {
                "id": first_id + n,
                "video_id": video_id,
                "category_id": label,
                "iscrowd": 0,
                "bboxes": boxes,
                "areas": [int(mask.sum()) or None for mask in masks],
                "segmentations": [None if box is None else encode_mask(mask) for box, mask in zip(boxes, masks)],
            }
        )
    return entries


def write_video_files(
    folder: str | Path, recipe: SyntheticRecipe, *, split: str, num_videos: int, seed: int, first: int = 0
) -> list[Path]:
    """Videos of a split, from the ``first`` on, as ``videos/<split>_<video>.mp4``, without labels."""
    paths = []
    for index in range(first, first + num_videos):
        path = Path(folder) / "videos" / f"{split}_{index:05d}.mp4"
        with atomic_path(path) as temporary:
            _write_mp4(temporary, render_video(recipe, seed=seed, split=split, index=index).frames)
        paths.append(path)
    return paths


def _write_mp4(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FRAMES_PER_SECOND)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
