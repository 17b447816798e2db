"""The part of a COCO annotation file whose categories have a counterpart in a video set."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import Form, number_or_string, whole_number
from mindvideo.data.labels.reading import read_json, require_form, require_list, require_own_ids
from mindvideo.errors import UserError

# All that is looked at; the rest of an entry is passed on unseen.
FORMS: dict[str, Form] = {
    "images": {"id": number_or_string},
    "annotations": {"image_id": number_or_string, "category_id": whole_number},
}


def keep_categories(annotation_file: str | Path, kept: Collection[int]) -> dict[str, Any]:
    """The file's content with the annotations of the kept categories and the images that still have one.

    ``categories`` stays whole: the ids remain COCO's, the reader maps them.
    """
    file = Path(annotation_file)
    content = read_json(file)
    for part in FORMS:
        require_list(file, content, part, "labelled COCO")
    require_form(file, content, FORMS)
    require_own_ids(file, content, "images")
    annotations = [entry for entry in content["annotations"] if entry["category_id"] in kept]
    if not annotations:
        raise UserError(f"{annotation_file}: no annotation has one of the kept categories {sorted(kept)}")
    used = {entry["image_id"] for entry in annotations}
    return {
        **content,
        "images": [entry for entry in content["images"] if entry["id"] in used],
        "annotations": annotations,
    }
