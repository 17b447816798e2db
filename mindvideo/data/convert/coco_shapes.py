"""Masks of COCO entries. One that cannot be used raises ValueError with the reason."""

from __future__ import annotations

from typing import Any

from mindvideo.data.convert.fields import is_whole
from mindvideo.data.convert.shapes import box_mask, point_array
from mindvideo.data.segmentation import Rle, encode_mask, to_rle

_FIRST_CHARACTER, _LAST_CHARACTER = "0", "o"  # of an RLE text; each carries six bits


def entry_rle(entry: dict[str, Any], size: tuple[int, int]) -> Rle:
    """Compressed RLE of an entry's segmentation, or of its bbox where there is none (a drawn rectangle)."""
    segmentation = entry.get("segmentation")
    if segmentation in (None, [], [[]]):
        return _box_rle(entry, size)
    if isinstance(segmentation, list):
        _check_polygons(segmentation)
    elif isinstance(segmentation, dict):
        _check_runs(segmentation, size)
    return to_rle(segmentation, *size)


def _box_rle(entry: dict[str, Any], size: tuple[int, int]) -> Rle:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("it has no segmentation and no bbox [x, y, width, height]")
    (x, y), (width, height) = point_array([box[:2], box[2:]])
    degrees = (entry.get("attributes") or {}).get("rotation") or 0.0  # CVAT: bbox is the box before it is turned
    if not isinstance(degrees, (int, float)):
        raise ValueError(f"rotation {degrees!r}; a number of degrees is needed")
    return encode_mask(box_mask(x, y, x + width, y + height, size, degrees=degrees))


def _check_polygons(segmentation: list[Any]) -> None:
    for polygon in segmentation if isinstance(segmentation[0], list) else [segmentation]:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError("a polygon is not a list of x, y pairs")
        point_array([polygon[place : place + 2] for place in range(0, len(polygon), 2)], least=3)


def _check_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> None:
    """pycocotools fills up a frame that the runs do not cover with whatever the memory holds."""
    counts, height_width = segmentation.get("counts"), segmentation.get("size")
    if height_width != list(size):
        raise ValueError(f"RLE size {height_width}, its image is {list(size)} (height, width)")
    if not isinstance(counts, (str, list)):
        raise ValueError(f"RLE counts of type {type(counts).__name__}; a list of runs or an RLE text is needed")
    runs = _runs_of_text(counts) if isinstance(counts, str) else counts
    if not all(is_whole(run) and run >= 0 for run in runs):
        raise ValueError("the RLE has runs that are no whole numbers from 0")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"the RLE runs cover {sum(runs)} pixels, its size {list(size)} has {size[0] * size[1]}")


def _runs_of_text(counts: str) -> list[int]:
    """Run lengths of COCO's RLE text.

    Five bits a character, the lowest first; the sixth bit says that more follow. From the third run on a number is the
    difference to the run two before it.
    """
    if not all(_FIRST_CHARACTER <= character <= _LAST_CHARACTER for character in counts):
        raise ValueError(f"the RLE text has characters outside '{_FIRST_CHARACTER}' to '{_LAST_CHARACTER}'")
    codes = [ord(character) - ord(_FIRST_CHARACTER) for character in counts]
    if codes and codes[-1] & 32:
        raise ValueError("the RLE text breaks off in the middle of a run")
    runs: list[int] = []
    bits, value = 0, 0
    for code in codes:
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # negative
            value -= 1 << bits
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        bits, value = 0, 0
    return runs
