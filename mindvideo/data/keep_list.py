"""The part of a COCO annotation file whose categories have a counterpart in a video set."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mindvideo.data.annotations import read_json
from mindvideo.data.entries import IDENTITY, NUMBER, require_entries
from mindvideo.errors import UserError


def keep_categories(annotation_file: str | Path, kept: Collection[int]) -> dict[str, Any]:
    """The file's content with the annotations of the kept categories and the images that still have one.

    ``categories`` stays whole: the ids remain COCO's, the reader maps them.
    """
    content = read_json(Path(annotation_file))
    images = require_entries(annotation_file, content, "images", {"id": IDENTITY}, layout="COCO")
    needs = {"image_id": IDENTITY, "category_id": NUMBER}
    labelled = require_entries(annotation_file, content, "annotations", needs, layout="COCO")
    annotations = [entry for entry in labelled if entry["category_id"] in kept]
    if not annotations:
        raise UserError(f"{annotation_file}: no annotation has one of the kept categories {sorted(kept)}")
    used = {entry["image_id"] for entry in annotations}
    return {
        **content,
        "images": [entry for entry in images if entry["id"] in used],
        "annotations": annotations,
    }
