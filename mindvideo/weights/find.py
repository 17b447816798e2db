"""``--weights``: a file, a published name, or ``hf:owner/repository``, turned into a file of this machine."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError, printable
from mindvideo.weights.download import Download, fetch
from mindvideo.weights.published import PublishedWeights, how_to_get, read_catalogue, weights_folder

HUB = "hf:"
SUFFIXES = (".ckpt", ".pth", ".pt", ".safetensors", ".tar", ".pkl")
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def find_weights(given: str | Path) -> Path:
    """The file that is meant; UserError says in one line what to do where there is none.

    ``hf:owner/repository`` takes the only weights of a repository, ``hf:owner/repository/file.pth`` that file.
    """
    name = str(given)
    path = Path(name)
    if path.is_file():
        return path
    if name.startswith(HUB):
        return _from_hub(name[len(HUB) :])
    if name in read_catalogue():
        return published_file(read_catalogue()[name])
    if path.name == name and (weights_folder() / name).is_file():
        return weights_folder() / name
    by_file = {entry.file: entry for entry in read_catalogue().values()}
    if name in by_file:
        return published_file(by_file[name])
    if path.suffix in SUFFIXES or path.name != name:
        raise UserError(f"--weights {name}: no such file")
    close = difflib.get_close_matches(name[:200], read_catalogue(), n=1)
    raise UserError(
        f"--weights {printable(name[:200])}: neither a file nor the name of published weights"
        + (f" (did you mean {close[0]}?)" if close else "; mindvideo weights lists them")
    )


def published_file(entry: PublishedWeights, *, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """The file of a catalogue entry, from the cache folder or downloaded into it. ``progress`` as in a Download."""
    if entry.place.is_file():
        return entry.place
    if entry.url is None:
        raise how_to_get(entry)
    advice = f"On another machine: open {entry.page} and put {entry.url.rsplit('/', 1)[-1]} at {entry.place}"
    return fetch(
        Download(entry.url, entry.place, sha256=entry.sha256, size=entry.size, advice=advice, progress=progress)
    )


def _from_hub(given: str) -> Path:
    repository, revision = (*given.split("@", 1), None)[:2]
    parts = str(repository).split("/", 2)
    name = "/".join(parts[:2])
    if not _REPOSITORY.fullmatch(name):
        raise UserError(
            f"--weights {HUB}{printable(given[:200])}: expected {HUB}owner/repository or {HUB}owner/repository/file.pth"
        )
    by_hand = f"or download a file of https://huggingface.co/{name} by hand and give its path"
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise UserError(f"--weights {HUB}{given} needs a package: pip install huggingface_hub; {by_hand}") from error
    try:
        file = parts[2] if len(parts) > 2 else _only_weights(name, hub.list_repo_files(name, revision=revision))
        folder = weights_folder() / "huggingface"
        return Path(hub.hf_hub_download(name, file, revision=revision, cache_dir=str(folder)))
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  (the package has many kinds of its own, and those of its HTTP library)
        reason = printable(str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__)
        raise UserError(f"--weights {HUB}{given}: {reason}; {by_hand}") from error


def _only_weights(repository: str, files: list[str]) -> str:
    found = [file for file in files if file.endswith(SUFFIXES)]
    if len(found) != 1:
        listed = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        raise UserError(
            f"--weights {HUB}{repository}: it holds {len(found)} files of weights"
            + (f" ({listed}); choose one, for instance {HUB}{repository}/{found[0]}" if found else "")
        )
    return found[0]
