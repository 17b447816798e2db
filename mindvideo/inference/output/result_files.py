"""The files about one video: overlay, mask pictures, results in YouTube-VIS and COCO form. Whole or absent."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.files import atomic_path, write_json
from mindvideo.inference.output.colors import track_color
from mindvideo.inference.output.draw import draw_instances, name_of_class, readable_scale, rows_to_draw
from mindvideo.inference.output.video_writer import VideoWriter
from mindvideo.masks.rle import decode_mask, mask_area, mask_box
from mindvideo.structures import Frame, VideoInstances

OVERLAY, RESULTS, COCO, MASKS = "overlay.mp4", "results.json", "coco.json", "masks"
_PALETTE_ENTRIES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputChoice:
    """What is written beside ``results.json``, and how the overlay looks."""

    write: Sequence[str] = ("video",)
    draw: Sequence[str] = ("masks", "boxes", "tags")
    confidence: float = 0.3
    most_overlap: float = 1.0
    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)


class ResultFiles:
    """Files of one video: ``add`` each frame, then ``finish`` with the result, or ``keep_partial``, or ``abandon``.

    Nothing carries its final name before it is whole. What an interruption leaves is called ``overlay.partial.mp4``,
    ``results.partial.json`` and so on.
    """

    def __init__(self, folder: Path, *, choice: OutputChoice, frames_per_second: float) -> None:
        self.folder = folder
        self._choice = choice
        folder.mkdir(parents=True, exist_ok=True)
        self._video = None
        if "video" in choice.write:
            self._video = VideoWriter(folder / OVERLAY, frames_per_second=frames_per_second)
        self._masks = folder / f".{MASKS}.tmp" if "masks" in choice.write else None
        if self._masks is not None:
            shutil.rmtree(self._masks, ignore_errors=True)
            self._masks.mkdir()
        self._frames: list[tuple[int, str]] = []  # index and source of each

    def add(self, item: tuple[Frame, VideoInstances]) -> None:
        """One frame and its instances, in order. Called on the writing thread."""
        frame, instances = item
        self._frames.append((frame.index, Path(frame.source).name))
        choice = self._choice
        if self._video is not None:
            drawn = draw_instances(
                frame.image,
                instances,
                choice.class_names,
                confidence=choice.confidence,
                most_overlap=choice.most_overlap,
                masks="masks" in choice.draw,
                boxes="boxes" in choice.draw,
                tags="tags" in choice.draw,
                scale=readable_scale(instances.size),
            )
            self._video.write(drawn)
        if self._masks is not None:
            shown = rows_to_draw(instances, confidence=choice.confidence, most_overlap=choice.most_overlap)
            write_mask_picture(self._masks / f"{frame.index:06d}.png", instances, shown)

    def finish(self, result: VideoInstances) -> None:
        self._write(result, partial=False)

    def keep_partial(self, result: VideoInstances | None) -> None:
        """After an interruption: what is done stays, under names that say so."""
        self._write(result, partial=True)

    def abandon(self) -> None:
        """Remove what was begun; a finished file of an earlier run stays."""
        if self._video is not None:
            self._video.abandon()
        if self._masks is not None:
            shutil.rmtree(self._masks, ignore_errors=True)

    def _write(self, result: VideoInstances | None, *, partial: bool) -> None:
        """The small files first: where one cannot be written, the large ones do not get their names either."""
        if result is not None:
            write_json(self._final(RESULTS, partial), result.to_results(), indent=None)
            if "coco" in self._choice.write:
                content = coco_export(result, self._frames, self._choice.class_names)
                write_json(self._final(COCO, partial), content, indent=None)
        if self._masks is not None:
            target = self._final(MASKS, partial)
            shutil.rmtree(target, ignore_errors=True)
            self._masks.replace(target)
        if self._video is not None:
            self._video.close(complete=not partial)
        if not partial:
            self._remove_partial()

    def _final(self, name: str, partial: bool) -> Path:
        path = self.folder / name
        return path.with_name(f"{path.stem}.partial{path.suffix}") if partial else path

    def _remove_partial(self) -> None:
        for name in (OVERLAY, RESULTS, COCO):
            self._final(name, partial=True).unlink(missing_ok=True)
        shutil.rmtree(self._final(MASKS, partial=True), ignore_errors=True)


def write_mask_picture(path: Path, instances: VideoInstances, rows: Sequence[int]) -> None:
    """One frame as an indexed PNG: a pixel is the id of the track it belongs to, 0 where there is none.

    ``rows``: the tracks to show; later ones lie over earlier ones. With a track id above 255 the picture is 16-bit grey
    instead.
    """
    indices = np.zeros(instances.size, np.uint16)
    for row in rows:
        segmentation = instances.segmentations[row][0]
        if segmentation is not None:
            indices[decode_mask(segmentation) > 0] = instances.track_ids[row]
    if indices.max(initial=0) < _PALETTE_ENTRIES:
        picture = Image.fromarray(indices.astype(np.uint8))
        picture.putpalette([0, 0, 0, *(part for track in range(1, _PALETTE_ENTRIES) for part in track_color(track))])
    else:
        picture = Image.fromarray(indices)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", compress_level=3)


def coco_export(result: VideoInstances, frames: Sequence[tuple[int, str]], class_names: Mapping[int, str]) -> dict:
    """The result as a COCO file: every frame an image, every mask an annotation with its ``track_id`` and ``score``."""
    H, W = result.size
    images = [
        {"id": place, "file_name": source, "frame_index": index, "height": H, "width": W}
        for place, (index, source) in enumerate(frames, start=1)
    ]
    annotations: list[dict] = []
    tracks = zip(result.track_ids.tolist(), result.labels.tolist(), result.scores.tolist(), result.segmentations)
    for track_id, label, score, segmentations in tracks:
        for place, segmentation in enumerate(segmentations, start=1):
            if segmentation is None or not (area := mask_area(segmentation)):
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": place,
                    "category_id": label,
                    "track_id": track_id,
                    "score": score,
                    "segmentation": segmentation,
                    "bbox": mask_box(segmentation),
                    "area": area,
                    "iscrowd": 0,
                }
            )
    return {"images": images, "annotations": annotations, "categories": _categories(result, class_names)}


def _categories(result: VideoInstances, class_names: Mapping[int, str]) -> list[Mapping[str, int | str]]:
    used = set(result.labels.tolist()) | set(class_names)
    return [{"id": label, "name": name_of_class(class_names, label)} for label in sorted(used)]
