"""DAVIS and YouTube-VOS: a PNG for each frame whose pixel values number the objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.annotations import read_json
from mindvideo.data.convert.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.images import image_size, is_image, natural_order
from mindvideo.errors import UserError

VOID = 255  # pixels that belong to nothing
DEFAULT_CATEGORY = "object"


def convert_mask_folders(
    masks: str | Path, frames: str | Path, *, meta: str | Path | None = None, categories: list[str] | None = None
) -> dict[str, Any]:
    """YouTube-VIS content of ``masks``/<video>/<frame>.png with ``frames``/<video>/<frame>.jpg.

    ``meta`` is YouTube-VOS's meta.json, which names each object's category; without it all are "object". Frames
    without a mask file (YouTube-VOS labels every fifth) are left out, since nothing says what is in them.
    """
    masks, frames = Path(masks), Path(frames)
    described = read_json(Path(meta))["videos"] if meta else {}
    builder = VisBuilder(categories=categories)
    folders = [folder for folder in natural_order(masks.iterdir()) if folder.is_dir()] if masks.is_dir() else []
    if not folders:
        raise UserError(f"{masks} holds no folders of mask PNGs (expected {masks}/<video>/<frame>.png)")
    for folder in folders:
        objects = described.get(folder.name, {}).get("objects", {})
        names = {int(number): entry["category"] for number, entry in objects.items()}
        _add_video(builder, folder, frames, names)
    return builder.content()


def _add_video(builder: VisBuilder, folder: Path, frames: Path, names: dict[int, str]) -> None:
    pictures = {path.stem: path for path in (frames / folder.name).glob("*") if is_image(path)}
    tracks: dict[int, TrackBuilder] = {}
    file_names, size = [], None
    for mask_file in natural_order(folder.glob("*.png")):
        picture = pictures.get(mask_file.stem)
        if picture is None:
            raise UserError(f"{mask_file} has no frame {frames / folder.name / mask_file.stem}.*")
        numbers = np.array(Image.open(mask_file))
        if numbers.ndim != 2:
            raise UserError(f"{mask_file}: a colour picture; a palette or grey PNG with object numbers is needed")
        size = size or image_size(picture)
        if numbers.shape != size:
            raise UserError(f"{mask_file} is {numbers.shape}, its frame {size} (height, width)")
        for number in np.unique(numbers):
            if number not in (0, VOID):
                track = tracks.setdefault(int(number), TrackBuilder(names.get(int(number), DEFAULT_CATEGORY)))
                track.add(len(file_names), numbers == number)
        file_names.append(relative_name(picture, frames))
    if file_names:
        builder.add_video(file_names, size, list(tracks.values()))
