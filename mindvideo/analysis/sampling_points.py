"""Where a network looked: the sampled points of each track over the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mindvideo.analysis.record import AnalysisRecord
from mindvideo.inference.output.colors import track_color
from mindvideo.structures.picture_size import picture_size

MIN_RADIUS = 2
MIN_SIDE = 360  # pixels of the drawn picture's shorter side
FONT_SIZE, LINE, MARGIN = 14, 20, 8  # of the legend, in pixels


def draw_sampling_points(
    image: np.ndarray,
    record: AnalysisRecord,
    frame: int,
    rows: Sequence[int],
    *,
    level: int | None = 0,
    class_names: Mapping[int, str] | None = None,
) -> np.ndarray:
    """A copy of ``image`` (uint8 RGB [H, W, 3]) with the points that the tracks in ``rows`` read in one frame.

    A small picture is enlarged by a whole factor first, so that points can be told apart.
    Dots in the track's colour: the points of all heads on one ``level`` (0 is the finest), or on all for None. A cross:
    the point that the track started from. Points outside the picture are moved to its border. With ``class_names`` a
    legend below the picture says which colour is which track, and what is drawn.
    """
    factor = -(-MIN_SIDE // min(image.shape[:2]))
    canvas = image.repeat(factor, axis=0).repeat(factor, axis=1)
    radius = max(MIN_RADIUS, min(canvas.shape[:2]) // 120)
    for row in rows:
        color = track_color(int(record.track_ids[row]))
        locations = record.locations[frame, row]  # [M, L, P, 2]
        chosen = locations if level is None else locations[:, level : level + 1]
        for x, y in to_pixels(chosen.reshape(-1, 2), picture_size(canvas)):
            cv2.circle(canvas, (x, y), radius + 1, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
            cv2.circle(canvas, (x, y), radius, color, cv2.FILLED, cv2.LINE_AA)
    for row in rows:
        color = track_color(int(record.track_ids[row]))
        ((x, y),) = to_pixels(record.references[frame, row, None, :2], picture_size(canvas))
        for thickness, ink in ((3, (0, 0, 0)), (1, color)):
            cv2.drawMarker(canvas, (x, y), ink, cv2.MARKER_CROSS, 4 * radius + 1, thickness)
    if class_names is None:
        return canvas
    drawn = "all levels" if level is None else f"level {level}"
    legend = _legend(canvas.shape[1], record, rows, class_names, f"dots: read on {drawn}   cross: began here")
    return np.concatenate([canvas, legend])


def _legend(
    width: int, record: AnalysisRecord, rows: Sequence[int], class_names: Mapping[int, str], last: str
) -> np.ndarray:
    """uint8 RGB of this width and an even height: as many lines as the entries take."""
    font = ImageFont.load_default(FONT_SIZE)
    entries = [(track_color(int(record.track_ids[row])), record.name_of(row, class_names)) for row in rows]
    places, x, y = [], MARGIN, MARGIN
    for color, words in [*entries, (None, last)]:
        long = round(font.getlength(words)) + (0 if color is None else 2 * MARGIN)
        if x > MARGIN and x + long > width - MARGIN:
            x, y = MARGIN, y + LINE
        places.append((x, y, color, words))
        x += long + 2 * MARGIN
    picture = Image.new("RGB", (width, (y + LINE + MARGIN) // 2 * 2), (24, 24, 24))
    pen = ImageDraw.Draw(picture)
    for x, y, color, words in places:
        if color is not None:
            pen.ellipse((x, y + 4, x + MARGIN, y + 4 + MARGIN), fill=color)
            x += 2 * MARGIN
        pen.text((x, y), words, font=font, fill=(230, 230, 230))
    return np.asarray(picture)


def to_pixels(points: np.ndarray, size: tuple[int, int]) -> list[tuple[int, int]]:
    """(x, y) in units of the frame, [n, 2] -> whole pixels inside it."""
    H, W = size
    pixels = np.nan_to_num(points.astype(np.float32)) * (W, H) - 0.5
    clipped = np.clip(np.round(pixels), 0, (W - 1, H - 1)).astype(int)
    return [(x, y) for x, y in clipped.tolist()]
