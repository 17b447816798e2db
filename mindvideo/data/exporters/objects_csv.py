"""A table of the objects: a row for each mask, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mindvideo.data.exporters.tracked_video import TrackedVideo
from mindvideo.masks.rle import box_of_pixels, mask_area

COLUMNS = ("video", "frame", "file_name", "track", "class_id", "class", "score", "x", "y", "width", "height", "area")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def objects_csv(videos: Sequence[TrackedVideo]) -> str:
    """Rows go video by video, frame by frame. Boxes are in pixels, around the mask; labels have an empty score."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for video in videos:
        for place, (number, name) in enumerate(zip(video.numbers, video.file_names)):
            for track, mask in video.at(place):
                box = box_of_pixels(mask)
                score = "" if track.score is None else f"{track.score:.4f}"
                who = (track.id, track.category_id, plain_cell(track.category), score)
                writer.writerow([plain_cell(video.name), number, plain_cell(name), *who, *box, mask_area(mask)])
    return stream.getvalue()


def plain_cell(string: str) -> str:
    """A name that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{string}" if string.startswith(_FORMULA_STARTS) else string
