"""Reads pictures of any kind from disk as RGB uint8."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from mindvideo.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
SEVERAL_SUFFIXES = (".gif", ".webp", ".tif", ".tiff")  # files that may hold several pictures
_EXIF_ORIENTATION = 0x0112
_DAMAGED = (OSError, SyntaxError, ValueError, struct.error)  # what Pillow raises for truncated and damaged files
TURNED_BY_A_QUARTER = range(5, 9)  # EXIF orientations that exchange height and width


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_key(string: str) -> list[tuple[int, int | str]]:
    """A sorting key that puts frame2 before frame10."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", string)]


def natural_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: [natural_key(part) for part in path.parts])


def read_image(path: str | Path) -> np.ndarray:
    """The picture as RGB uint8 [H, W, 3], turned upright as its EXIF says.

    Grey, palette, RGBA (the transparency is dropped), CMYK and 16-bit pictures are converted; 16-bit ones keep their
    upper 8 bits.
    """
    path = Path(path)
    with _opened(path) as picture:
        try:
            return _to_rgb(picture, path)
        except _DAMAGED as error:
            raise UserError(f"{path}: damaged picture ({_one_line(error)})") from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) as :func:`read_image` would give it, from its header only."""
    path = Path(path)
    with _opened(path) as picture:
        width, height = picture.size
        turned = _orientation(picture, path) in TURNED_BY_A_QUARTER
    return (width, height) if turned else (height, width)


def num_pictures(path: str | Path) -> int:
    """How many pictures a GIF, a WebP or a TIFF holds; 1 for every other kind and for a file that cannot be read.

    A JPEG may hold a second picture too, the small preview of a phone, which is no frame.
    """
    path = Path(path)
    if path.suffix.lower() not in SEVERAL_SUFFIXES:
        return 1
    try:
        with _opened(path) as picture:
            return getattr(picture, "n_frames", 1)
    except (UserError, *_DAMAGED, EOFError):
        return 1


def pictures_of(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Every picture of a GIF, a WebP or a TIFF, as :func:`read_image` gives one, and how many seconds it is shown.

    Pages, which have no time, have 0 seconds.
    """
    path = Path(path)
    with _opened(path) as pictures:
        try:
            for picture in ImageSequence.Iterator(pictures):
                image = _to_rgb(picture, path)
                yield image, picture.info.get("duration", 0) / 1000
        except (*_DAMAGED, EOFError) as error:
            raise UserError(f"{path}: damaged picture ({_one_line(error)})") from error


def stored_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the pixels as the file has them, whatever its EXIF says, from its header only."""
    with _opened(Path(path)) as picture:
        return picture.height, picture.width


def exif_orientation(path: str | Path) -> int:
    """1 for a picture that is stored upright; 2 to 8 are turned or mirrored."""
    path = Path(path)
    with _opened(path) as picture:
        return _orientation(picture, path)


def _orientation(picture: Image.Image, path: Path) -> int:
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode the whole picture to look for EXIF data after the pixels
    try:
        return picture.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGED as error:
        raise UserError(f"{path}: damaged EXIF data ({_one_line(error)})") from error


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        reason = "the file is empty (0 bytes)" if path.stat().st_size == 0 else "not a picture of a known format"
        raise UserError(f"{path}: {reason}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be opened as a picture ({_one_line(error)})") from error


def _to_rgb(picture: Image.Image, path: Path) -> np.ndarray:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise UserError(f"{path}: floating-point pixels; save the picture with 8 or 16 bits a channel")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = np.asarray(picture)
        if grey.max(initial=0) > 0xFFFF or grey.min(initial=0) < 0:
            raise UserError(f"{path}: 32-bit pixels; save the picture with 8 or 16 bits a channel")
        return np.repeat((grey.astype(np.uint16) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
