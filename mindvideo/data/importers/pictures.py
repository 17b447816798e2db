"""Finds the folders and pictures of a set, and refuses pictures that do not have the labelled size."""

from __future__ import annotations

import logging
from pathlib import Path

from mindvideo.data.media.images import TURNED_BY_A_QUARTER, exif_orientation, is_image, natural_order, stored_size
from mindvideo.errors import UserError

_log = logging.getLogger("mindvideo.data")
_CHANGED = range(2, 9)  # EXIF orientations that turn or mirror the picture


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """The folder's files with this suffix, of capital or small letters, in natural order."""
    files = (path for path in folder.glob("*") if path.suffix.lower() == suffix and not path.name.startswith("."))
    return natural_order(files)


def video_folders(root: Path, suffix: str) -> list[Path]:
    """The folders of ``root`` that hold label files with this suffix. Hidden folders are passed over without a word."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    found = []
    for folder in natural_order(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if visible_files(folder, suffix):
            found.append(folder)
        else:
            _log.warning("%s holds no %s files and is left out", folder, suffix)
    return found


def pictures_below(folder: Path) -> list[Path]:
    """Every picture of the folder and its subfolders, in natural order; a folder without any is refused."""
    if not folder.is_dir():
        raise UserError(f"--frames {folder}: no such folder")
    pictures = [path for path in folder.rglob("*") if is_image(path) and not _is_hidden(path.relative_to(folder))]
    if not pictures:
        raise UserError(f"--frames {folder}: no pictures in this folder")
    return natural_order(pictures)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def require_size(picture: Path, size: tuple[int, int], *, labels: str | Path) -> None:
    """Refuses a picture that training would not read in the labelled ``size`` (H, W).

    Training ignores the EXIF orientation. Labelling tools show the picture turned by it, so labels of the turned size
    lie elsewhere in the stored pixels; where turning leaves the size as it is, nothing says which of them was labelled.
    """
    stored, orientation = stored_size(picture), exif_orientation(picture)
    turned = stored[::-1] if orientation in TURNED_BY_A_QUARTER else stored
    if orientation in _CHANGED and size == turned:
        raise UserError(
            f"{picture} has the EXIF orientation {orientation}, which training ignores, so labels drawn on the turned "
            "picture would miss; rewrite the picture without the EXIF orientation (ImageMagick: mogrify -auto-orient)"
        )
    if size != stored:
        raise UserError(
            f"{picture} is {stored[0]} x {stored[1]} (height x width), labelled as {size[0]} x {size[1]} in "
            f"{labels}; label and train with the same pictures"
        )
