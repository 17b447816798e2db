"""Writes a made-up set as a YouTube-VIS data set: JPEG folders, annotations and a few video files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from mindvideo.data.segmentation import encode_mask, mask_box
from mindvideo.data.synthetic import SyntheticRecipe, SyntheticVideo, render_video
from mindvideo.files import atomic_path, write_json

JPEG_QUALITY = 95
VIDEO_FRAMES_PER_SECOND = 10


def write_split(
    folder: str | Path, recipe: SyntheticRecipe, *, split: str, num_videos: int, seed: int
) -> Iterator[int]:
    """Write one split below ``folder``; yields the number of videos done, for a progress line.

    ``<split>/JPEGImages/<video>/<frame>.jpg`` and ``annotations/instances_<split>.json``.
    """
    folder = Path(folder)
    videos, annotations = [], []
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
        "info": {"description": f"mindvideo synthetic set, split {split}, seed {seed}"},
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
        boxes = [mask_box(mask) for mask in masks]
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
    folder: str | Path, recipe: SyntheticRecipe, *, split: str, num_videos: int, seed: int
) -> list[Path]:
    """The first videos of a split as ``videos/<split>_<video>.mp4``, without labels."""
    paths = []
    for index in range(num_videos):
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
