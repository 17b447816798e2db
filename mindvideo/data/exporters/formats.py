"""The formats by name, and the writer of one video in any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindvideo.data.exporters.coco import coco_content
from mindvideo.data.exporters.cutouts import VIDEO_KINDS, Objects, TransparentVideo, require_encoder, write_cutouts
from mindvideo.data.exporters.cvat import cvat_xml
from mindvideo.data.exporters.label_studio import box_interface, box_task, brush_interface, brush_tasks
from mindvideo.data.exporters.labelme import labelme_frame
from mindvideo.data.exporters.objects_csv import objects_csv
from mindvideo.data.exporters.pictures import PictureFolder
from mindvideo.data.exporters.tracked_video import TrackedVideo
from mindvideo.files import json_text

# Format -> what is written for a video: a file, or a folder where there is no suffix.
WRITTEN = {
    "coco": "coco.json",
    "cvat": "cvat.xml",
    "labelme": "labelme",
    "labelstudio": "label_studio",
    "csv": "objects.csv",
    "cutouts": "cutouts",
    **{kind: f"cutouts{suffix}" for kind, (suffix, *_) in VIDEO_KINDS.items()},
}
FROM_PIXELS = ("labelme", "labelstudio", "cutouts", *VIDEO_KINDS)
TOLERANCE = 1.0  # pixels by which outlines of polygons may be off


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownFrame:
    """``image`` uint8 RGB [H, W, 3]; ``number`` in the video; ``file``: the picture it was read from, if any."""

    image: np.ndarray
    number: int
    file: Path | None = None


class VideoWriting:
    """One video into ``folder``, which is there: ``add`` each frame in order, then ``finish`` with the tracks.

    Without a format of ``FROM_PIXELS`` no frame is needed. ``served_in``: the folder as Label Studio's server sees it,
    a path below the one that it serves. ``close`` ends what was begun when ``finish`` is not reached.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Collection[str],
        frames_per_second: float,
        tolerance: float = TOLERANCE,
        served_in: str = "",
    ) -> None:
        self._folder, self._formats, self._tolerance = folder, formats, tolerance
        self._served_in = f"{served_in}/{WRITTEN['labelstudio']}".lstrip("/")
        self._pictures = {
            name: PictureFolder(folder / WRITTEN[name]) for name in ("labelme", "labelstudio") if name in formats
        }
        self._videos = [
            TransparentVideo(folder / WRITTEN[kind], kind=kind, frames_per_second=frames_per_second)
            for kind in VIDEO_KINDS
            if kind in formats
        ]
        if "cutouts" in formats:
            (folder / WRITTEN["cutouts"]).mkdir()

    def add(self, frame: ShownFrame, objects: Objects) -> None:
        """The next frame, and the objects to be cut out of it."""
        for pictures in self._pictures.values():
            pictures.add(frame.image, number=frame.number, file=frame.file)
        if "cutouts" in self._formats:
            write_cutouts(self._folder / WRITTEN["cutouts"], frame.image, objects, number=frame.number)
        for video in self._videos:
            video.add(frame.image, objects)

    def finish(
        self, video: TrackedVideo, *, whole: TrackedVideo | None = None, names: Mapping[int, str] | None = None
    ) -> None:
        """``whole``: with the tracks that are too weak for the others too, for coco and csv. ``names``: of classes."""
        self.close()
        whole = whole or video
        if "coco" in self._formats:
            self._write_json(WRITTEN["coco"], coco_content([whole], names=names))
        if "csv" in self._formats:
            self._write(WRITTEN["csv"], objects_csv([whole]))
        if "cvat" in self._formats:
            self._write(WRITTEN["cvat"], cvat_xml(video, tolerance=self._tolerance))
        if "labelme" in self._formats:
            self._write_labelme(video, self._pictures["labelme"].names)
        if "labelstudio" in self._formats:
            self._write_label_studio(video, self._pictures["labelstudio"].names)

    def close(self) -> None:
        for video in self._videos:
            video.close()

    def _write_labelme(self, video: TrackedVideo, pictures: Sequence[str]) -> None:
        for place, picture in enumerate(pictures):
            content = labelme_frame(video, place, picture=picture, tolerance=self._tolerance)
            self._write_json(f"{WRITTEN['labelme']}/{Path(picture).stem}.json", content)

    def _write_label_studio(self, video: TrackedVideo, pictures: Sequence[str]) -> None:
        inside = WRITTEN["labelstudio"]
        self._write_json(f"{inside}/tasks.json", brush_tasks(video, pictures, served_in=self._served_in))
        self._write(f"{inside}/interface.xml", brush_interface(video))
        boxes = box_task(video, tolerance=self._tolerance)
        if boxes is not None:
            self._write_json(f"{inside}/tasks_boxes.json", [boxes])
            self._write(f"{inside}/interface_boxes.xml", box_interface(video))

    def _write_json(self, name: str, content: object) -> None:
        self._write(name, json_text(content, indent=None))

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")


def require_formats(formats: Collection[str]) -> None:
    """UserError where one of them cannot be written here; said before any work."""
    for kind in VIDEO_KINDS:
        if kind in formats:
            require_encoder(kind)
