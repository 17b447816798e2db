"""Instances drawn over their frame: tinted masks, outlines, boxes, and a tag with class, track and score."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mindvideo.inference.output.colors import track_color
from mindvideo.masks.rle import decode_mask, mask_box, mask_overlaps
from mindvideo.structures import VideoInstances

MIN_SHORT_SIDE = 240  # of a drawn frame, which is enlarged up to this
MAX_LONG_SIDE = 1920  # of an enlarged frame
CUT_COLOR = (255, 255, 255)
TINT = 0.45  # share of the track's colour in the pixels of its mask
Box = tuple[int, int, int, int]  # x0 y0 x1 y1, the last two exclusive
Color = tuple[int, int, int]  # RGB


@dataclasses.dataclass(frozen=True)
class TrackLook:
    """How the tracks are told apart. ``colors`` and ``names`` by track id; others have their usual ones."""

    colors: Mapping[int, Color] = dataclasses.field(default_factory=dict)
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def color(self, track: int) -> Color:
        return self.colors.get(track) or track_color(track)


USUAL_LOOK = TrackLook()


def draw_instances(
    image: np.ndarray,
    instances: VideoInstances,
    class_names: Mapping[int, str] | Sequence[str],
    *,
    confidence: float = 0.0,
    max_overlap: float = 1.0,
    masks: bool = True,
    boxes: bool = True,
    tags: bool = True,
    scale: int = 1,
    rows: Sequence[int] | None = None,
    new_tracks: Collection[int] = (),
    look: TrackLook = USUAL_LOOK,
) -> np.ndarray:
    """A copy of ``image`` (uint8 RGB [H, W, 3]) with the instances of one frame (``num_frames`` 1) drawn over it.

    ``class_names`` by category id: a mapping, or a list with the name of id 1 first. ``confidence`` and
    ``max_overlap`` choose the tracks, see ``rows_to_draw``, whose answer may be given as ``rows``. Strong tracks are
    drawn over weak ones; of ``new_tracks`` (ids) the tag says so and the box is thicker. A box is the one around the
    track's mask, or its own where it has no mask. With ``scale`` the result is that many times larger, drawn with finer
    lines: for frames too small to be read otherwise, see ``readable_scale``.
    """
    H, W = image.shape[:2]
    if instances.num_frames != 1 or tuple(instances.size) != (H, W):
        raise ValueError(
            f"draw_instances: expected one frame of {(H, W)}, got {instances.num_frames} of {tuple(instances.size)}"
        )
    canvas = image.copy() if scale == 1 else cv2.resize(image, (W * scale, H * scale), interpolation=cv2.INTER_CUBIC)
    thickness = max(1, round(scale * min(H, W) / 200))
    if rows is None:
        rows = rows_to_draw(instances, confidence=confidence, max_overlap=max_overlap)
    drawn: list[tuple[int, Box]] = []
    for row in rows:
        segmentation = instances.segmentations[row][0]
        box = _box_of(instances, row)
        if box is None:
            continue
        color = look.color(int(instances.track_ids[row]))
        if masks and segmentation is not None:
            _tint_mask(canvas, segmentation, color, thickness, scale)
        x0, y0, x1, y1 = box
        drawn.append((row, (scale * x0, scale * y0, scale * x1, scale * y1)))
    if boxes:
        for row, (x0, y0, x1, y1) in drawn:
            track = int(instances.track_ids[row])
            width = 3 * thickness if track in new_tracks else thickness
            cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), look.color(track), width, cv2.LINE_8)
    if tags:
        _draw_tags(canvas, instances, class_names, drawn, new_tracks, look)
    return canvas


def mark_cut(canvas: np.ndarray) -> None:
    """A white border and the word "cut" at the top right, on a drawn frame uint8 [H, W, 3]."""
    H, W = canvas.shape[:2]
    cv2.rectangle(canvas, (0, 0), (W - 1, H - 1), CUT_COLOR, max(2, min(H, W) // 60), cv2.LINE_8)
    tag = _tag_picture("cut", max(10, round(min(H, W) / 28)), CUT_COLOR)
    height, width = min(tag.shape[0], H), min(tag.shape[1], W)
    canvas[:height, W - width :] = tag[:height, :width]


def rows_to_draw(instances: VideoInstances, *, confidence: float, max_overlap: float) -> list[int]:
    """Tracks of one frame (``num_frames`` 1) that are worth showing, the surest last.

    Left out are those that score below ``confidence``, and those whose mask overlaps a surer one's by more than
    ``max_overlap`` (intersection over union): as a rule a second track of the same object.
    """
    rows = [int(row) for row in np.argsort(instances.scores, kind="stable") if instances.scores[row] >= confidence]
    masks = {row: mask for row in rows if (mask := instances.segmentations[row][0]) is not None}
    if max_overlap >= 1.0 or len(masks) < 2:
        return rows
    masked = list(masks)
    overlaps = mask_overlaps(list(masks.values()))
    shown: list[int] = []  # places in ``masked``
    for place in reversed(range(len(masked))):
        if all(overlaps[place, surer] <= max_overlap for surer in shown):
            shown.append(place)
    repeated = set(masked) - {masked[place] for place in shown}
    return [row for row in rows if row not in repeated]


def readable_scale(size: tuple[int, int]) -> int:
    """How many times to enlarge frames of ``size`` (H, W) so that tags and outlines can be read; 1 for usual videos."""
    return max(1, min(math.ceil(MIN_SHORT_SIDE / min(size)), MAX_LONG_SIDE // max(size)))


def name_of_class(class_names: Mapping[int, str] | Sequence[str], label: int) -> str:
    if isinstance(class_names, Mapping):
        return class_names.get(label, f"class {label}")
    return class_names[label - 1] if 1 <= label <= len(class_names) else f"class {label}"


def _box_of(instances: VideoInstances, row: int) -> Box | None:
    """The box around the track's mask, or its own clipped to the frame; None when there is nothing to show."""
    H, W = instances.size
    segmentation = instances.segmentations[row][0]
    if segmentation is not None:
        tight = mask_box(segmentation)
        if tight is None:
            return None
        x, y, width, height = (round(value) for value in tight)
        return x, y, x + width, y + height
    if instances.boxes is None:
        return None
    x0, y0, x1, y1 = (round(float(value)) for value in instances.boxes[row, 0])
    box = (max(x0, 0), max(y0, 0), min(x1, W), min(y1, H))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _tint_mask(
    canvas: np.ndarray, segmentation: Mapping, color: tuple[int, int, int], thickness: int, scale: int
) -> None:
    """Colour the mask's pixels and outline it, touching only its bounding box."""
    tight = mask_box(segmentation)
    if tight is None:
        return
    x, y, width, height = (round(value) for value in tight)
    mask = decode_mask(segmentation)[y : y + height, x : x + width]
    mask = np.ascontiguousarray(mask)  # [h, w] uint8, 0 or 1
    x, y, width, height = (scale * value for value in (x, y, width, height))
    if scale > 1:
        mask = cv2.resize(mask * 255, (width, height), interpolation=cv2.INTER_LINEAR) // 128
    area = canvas[y : y + height, x : x + width]
    dimmed = cv2.convertScaleAbs(area, alpha=1.0 - TINT)
    tint = (*(TINT * part for part in color), 0.0)  # OpenCV's scalars have four parts
    canvas[y : y + height, x : x + width] = cv2.add(dimmed, tint, dst=area.copy(), mask=mask)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
    cv2.drawContours(canvas, outlines, -1, color, thickness, cv2.LINE_AA)


