"""The form that every entry of an annotation file must have.

The readers refuse a file at its first fault; ``prepare.py check`` lists them all. The forms here say what training
needs; code that needs less of an entry states a form of its own.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mindvideo.errors import printable

LONGEST_SIDE = 65_535  # pixels; what a JPEG can be
_NOUNS = {"videos": "video", "images": "image", "annotations": "annotation", "categories": "category"}


@dataclasses.dataclass(frozen=True)
class Problem:
    """``kind`` groups problems in a summary, ``where`` names the place, ``message`` says what is wrong."""

    kind: str
    where: str
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        rank = "error" if self.is_error else "note"
        return f"{rank}: {self.kind}: {printable(self.where)}: {printable(self.message)}"


def whole_number(value: Any, bits: int = 64) -> str | None:
    limit = 2 ** (bits - 1)
    fits = type(value) is int and -limit <= value < limit
    return None if fits else f"a whole number of at most {bits} bits is needed"


def _category_number(value: Any) -> str | None:
    return whole_number(value, bits=32)  # as the labels of a batch


def number_or_string(value: Any) -> str | None:
    return None if type(value) in (int, str) else "a number or a string is needed"


def _side(value: Any) -> str | None:
    fits = type(value) is int and 0 < value <= LONGEST_SIDE
    return None if fits else f"a whole number of pixels from 1 to {LONGEST_SIDE} is needed"


def string(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a string is needed"


def _strings(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return None if fits else "a list of strings is needed"


def some_strings(value: Any) -> str | None:
    return None if value and _strings(value) is None else "a list of at least one string is needed"


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else "a list is needed"


def _anything(value: Any) -> str | None:
    return None


# Key -> a function that says what its value should be, None for a value that fits.
Form = Mapping[str, Callable[[Any], str | None]]
VIDEO_FORM: Form = {"id": whole_number, "height": _side, "width": _side, "file_names": _strings}
TRACK_FORM: Form = {
    "id": number_or_string,
    "video_id": whole_number,
    "category_id": _category_number,
    "bboxes": _list,
    "segmentations": _list,
}
IMAGE_FORM: Form = {"id": whole_number, "file_name": string, "height": _side, "width": _side}
INSTANCE_FORM: Form = {"image_id": whole_number, "category_id": _category_number, "segmentation": _anything}
CATEGORY_FORM: Form = {"id": _category_number, "name": string}
VIDEO_SET_FORMS = {"videos": VIDEO_FORM, "annotations": TRACK_FORM, "categories": CATEGORY_FORM}
# Scoring looks at these before any mask.
EVALUATED_FORMS = {
    "videos": {"id": number_or_string, "height": _side, "width": _side},
    "annotations": {"video_id": number_or_string, "category_id": _category_number},
    "categories": CATEGORY_FORM,
}
IMAGE_SET_FORMS = {"images": IMAGE_FORM, "annotations": INSTANCE_FORM, "categories": CATEGORY_FORM}


def has_form(entry: Any, form: Form) -> bool:
    return not entry_faults(entry, form)


def entry_faults(entry: Any, form: Form) -> list[tuple[str, str]]:
    """(kind, message) of every fault of an entry."""
    if not isinstance(entry, dict):
        return [("entry", f"{reprlib.repr(entry)}; an object with {', '.join(form)} is needed")]
    faults = []
    missing = [key for key in form if key not in entry]
    if missing:
        faults.append(("missing key", f"no {', '.join(missing)}"))
    for key, needed in form.items():
        if key in entry and (need := needed(entry[key])) is not None:
            faults.append(("value", f"{key} is {reprlib.repr(entry[key])}; {need}"))
    return faults


def form_problems(content: Mapping[str, Any], forms: Mapping[str, Form]) -> Iterator[Problem]:
    """Faults of all entries of all parts; a part that is null or missing has none."""
    for part, form in forms.items():
        entries = content.get(part)
        if entries is None:
            continue
        if not isinstance(entries, list):
            yield Problem("entry", part, f"{reprlib.repr(entries)}; a list is needed")
            continue
        for index, entry in enumerate(entries):
            for kind, message in entry_faults(entry, form):
                yield Problem(kind, place_of(part, index, entry), message)


def id_problems(content: Mapping[str, Any], parts: Iterable[str]) -> Iterator[Problem]:
    """One problem for every id that several entries of a part have."""
    for part in parts:
        entries = content.get(part)
        if not isinstance(entries, list):
            continue
        numbers = (entry.get("id") for entry in entries if isinstance(entry, dict))
        for number, times in Counter(number for number in numbers if number_or_string(number) is None).items():
            if times > 1:
                yield Problem("duplicate id", part, f"id {number} is used {times} times; every entry needs its own")


def place_of(part: str, index: int, entry: Any) -> str:
    """``video 7``, or ``videos[3]`` for an entry without an id to name it by."""
    number = entry.get("id") if isinstance(entry, dict) else None
    return f"{part}[{index}]" if number_or_string(number) else f"{_NOUNS[part]} {printable(number)}"


def box_fault(box: Any) -> str | None:
    """The fault of a box [x, y, width, height]; a sound box and None (absent) have none."""
    if box is None:
        return None
    try:
        fits = len(box) == 4 and math.isfinite(box[0] + box[1] + box[2] + box[3])
    except (TypeError, KeyError, OverflowError):
        fits = False
    return None if fits else f"box {reprlib.repr(box)}; four numbers x, y, width, height are needed"
