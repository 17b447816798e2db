"""The training sets against the model, against each other and against the set that is evaluated."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.data.labels.catalogue import DatasetFiles
from mindvideo.data.labels.categories import read_category_file
from mindvideo.data.labels.videos import VideoAnnotations, read_video_annotations
from mindvideo.errors import UserError
from mindvideo.weights.class_names import same_class_name

SHOWN = 5
_log = logging.getLogger("mindvideo.data")


def hold_out(cfg: ConfigDict) -> None:
    """A run that is validated on SET/split_valid trains on SET/split_train in place of SET/train, whose videos it has.

    So the published recipes, which train on all labels, become honest with ``train.evaluate=true``.
    """
    if not cfg.train.evaluate or not cfg.data.valid.endswith("/split_valid"):
        return
    validated = cfg.data.valid.rpartition("/")[0]
    whole, rest = f"{validated}/train", f"{validated}/split_train"
    if whole in cfg.data.train:
        cfg.data.train = [rest if name == whole else name for name in cfg.data.train]
        _log.info("data.train: %s in place of %s, since %s is validated on", rest, whole, cfg.data.valid)


def refuse_unknown_classes(category_ids: Mapping[str, set[int]], *, num_classes: int) -> None:
    """Every category id of the training sets must be an output of the model."""
    for name, numbers in category_ids.items():
        beyond = sorted(number for number in numbers if number >= num_classes)
        if beyond:
            shown = ", ".join(map(str, beyond[:SHOWN])) + (" ..." if len(beyond) > SHOWN else "")
            raise UserError(
                f"data set {name} has labels of category {shown}, and the model has outputs 0 to {num_classes - 1}; "
                f"set data.num_classes={beyond[-1] + 1} or more"
            )


def class_names_of(files: Sequence[DatasetFiles]) -> dict[int, str]:
    """Category id -> name over the sets; where two sets disagree, the first is kept and the others are named."""
    found: dict[int, str] = {}
    for each in files:
        for number, name in set_class_names(each).items():
            if not same_class_name(found.setdefault(number, name), name):
                _log.warning("category %d is called %r, and %r in %s", number, found[number], name, each.name)
    return dict(sorted(found.items()))


def set_class_names(files: DatasetFiles) -> dict[int, str]:
    """Those that a set's labels have for the model: for images with other ids, those that they are mapped to."""
    listed = None
    if files.category_map is None or files.categories is None:
        listed = read_category_file(files.annotations)
    if not listed and files.categories is not None:
        listed = read_category_file(files.categories)
    return {category.id: category.name for category in listed or ()}


def refuse_shared_videos(train: Mapping[str, set[Path]], valid: DatasetFiles) -> None:
    """A validation over videos that are trained on says nothing. ``train``: name of a set -> its first frames."""
    if valid.kind != "video":
        return
    judged = first_frames(valid, read_video_annotations(valid.annotations))
    for name, learned in train.items():
        shared = sorted(judged & learned)
        if shared:
            raise UserError(
                f"data.valid ({valid.name}) and data.train ({name}) share {len(shared)} of {len(judged)} videos, the "
                f"first {shared[0]}: the figures would be of what was learned by heart. Name another data.valid, or "
                "set train.evaluate=false and evaluate afterwards"
            )


def first_frames(files: DatasetFiles, annotations: VideoAnnotations) -> set[Path]:
    """One file a video, which tells whether two sets have a video in common."""
    frames = files.frames.resolve()
    return {frames / video.file_names[0] for video in annotations.videos if video.file_names}
