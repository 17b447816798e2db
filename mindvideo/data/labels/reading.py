"""Reads JSON label files; one that cannot be used is refused in one line."""

from __future__ import annotations

import codecs
import gzip
import json
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import Form, form_problems, id_problems
from mindvideo.errors import UserError, printable


def read_json(path: Path) -> Any:
    """The content of a JSON file, plain or ``.gz``; one that is missing or broken raises UserError."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise UserError(f"no annotation file {path}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder; a JSON file is needed") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:  # ValueError: a null character in the name
        raise UserError(f"{path}: cannot be read ({error})") from error
    try:
        return json.loads(content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (at byte {error.start}); save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


def annotation_kind(path: Path) -> str:
    """Kind "image" for a COCO file of single images (``images`` and no ``videos``), else "video".

    Looks for the two keys in the bytes, since parsing takes long; only where both occur is the file parsed.
    """
    if path.suffix == ".gz" and path.is_file():
        content = read_json(path)
        return "image" if isinstance(content, dict) and "images" in content and "videos" not in content else "video"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            has_images, has_videos = (content.find(key) >= 0 for key in (b'"images"', b'"videos"'))
    except (OSError, ValueError):  # missing, a folder or empty: reading it will say so
        return "video"
    if has_images and has_videos:
        content = read_json(path)
        has_videos = not isinstance(content, dict) or "videos" in content
    return "image" if has_images and not has_videos else "video"


def require_list(path: Path, content: Any, part: str, layout: str) -> None:
    if not isinstance(content, dict) or not isinstance(content.get(part), list):
        raise UserError(f"{path}: no '{part}' list, so not a {layout} annotation file")


def require_form(path: Path | str, content: Any, forms: Mapping[str, Form]) -> None:
    for problem in form_problems(content, forms):
        raise refusal(path, problem.where, problem.message)


def require_own_ids(path: Path | str, content: Any, *parts: str) -> None:
    """Refuse two entries of one id: the labels of the one would become those of the other."""
    for problem in id_problems(content, parts):
        raise refusal(path, problem.where, problem.message)


def refusal(path: Path | str, where: str, message: object) -> UserError:
    """The error that a reader raises at the first fault of a file."""
    advice = "for the whole list: tools/segmentation/prepare.py check FILE@FRAMES"
    return UserError(f"{path}: {printable(where)}: {printable(message)}; {advice}")
