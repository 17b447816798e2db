"""Clips drawn with their targets, as they are on disk and as training sees them, on one HTML page."""

from __future__ import annotations

import base64
import colorsys
import html
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mindvideo.data.transforms.sample import ClipSample

MASK_SHARE = 0.45
GAP = 4  # pixels between the frames of a sheet
LABEL_HEIGHT = 0.38  # of OpenCV's font
GOLDEN_TURN = 0.618034  # steps of hue that keep neighbours distinct

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 24px; background: #fff; color: #222; }
h2 { font-size: 16px; margin: 28px 0 6px; } p { margin: 2px 0 8px; color: #555; }
img { max-width: 100%; display: block; image-rendering: auto; border: 1px solid #ccc; margin-bottom: 6px; }
"""


def instance_colour(number: int) -> np.ndarray:
    """uint8 [3], far from that of the neighbouring numbers."""
    red_green_blue = colorsys.hsv_to_rgb((0.02 + number * GOLDEN_TURN) % 1.0, 0.85, 1.0)
    return (np.array(red_green_blue) * 255).astype(np.uint8)


def draw_clip(clip: ClipSample, names: Mapping[int, str], *, width: int) -> np.ndarray:
    """uint8 [T, h, width, 3]: frames with masks, boxes and class names."""
    pixels, masks = clip.frames.pixels(), clip.masks.pixels()
    size = (width, max(1, round(clip.size[0] * width / clip.size[1])))
    shrinks = width < clip.size[1]
    frames = [cv2.resize(f, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST) for f in pixels]
    boxes = clip.boxes * (width / clip.size[1])
    for n, label in enumerate(clip.labels):
        colour = instance_colour(n)
        for t, frame in enumerate(frames):
            inside = cv2.resize(masks[n, t], size, interpolation=cv2.INTER_NEAREST) > 0
            frame[inside] = (frame[inside] * (1 - MASK_SHARE) + colour * MASK_SHARE).astype(np.uint8)
            x0, y0, x1, y1 = (int(round(float(number))) for number in boxes[n, t])
            if x1 > x0 and y1 > y0:
                cv2.rectangle(frame, (x0, y0), (x1 - 1, y1 - 1), colour.tolist(), 1)
                _write(frame, f"{n} {names.get(int(label), label)}", (x0 + 1, max(y0 - 3, 10)))
    return np.stack(frames)


def _write(frame: np.ndarray, words: str, place: tuple[int, int]) -> None:
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, words, place, cv2.FONT_HERSHEY_SIMPLEX, LABEL_HEIGHT, colour, thickness, cv2.LINE_AA)


def contact_sheet(frames: np.ndarray, *, columns: int) -> np.ndarray:
    """One picture of T frames [T, H, W, 3], row by row."""
    T, H, W, _ = frames.shape
    rows = -(-T // columns)
    sheet = np.full((rows * (H + GAP) - GAP, min(columns, T) * (W + GAP) - GAP, 3), 255, np.uint8)
    for t, frame in enumerate(frames):
        top, left = t // columns * (H + GAP), t % columns * (W + GAP)
        sheet[top : top + H, left : left + W] = frame
    return sheet


def page(title: str, entries: Sequence[tuple[str, str, np.ndarray | None]]) -> str:
    """HTML of (heading, explanation, picture or None) entries; the pictures are inside the page."""
    parts = [f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"]
    parts.append(f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>")
    for heading, explanation, picture in entries:
        if heading:
            parts.append(f"<h2>{html.escape(heading)}</h2>")
        parts.append(f"<p>{html.escape(explanation)}</p>")
        if picture is not None:
            parts.append(f"<img alt='{html.escape(explanation)}' src='data:image/jpeg;base64,{_jpeg_text(picture)}'>")
    return "\n".join([*parts, "</html>\n"])


def _jpeg_text(picture: np.ndarray) -> str:
    encoded, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not encoded:
        raise OSError(f"a picture of {picture.shape[0]} x {picture.shape[1]} could not be encoded")
    return base64.b64encode(content.tobytes()).decode("ascii")
