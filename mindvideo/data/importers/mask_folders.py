"""DAVIS and YouTube-VOS: a PNG for each frame whose pixel values number the objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.importers.fields import dictionary, naming, string
from mindvideo.data.importers.pictures import require_size, video_folders, visible_files
from mindvideo.data.labels.reading import read_json
from mindvideo.data.media.images import is_image
from mindvideo.errors import UserError
from mindvideo.structures.picture_size import picture_size

VOID = 255  # pixels that belong to nothing, or the one object of binary masks
DEFAULT_CATEGORY = "object"
_SUFFIX = ".png"
Names = dict[int, str]  # category by object number


def convert_mask_folders(
    masks: str | Path, frames: str | Path, *, meta: str | Path | None = None, categories: list[str] | None = None
) -> dict[str, Any]:
    """YouTube-VIS content of ``masks``/<video>/<frame>.png with ``frames``/<video>/<frame>.jpg.

    ``meta`` is YouTube-VOS's meta.json, which names each object's category; without it all are "object". Frames
    without a mask file (YouTube-VOS labels every fifth) are left out, since nothing says what is in them. A video whose
    masks hold nothing but 0 and 255 (DAVIS 2016) has one object, number 1.
    """
    masks, frames = Path(masks), Path(frames)
    named = _read_meta(Path(meta)) if meta else None
    builder = VisBuilder(categories=categories)
    folders = video_folders(masks, _SUFFIX)
    if not folders:
        raise UserError(f"{masks} holds no folders of mask PNGs (expected {masks}/<video>/<frame>.png)")
    if not frames.is_dir():
        raise UserError(f"--frames {frames}: no such folder")
    for folder in folders:
        if named is not None and folder.name not in named:
            raise UserError(
                f"{meta} does not list the video '{folder.name}' of {masks}; is it the meta of these masks?"
            )
        _add_video(builder, folder, frames, None if named is None else named[folder.name])
    return builder.content()


def _read_meta(file: Path) -> dict[str, Names]:
    with naming(file):
        videos = dictionary(dictionary(read_json(file), "content").get("videos"), "videos")
        return {name: _object_names(entry, f"videos.{name}") for name, entry in videos.items()}


def _object_names(video: Any, where: str) -> Names:
    names: Names = {}
    for number, entry in dictionary(dictionary(video, where).get("objects"), f"{where}.objects").items():
        if not number.isdecimal():
            raise ValueError(f"'{where}.objects' has '{number}'; the number of an object is needed")
        place = f"{where}.objects.{number}"
        names[int(number)] = string(dictionary(entry, place).get("category"), f"{place}.category")
    return names


def _add_video(builder: VisBuilder, folder: Path, frames: Path, names: Names | None) -> None:
    pictures = {path.stem: path for path in (frames / folder.name).glob("*") if is_image(path)}
    mask_files = visible_files(folder, _SUFFIX)
    found: dict[int, TrackBuilder] = {}
    file_names: list[str] = []
    size: tuple[int, int] | None = None
    for frame, mask_file in enumerate(mask_files):
        picture = pictures.get(mask_file.stem)
        if picture is None:
            raise UserError(f"{mask_file} has no frame {frames / folder.name / mask_file.stem}.*")
        numbers = _read_numbers(mask_file)
        require_size(picture, picture_size(numbers), labels=mask_file)
        size = size or picture_size(numbers)
        if numbers.shape != size:
            raise UserError(f"{mask_file} is {numbers.shape}, the masks before {size} (height, width)")
        for number in np.unique(numbers[numbers > 0]).tolist():
            found.setdefault(number, TrackBuilder(DEFAULT_CATEGORY)).add(frame, numbers == number)
        file_names.append(relative_name(picture, frames))
    if size is None:
        raise UserError(f"{folder} has no mask pictures")
    tracks = _without_void(found)
    for number, track in tracks.items():
        track.category = _category(number, names, folder)
    builder.add_video(file_names, size, list(tracks.values()))


def _read_numbers(file: Path) -> np.ndarray:
    """Object numbers [H, W]."""
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            numbers = np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's for damaged files
        raise UserError(f"{file}: not a PNG that can be read (it is empty, cut off or of another format)") from error
    if numbers.ndim != 2:
        raise UserError(f"{file}: a colour picture; a palette or grey PNG with object numbers is needed")
    return numbers.astype(np.int32)


def _without_void(found: dict[int, TrackBuilder]) -> dict[int, TrackBuilder]:
    if set(found) == {VOID}:
        return {1: found[VOID]}
    return {number: track for number, track in found.items() if number != VOID}


def _category(number: int, names: Names | None, folder: Path) -> str:
    if names is None:
        return DEFAULT_CATEGORY
    if number not in names:
        raise UserError(f"{folder}: the meta file names no category for its object {number}")
    return names[number]
