"""Instances of one frame for the package ``supervision``, which is not among our dependencies."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mindvideo.errors import UserError
from mindvideo.inference.output.draw import name_of_class
from mindvideo.masks.rle import mask_box
from mindvideo.structures import VideoInstances


def supervision_detections(instances: VideoInstances, class_names: Mapping[int, str]) -> Any:
    """``supervision.Detections`` of the tracks that have a mask in the frame (``num_frames`` 1)."""
    try:
        package = importlib.import_module("supervision")
    except ModuleNotFoundError as error:
        raise UserError("to_supervision needs a package that is not installed: pip install supervision") from error
    boxes = [None if row[0] is None else mask_box(row[0]) for row in instances.segmentations]
    seen = [row for row, box in enumerate(boxes) if box is not None]
    corners = np.array([_corners(boxes[row]) for row in seen], np.float32).reshape(-1, 4)
    names = [name_of_class(class_names, int(instances.labels[row])) for row in seen]
    return package.Detections(
        xyxy=corners,
        mask=instances.masks(0)[seen],
        confidence=instances.scores[seen],
        class_id=instances.labels[seen].astype(int),
        tracker_id=instances.track_ids[seen].astype(int),
        data={"class_name": np.array(names, dtype=str)},
    )


def _corners(box: Any) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height
