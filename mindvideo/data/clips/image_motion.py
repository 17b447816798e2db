"""Makes a moved copy of an image and its label map: that is how a clip is made from a single picture.

Colours change, the camera looks from elsewhere, turns and shifts, and now and then the picture is blurred by motion.
Parameters are drawn first and applied afterwards, once for each copy.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from mindvideo.data.media.warp import rotation_about_centre, warp_bilinear, warp_nearest
from mindvideo.structures.picture_size import picture_size

BRIGHTNESS_REACH = 40
HUE_REACH = 5
CORNER_SPREAD = 0.08
SHIFT_REACH = 0.1
ROTATION_REACH = 20.0
BLUR_SHARE = 0.25
BLUR_KERNELS = (9, 11)


@dataclasses.dataclass(frozen=True)
class ImageMotion:
    """Parameters of one copy; None leaves a step out.

    ``corners`` [4, 2]: how far each corner (top left, top right, bottom right, bottom left) moves inwards, in shares
    of width and height. ``shift``: share of width and of height alike. ``blur``: (kernel size, degrees, direction).
    """

    brightness: int | None
    hue_saturation: int | None
    corners: np.ndarray
    shift: float
    rotation: float
    blur: tuple[int, float, float] | None


def draw_motion(rng: np.random.Generator) -> ImageMotion:
    brightness = int(np.rint(rng.uniform(-BRIGHTNESS_REACH, BRIGHTNESS_REACH)))
    hue_saturation = int(rng.integers(-HUE_REACH, HUE_REACH + 1))
    both, first = rng.random(2) < 0.5
    blur = None
    corners = np.mod(np.abs(rng.normal(0, CORNER_SPREAD, (4, 2))), 1.0)
    shift, rotation = rng.uniform(-SHIFT_REACH, SHIFT_REACH), rng.uniform(-ROTATION_REACH, ROTATION_REACH)
    if rng.random() < BLUR_SHARE:
        blur = (int(rng.choice(BLUR_KERNELS)), float(rng.uniform(0, 360)), float(rng.uniform(-1, 1)))
    return ImageMotion(
        brightness=brightness if both or first else None,
        hue_saturation=hue_saturation if both or not first else None,
        corners=corners,
        shift=float(shift),
        rotation=float(rotation),
        blur=blur,
    )


def move_picture(image: np.ndarray, motion: ImageMotion) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> the moved copy, of the same size."""
    if motion.brightness is not None:
        image = add_brightness(image, motion.brightness)
    if motion.hue_saturation is not None:
        image = add_hue_and_saturation(image, motion.hue_saturation)
    image = picture_in_perspective(image, *perspective(motion.corners, picture_size(image)))
    image = shift_and_turn_picture(image, motion.shift, motion.rotation)
    return image if motion.blur is None else blur(image, motion_kernel(*motion.blur))


def move_labels(label_map: np.ndarray, motion: ImageMotion) -> np.ndarray:
    """Label map [H, W] -> moved as the picture is."""
    label_map = labels_in_perspective(label_map, *perspective(motion.corners, picture_size(label_map)))
    return shift_and_turn_labels(label_map, motion.shift, motion.rotation)


def add_brightness(image: np.ndarray, value: float) -> np.ndarray:
    return np.clip(image.astype(np.int16) + int(np.round(value)), 0, 255).astype(np.uint8)


def add_hue_and_saturation(image: np.ndarray, value: int) -> np.ndarray:
    """Saturation plus ``value`` (of 255, clipped), hue plus the same share of 180 (going round)."""
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    colours[..., 0] = (colours[..., 0] + int(value / 255 * 180)) % 180
    colours[..., 1] = np.clip(colours[..., 1] + value, 0, 255)
    return cv2.cvtColor(colours.astype(np.uint8), cv2.COLOR_HSV2RGB)


def perspective(inwards: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Matrix [3, 3] that maps the quadrilateral of the moved corners to an upright rectangle, and its (H, W)."""
    height, width = size
    shares = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + inwards * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    corners = _in_order(shares * [width, height]).astype(np.float32)
    edges = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)  # top, right, bottom, left
    new_width, new_height = max(2, int(max(edges[0], edges[2]))), max(2, int(max(edges[1], edges[3])))
    target = np.array([[0, 0], [new_width, 0], [new_width, new_height], [0, new_height]], np.float32)
    return cv2.getPerspectiveTransform(corners, target), (new_height, new_width)


def _in_order(corners: np.ndarray) -> np.ndarray:
    """Puts corners that crossed over back in order: top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def picture_in_perspective(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp to ``size`` and resize back to the size that it had."""
    height, width = image.shape[:2]
    grows = height > size[0] or width > size[1]
    filtering = cv2.INTER_AREA if grows else cv2.INTER_LINEAR
    return cv2.resize(warp_bilinear(image, matrix, size), (width, height), interpolation=filtering)


def labels_in_perspective(label_map: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = label_map.shape
    return cv2.resize(warp_nearest(label_map, matrix, size), (width, height), interpolation=cv2.INTER_NEAREST)


def shift_and_turn_picture(image: np.ndarray, shift: float, degrees: float) -> np.ndarray:
    size = picture_size(image)
    return warp_bilinear(image, _shift_and_turn(size, shift, degrees), size)


def shift_and_turn_labels(label_map: np.ndarray, shift: float, degrees: float) -> np.ndarray:
    size = picture_size(label_map)
    return warp_nearest(label_map, _shift_and_turn(size, shift, degrees), size)


def _shift_and_turn(size: tuple[int, int], shift: float, degrees: float) -> np.ndarray:
    return rotation_about_centre(degrees, size, shift=(shift * size[1], shift * size[0]))


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(image, -1, kernel)


def motion_kernel(size: int, degrees: float, direction: float) -> np.ndarray:
    """f32 [size, size] of sum 1: a line through the middle, fading along ``direction`` (-1 to 1), turned."""
    share = (np.clip(direction, -1.0, 1.0) + 1.0) / 2.0
    line = np.zeros((size, size), np.float32)
    line[:, size // 2] = np.linspace(share, 1.0 - share, num=size)
    levels = (line * 255).astype(np.uint8)
    turned = warp_bilinear(levels[..., None], rotation_about_centre(degrees, (size, size)), (size, size))[..., 0]
    kernel = turned.astype(np.float32) / 255.0
    return kernel / kernel.sum()
