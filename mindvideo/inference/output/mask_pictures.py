"""Masks as indexed PNG pictures, one a frame, and the file beside them that says which pixel value is which track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.files import atomic_path, write_json
from mindvideo.inference.output.draw import USUAL_LOOK, TrackLook, name_of_class
from mindvideo.masks.rle import decode_mask
from mindvideo.structures import VideoInstances

LEGEND = "tracks.json"
_PALETTE_ENTRIES = 256


def write_mask_picture(
    path: Path, instances: VideoInstances, rows: Sequence[int], look: TrackLook = USUAL_LOOK
) -> None:
    """One frame as an indexed PNG: a pixel is the id of the track it belongs to (1, 2, ...), 0 where there is none.

    ``rows``: the tracks to show; later ones lie over earlier ones. With a track id above 255 the picture is 16-bit grey
    instead.
    """
    indices = np.zeros(instances.size, np.uint16)
    for row in rows:
        track = int(instances.track_ids[row])
        if not 1 <= track <= np.iinfo(np.uint16).max:
            raise ValueError(f"{path.name}: a mask picture holds tracks 1 to 65535 (0 is the background), got {track}")
        segmentation = instances.segmentations[row][0]
        if segmentation is not None:
            indices[decode_mask(segmentation) > 0] = track
    if indices.max(initial=0) < _PALETTE_ENTRIES:
        picture = Image.fromarray(indices.astype(np.uint8))
        picture.putpalette([0, 0, 0, *(part for track in range(1, _PALETTE_ENTRIES) for part in look.color(track))])
    else:
        picture = Image.fromarray(indices)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", compress_level=3)


def write_legend(folder: Path, result: VideoInstances, class_names: Mapping[int, str], shown: set[int]) -> None:
    """``tracks.json``: the tracks that are ``shown`` in some picture, by their pixel value."""
    tracks = zip(result.track_ids.tolist(), result.labels.tolist(), result.scores.tolist())
    entries = [
        {
            "pixel": track,
            "track_id": track,
            "category_id": label,
            "class": name_of_class(class_names, label),
            "score": score,
        }
        for track, label, score in tracks
        if track in shown
    ]
    write_json(folder / LEGEND, {"background": 0, "tracks": sorted(entries, key=lambda entry: entry["pixel"])})
