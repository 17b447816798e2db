"""labelme: one JSON beside each frame; a shape's ``group_id`` tells the object through the video."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.annotations import read_json
from mindvideo.data.convert.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.convert.shapes import box_mask, ellipse_mask, polygon_mask
from mindvideo.data.images import is_image, natural_order
from mindvideo.errors import UserError


def convert_labelme(root: str | Path, *, categories: list[str] | None = None) -> dict[str, Any]:
    """YouTube-VIS content of a folder of videos (folders of frames), or of the one video that the folder is.

    A shape's track is its label and group id. Without a group id the label itself is the track, so it may stand only
    once in a frame. A frame without a JSON file has no objects.
    """
    root = Path(root)
    folders = [folder for folder in natural_order(root.iterdir()) if folder.is_dir()] if root.is_dir() else []
    builder = VisBuilder(categories=categories)
    for folder in folders or [root]:
        _add_video(builder, folder, root)
    return builder.content()


def _add_video(builder: VisBuilder, folder: Path, root: Path) -> None:
    pictures = natural_order(path for path in folder.glob("*") if is_image(path))
    labels = {path.stem: path for path in folder.glob("*.json")}
    if not pictures or not labels:
        raise UserError(f"{folder} does not hold frames with labelme JSON files beside them")
    tracks: dict[tuple[str, Any], TrackBuilder] = {}
    size = None
    for frame, picture in enumerate(pictures):
        if picture.stem not in labels:
            continue
        file = labels.pop(picture.stem)
        content = read_json(file)
        size = size or (content["imageHeight"], content["imageWidth"])
        if size != (content["imageHeight"], content["imageWidth"]):
            raise UserError(f"{file}: the frame size differs from that of the frames before, {size} (height, width)")
        _add_shapes(tracks, frame, content["shapes"], size, file)
    if labels:
        raise UserError(f"{sorted(labels.values())[0]} has no picture of its name beside it")
    builder.add_video([relative_name(picture, root) for picture in pictures], size, list(tracks.values()))


def _add_shapes(
    tracks: dict[tuple[str, Any], TrackBuilder],
    frame: int,
    shapes: list[dict[str, Any]],
    size: tuple[int, int],
    file: Path,
) -> None:
    ungrouped: set[str] = set()
    for shape in shapes:
        label, group = shape["label"], shape.get("group_id")
        if group is None:
            if label in ungrouped:
                raise UserError(f"{file}: two shapes '{label}' without group id; give each object its own group id")
            ungrouped.add(label)
        try:
            mask = shape_mask(shape, size)
        except (KeyError, ValueError, OSError) as error:
            raise UserError(f"{file}: shape '{label}': {error}") from error
        tracks.setdefault((label, group), TrackBuilder(label)).add(frame, mask)


def shape_mask(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of a labelme shape: polygon, rectangle, circle or mask."""
    kind, points = shape.get("shape_type", "polygon"), shape["points"]
    if kind == "polygon":
        return polygon_mask(points, size)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points[0], points[-1] if len(points) == 2 else points[2]
        return box_mask(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), size)
    if kind == "circle":
        centre, edge = np.array(points[0]), np.array(points[1])
        radius = float(np.linalg.norm(edge - centre))
        return ellipse_mask(tuple(centre), (radius, radius), size)
    if kind == "mask":
        part = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
        left, top = (int(round(number)) for number in points[0])
        mask = np.zeros(size, np.uint8)
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part[: size[0] - top, : size[1] - left]
        return mask
    raise ValueError(f"a {kind} has no area; polygon, rectangle, circle or mask is needed")
