"""The masks of a track as compressed run-length texts, made from any accepted form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindvideo.masks.forms import to_rle

Tube = list[bytes]  # one compressed RLE text a frame, b"" where the track is absent


def tube_of(segmentations: Sequence[Any], height: int, width: int) -> Tube:
    """The texts of one track; polygons, lists of runs and texts are accepted.

    Raises ValueError that begins with ``frame N`` and names the fault.
    """
    tube = []
    size = [height, width]
    for frame, segmentation in enumerate(segmentations):
        if segmentation is None:
            tube.append(b"")
            continue
        try:  # what almost every mask is
            text = segmentation["counts"].encode("ascii") if segmentation["size"] == size else b""
        except (TypeError, KeyError, AttributeError, UnicodeEncodeError):
            text = b""
        tube.append(text or _text_of(segmentation, frame, height, width))
    return tube


def _text_of(segmentation: Any, frame: int, height: int, width: int) -> bytes:
    """One mask of any form, or ValueError."""
    if not segmentation:
        return b""
    if isinstance(segmentation, dict):
        given, expected = segmentation.get("size"), [height, width]
        if given not in (expected, (height, width)):
            raise ValueError(f"frame {frame}: mask size {given}, but the video's frames are {expected} (height, width)")
        if segmentation.get("counts") in ("", b""):
            raise ValueError(f"frame {frame}: the RLE text is empty; write null for a frame without the object")
    try:
        return to_rle(segmentation, height, width)["counts"]
    except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
        raise ValueError(f"frame {frame}: {error}") from error