def _draw_tags(
    canvas: np.ndarray,
    instances: VideoInstances,
    class_names: Mapping[int, str] | Sequence[str],
    drawn: Sequence[tuple[int, Box]],
    new_tracks: Collection[int],
    look: TrackLook,
) -> None:
    """A filled tag above each box, moved where it would leave the frame or cover another tag."""
    H, W = canvas.shape[:2]
    font_size = max(10, round(min(H, W) / 28))
    placed: list[Box] = []
    for row, box in reversed(drawn):  # the strongest choose their place first
        track = int(instances.track_ids[row])
        name = look.names.get(track) or name_of_class(class_names, int(instances.labels[row]))
        score = f"{round(100 * float(instances.scores[row]))}%"
        new = "new  " if track in new_tracks else ""
        tag = _tag_picture(f"{new}{name} #{track}  {score}", font_size, look.color(track))
        height, width = min(tag.shape[0], H), min(tag.shape[1], W)
        x, y = _place_of_tag(box, (height, width), (H, W), placed)
        canvas[y : y + height, x : x + width] = tag[:height, :width]
        placed.append((x, y, x + width, y + height))


def _place_of_tag(box: Box, tag_size: tuple[int, int], size: tuple[int, int], placed: Sequence[Box]) -> tuple[int, int]:
    """Top left corner (x, y): above the box, else inside its top, else below it, else the first free line there."""
    (height, width), (H, W) = tag_size, size
    x = min(max(box[0], 0), W - width)
    preferred = [box[1] - height, box[1], box[3], *range(box[1] + height, box[3], height)]
    heights = [y for y in preferred if 0 <= y <= H - height] or [min(max(box[1], 0), H - height)]
    for y in heights:
        if not any(x < right and left < x + width and y < low and top < y + height for left, top, right, low in placed):
            return x, y
    return x, heights[0]


@functools.lru_cache(maxsize=512)
def _tag_picture(words: str, font_size: int, color: tuple[int, int, int]) -> np.ndarray:
    """The tag as RGB uint8 [h, w, 3]: black or white words, whichever reads better, on the track's colour."""
    font = ImageFont.load_default(font_size)
    left, _, right, _ = font.getbbox(words)
    ascent, descent = font.getmetrics()
    margin = max(2, font_size // 5)
    picture = Image.new("RGB", (int(right - left) + 2 * margin, ascent + descent + margin), color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if luminance > 128 else (255, 255, 255)
    ImageDraw.Draw(picture).text((margin - left, margin // 2), words, fill=ink, font=font)
    return np.array(picture)
