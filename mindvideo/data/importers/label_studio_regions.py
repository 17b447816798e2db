"""The regions of a picture in Label Studio, as masks. One that cannot be used raises ValueError with the reason."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mindvideo.data.importers.fields import dictionary, string, whole
from mindvideo.data.importers.shapes import FARTHEST, box_mask, ellipse_mask, point_array, polygon_mask
from mindvideo.masks.packed_runs import unpack_mask

_SHAPES = ("brush", "polygon", "rectangle", "ellipse")
_NOTE = re.compile(r"(?:track\s*)?(\d+)", re.IGNORECASE)
_MAX_PIXELS = 200_000_000  # of a picture; more is a mistake and would fill the memory


@dataclasses.dataclass(frozen=True)
class Region:
    """``shape``: one of brush, polygon, rectangle, ellipse; ``size`` (H, W) of the picture; ``value`` its numbers."""

    id: str
    label: str
    track: int | None
    shape: str
    size: tuple[int, int]
    value: Mapping[str, Any]


def regions_of(results: Sequence[Mapping[str, Any]]) -> list[Region]:
    """Results of the same id belong together: the shape, its label, its number."""
    together: dict[str, list[Mapping[str, Any]]] = {}
    for place, result in enumerate(results):
        together.setdefault(str(result.get("id", f"result[{place}]")), []).append(result)
    regions = []
    for name, parts in together.items():
        shapes = [(shape, part) for part in parts if (shape := _shape_of(part)) is not None]
        if shapes:
            regions.append(_read_region(name, *shapes[0], parts))
    return regions


def _shape_of(result: Mapping[str, Any]) -> str | None:
    kind = str(result.get("type", ""))
    return next((shape for shape in _SHAPES if kind in (shape, f"{shape}labels")), None)


def _read_region(name: str, shape: str, result: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Region:
    height, width = (
        whole(result.get(side), f"{name}.{side}", minimum=1) for side in ("original_height", "original_width")
    )
    size = (height, width)
    if size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"region '{name}' is of a picture of {size[0]} x {size[1]} pixels, which is a mistake")
    if (result.get("image_rotation") or 0) != 0:
        raise ValueError(f"region '{name}' is of a picture turned in Label Studio; turn the file instead")
    values = [dictionary(part.get("value"), f"{name}.value") for part in parts]
    return Region(name, _label(name, values), _track(parts, values), shape, size, result["value"])


def _label(name: str, values: Sequence[Mapping[str, Any]]) -> str:
    for value in values:
        for key in ("labels", *(f"{shape}labels" for shape in _SHAPES)):
            if value.get(key):
                labels = value[key]
                if not isinstance(labels, list) or len(labels) != 1:
                    raise ValueError(f"region '{name}' has the labels {labels!r}; one is needed")
                return string(labels[0], f"{name}.{key}")
    raise ValueError(f"region '{name}' has no label")


def _track(parts: Sequence[Mapping[str, Any]], values: Sequence[Mapping[str, Any]]) -> int | None:
    for value in values:
        if value.get("number") is not None:
            return whole(value["number"], "number")
    return noted_track(parts)


def noted_track(parts: Sequence[Mapping[str, Any]]) -> int | None:
    """The number in the note of a region, "track 3" or "3"."""
    for part in parts:
        meta = part.get("meta")
        written = meta.get("text") if isinstance(meta, dict) else None
        for line in written if isinstance(written, list) else [written]:
            if isinstance(line, str) and (found := _NOTE.fullmatch(line.strip())):
                return int(found[1])
    return None


def region_mask(region: Region) -> np.ndarray:
    """uint8 or bool [H, W]. Coordinates are in hundredths of the picture's sides."""
    H, W = region.size
    if region.shape == "brush":
        return unpack_mask(region.value.get("rle"), region.size)
    if region.shape == "polygon":
        return polygon_mask(point_array(region.value.get("points"), minimum=3) * (W / 100, H / 100), region.size)
    keys = {"rectangle": ("width", "height"), "ellipse": ("radiusX", "radiusY")}[region.shape]
    x, y, across, along = share_values(region.value, ("x", "y", *keys), region.size)
    degrees = number(region.value.get("rotation", 0), "rotation")
    if region.shape == "ellipse":
        return ellipse_mask((x, y), (across, along), region.size, degrees=degrees)
    return turned_box(x, y, across, along, degrees, region.size)


def share_values(value: Mapping[str, Any], keys: Sequence[str], size: tuple[int, int]) -> list[float]:
    """Numbers along x, y, x, y in pixels."""
    H, W = size
    return [number(value.get(key), key) * side / 100 for key, side in zip(keys, (W, H, W, H))]


def turned_box(x: float, y: float, width: float, height: float, degrees: float, size: tuple[int, int]) -> np.ndarray:
    """Label Studio turns a box about its corner (x, y)."""
    if not degrees % 360:
        x0, y0, x1, y1 = (round(side, 6) for side in (x, y, x + width, y + height))
        return box_mask(x0, y0, x1, y1, size)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    return polygon_mask(corners @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y), size)


def number(value: Any, name: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -FARTHEST <= value <= FARTHEST:  # nor NaN
        told = "missing" if value is None else reprlib.repr(value)
        raise ValueError(f"'{name}' is {told}; a number from {-FARTHEST} to {FARTHEST} is needed")
    return float(value)
