"""labelme: one JSON beside each frame; a shape's ``group_id`` tells the object through the video."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.importers.fields import dictionary, entries, identifier, naming, string, whole
from mindvideo.data.importers.pictures import require_size, video_folders, visible_files
from mindvideo.data.importers.shapes import box_mask, ellipse_mask, placed_mask, point_array, polygon_mask
from mindvideo.data.labels.reading import read_json
from mindvideo.data.media.images import is_image, natural_order
from mindvideo.errors import UserError

_SUFFIX = ".json"


def convert_labelme(root: str | Path, *, categories: list[str] | None = None) -> dict[str, Any]:
    """YouTube-VIS content of a folder of videos (folders of frames), or of the one video that the folder is.

    A shape's track is its label and group id. Without a group id the label itself is the track, so it may stand only
    once in a frame. A frame without a JSON file has no objects; a folder without any is no video.
    """
    root = Path(root)
    builder = VisBuilder(categories=categories)
    for folder in _folders(root):
        _add_video(builder, folder, root)
    return builder.content()


def _folders(root: Path) -> list[Path]:
    """The folders right below that hold labels; else those farther below, as exports lie; else the folder itself."""
    if root.is_dir() and not any(visible_files(path, _SUFFIX) for path in root.iterdir() if path.is_dir()):
        below = natural_order(path for path in root.rglob("*") if path.is_dir() and visible_files(path, _SUFFIX))
        return below or [root]
    return video_folders(root, _SUFFIX) or [root]


def _add_video(builder: VisBuilder, folder: Path, root: Path) -> None:
    pictures = natural_order(path for path in folder.glob("*") if is_image(path))
    labels = {path.stem: path for path in visible_files(folder, _SUFFIX)}
    if not pictures or not labels:
        raise UserError(f"{folder} does not hold frames with labelme JSON files beside them")
    labelled = {frame: labels.pop(picture.stem) for frame, picture in enumerate(pictures) if picture.stem in labels}
    if labels:
        raise UserError(f"{next(iter(labels.values()))} has no picture of its name beside it")
    tracks: dict[tuple[str, Any], TrackBuilder] = {}
    size: tuple[int, int] | None = None
    for frame, file in labelled.items():
        with naming(file):
            content = dictionary(read_json(file), "content")
            height, width = (whole(content.get(side), side, minimum=1) for side in ("imageHeight", "imageWidth"))
            found = (height, width)
            size = size or found
            if size != found:
                raise ValueError(f"the frame size differs from that of the frames before, {size} (height, width)")
            require_size(pictures[frame], size, labels=file)
            _add_shapes(tracks, frame, entries(content, "shapes"), size)
    if size is None:  # none of the files lies beside one of the pictures: the lines above have said so
        raise UserError(f"{folder} has no labelled picture")
    for frame in range(len(pictures)):
        if frame not in labelled:
            require_size(pictures[frame], size, labels=folder)
    builder.add_video([relative_name(picture, root) for picture in pictures], size, list(tracks.values()))


def _add_shapes(
    tracks: dict[tuple[str, Any], TrackBuilder], frame: int, shapes: list[dict[str, Any]], size: tuple[int, int]
) -> None:
    ungrouped: set[str] = set()
    for place, shape in enumerate(shapes):
        label, group = string(shape.get("label"), f"shapes[{place}].label"), shape.get("group_id")
        if group is None:
            if label in ungrouped:
                raise ValueError(f"two shapes '{label}' without group id; give each object its own group id")
            ungrouped.add(label)
        else:
            identifier(group, f"shapes[{place}].group_id")
        try:
            mask = shape_mask(shape, size)
        except ValueError as error:
            raise ValueError(f"shapes[{place}], '{label}': {error}") from error
        tracks.setdefault((label, group), TrackBuilder(label)).add(frame, mask)


def shape_mask(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of a labelme shape: polygon, rectangle, circle or mask. ValueError says what is wrong with it."""
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return polygon_mask(shape.get("points"), size)
    if kind == "rectangle":
        points = point_array(shape.get("points"), minimum=2)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return box_mask(left, top, right, bottom, size)
    if kind == "circle":
        centre, edge = point_array(shape.get("points"), minimum=2)[:2]
        radius = float(np.linalg.norm(edge - centre))
        return ellipse_mask(tuple(centre), (radius, radius), size)
    if kind == "mask":
        left, top = point_array(shape.get("points"))[0].round().astype(int).tolist()
        return placed_mask(_embedded_mask(shape.get("mask")), left, top, size)
    raise ValueError(f"a {kind} has no area; polygon, rectangle, circle or mask is needed")


def _embedded_mask(written: Any) -> np.ndarray:
    """bool [h, w] of a PNG in base64."""
    encoded = string(written, "mask")
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            mask = np.array(picture) > 0
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's own for damaged files
        raise ValueError("its 'mask' is no picture in base64") from error
    if mask.ndim != 2:
        raise ValueError("its 'mask' is a colour picture; a grey or black and white one is needed")
    return mask
