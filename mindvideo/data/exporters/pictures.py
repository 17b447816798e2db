"""Pictures beside label files: the very files of a set where there are some, else the frames as JPEG."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.data.media.images import exif_orientation, stored_size

_COPIED = (".jpg", ".jpeg", ".png")  # what every tool and every browser shows
_QUALITY = 95


class PictureFolder:
    """Frames as files of ``folder``, one by one; ``names`` are those of the files so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        folder.mkdir(parents=True)

    def add(self, image: np.ndarray, *, number: int, file: Path | None) -> None:
        """``image`` uint8 RGB [H, W, 3], the frame ``number`` of its video; ``file``: the picture it was read from."""
        if file is not None and file.name not in self.names and _can_be_copied(file, image.shape[:2]):
            shutil.copyfile(file, self.folder / file.name)
            self.names.append(file.name)
            return
        name = f"{number:06d}.jpg"
        Image.fromarray(image).save(self.folder / name, quality=_QUALITY)
        self.names.append(name)


def _can_be_copied(file: Path, size: tuple[int, ...]) -> bool:
    """A picture that was turned by its EXIF orientation is written anew, upright: readers of labels do not turn it."""
    if file.suffix.lower() not in _COPIED or not file.is_file():
        return False
    return exif_orientation(file) == 1 and tuple(stored_size(file)) == tuple(size)
