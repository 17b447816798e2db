"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FOLDER_MARK = ".making"  # ends the name of a temporary folder


def check_new_file(path: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a path where no file can be written, or where one is that must stay, before any work is done for it.

    ``inputs``: what the new content is made from (None is left out); these are never replaced.
    """
    check_place(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a new file")
    if not os.path.lexists(path):
        return
    if any(given is not None and given.exists() and path.exists() and path.samefile(given) for given in inputs):
        raise UserError(f"{path} is an input of this very command; give another output")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; give the name of a new file")
    if not overwrite:
        raise UserError(f"{path} exists already; give another output, or --overwrite to replace it")


def check_place(path: Path) -> None:
    """Refuse a path that cannot come to be: below a file, or where this user may not write."""
    folder = Path(os.path.abspath(path)).parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written: no permission to write in {folder}")


def make_folder(folder: Path) -> None:
    """With the folders above it; there may be one already."""
    with _path_faults_told(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _path_faults_told(path: Path) -> Iterator[None]:
    """A path that cannot be written is the caller's mistake; a full disk stays an OSError with handlers of its own."""
    try:
        yield
    except OSError as error:
        if error.errno in (*NO_ROOM, errno.EIO):
            raise
        raise UserError(f"{path} cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``; renamed to it when the block ends well, removed when it does not.

    The temporary name keeps the suffix, since some writers choose the format by it.
    """
    path = Path(path)
    with _path_faults_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with _path_faults_told(path):
            sync_file(temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``path`` when the block ends well, and is removed when it does not.

    A folder that is at ``path`` is deleted with all it holds, but not before the new one is in its place.
    """
    path = Path(path).resolve()
    with _path_faults_told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=_FOLDER_MARK, dir=path.parent))
    made, replaced = holder / "new", holder / "replaced"
    try:
        made.mkdir()
        yield made
        with _path_faults_told(path):
            _take_place(made, path, replaced)
    finally:
        if path.exists() or not replaced.exists():  # else the holder has the only copy of what was there
            shutil.rmtree(holder)


def _take_place(made: Path, path: Path, replaced: Path) -> None:
    """Rename ``made`` to ``path``, and what is there to ``replaced``; both or neither."""
    try:
        if path.exists():
            os.rename(path, replaced)
        os.rename(made, path)
    except BaseException:
        if replaced.exists() and not path.exists():
            os.rename(replaced, path)
        raise
    sync_folder(path.parent)


def abandoned_folders(path: str | Path) -> list[Path]:
    """The folders that killed or still working runs hold beside ``path`` (see :func:`atomic_folder`)."""
    path = Path(path).resolve()
    name = re.compile(rf"\.{re.escape(path.name)}-[^-]+{re.escape(_FOLDER_MARK)}")
    return sorted(folder for folder in path.parent.glob(".*") if name.fullmatch(folder.name))


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Make a rename in this folder durable (POSIX needs the folder itself synced)."""
    if os.name == "posix":
        sync_file(path)


def write_bytes(path: str | Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    write_bytes(path, content.encode("utf-8"))


def json_text(content: Any, *, indent: int | None = 2) -> str:
    return json.dumps(content, indent=indent, allow_nan=False) + "\n"


def write_json(path: str | Path, content: Any, *, indent: int | None = 2) -> None:
    write_text(path, json_text(content, indent=indent))


def write_together(texts: Mapping[Path, str]) -> None:
    """Files that belong together: none is renamed before all are written."""
    with contextlib.ExitStack() as files:
        for path, text in texts.items():
            files.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
