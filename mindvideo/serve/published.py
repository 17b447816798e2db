"""Published models on the page: which are here, and downloads of the others, one after the other on a thread.

A visitor names an entry of the catalogue. Where the file comes from and where it goes is the catalogue's to say.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import shutil
import threading
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.serve.limits import KEPT_FREE, megabytes
from mindvideo.weights.find import published_file
from mindvideo.weights.published import PublishedWeights, read_catalogue, weights_folder

WAITING, RUNNING, FAILED = "waiting", "running", "failed"
logger = logging.getLogger("mindvideo.serve")


class _StoppedError(UserError):
    """Somebody asked for the end of a download; what has come is kept for the next one."""


@dataclasses.dataclass
class _Fetch:
    """``done`` bytes of ``total``, which may not be known; ``message``: why it failed."""

    state: str = WAITING
    done: int = 0
    total: int | None = None
    message: str = ""
    stopped: bool = False


class PublishedModels:
    """The complete models of the catalogue. Downloads end with the server; the next one goes on where they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetches: dict[str, _Fetch] = {}
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ending = False

    def all(self) -> list[dict[str, Any]]:
        """Each with what is known of it and, while somebody wants it here, how far it is."""
        with self._lock:
            under_way = {name: dataclasses.replace(fetch) for name, fetch in self._fetches.items()}
        complete = [entry for entry in read_catalogue().values() if entry.configuration]
        complete.sort(key=lambda entry: (not entry.place.is_file(), entry.url is None))  # the nearest first
        return [_as_seen(entry, under_way.get(entry.name)) for entry in complete]

    def fetch(self, name: str) -> None:
        """Download an entry, after those that were asked for before. One that is here or on its way stays so."""
        entry = _entry(name)
        if entry.place.is_file():
            return
        if entry.url is None:
            raise UserError(by_hand(entry))
        _check_room(entry)
        with self._lock:
            present = self._fetches.get(name)
            if present is not None and present.state != FAILED and not present.stopped:
                return
            self._fetches[name] = _Fetch(total=entry.size)
            self._waiting.put(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="published-models", daemon=True)
                self._thread.start()

    def stop(self, name: str) -> None:
        """Give up a download, or its line that it failed."""
        with self._lock:
            fetch = self._fetches.get(_entry(name).name)
            if fetch is not None:
                fetch.stopped = True
                if fetch.state != RUNNING:
                    del self._fetches[name]

    def close(self) -> None:
        self._ending = True

    def _work(self) -> None:
        while not self._ending:
            name = self._waiting.get()
            with self._lock:
                fetch = self._fetches.get(name)
                if fetch is None or fetch.state != WAITING:  # given up meanwhile
                    continue
                fetch.state = RUNNING
            problem = self._bring(_entry(name), fetch)
            with self._lock:
                if problem and not fetch.stopped:
                    fetch.state, fetch.message = FAILED, problem
                elif self._fetches.get(name) is fetch:  # nobody has asked again since it was stopped
                    del self._fetches[name]

    def _bring(self, entry: PublishedWeights, fetch: _Fetch) -> str:
        """Why there is no file afterwards; empty where there is one, or nobody wants it any more."""
        logger.info("downloading %s", entry.name)
        try:
            published_file(entry, progress=lambda done, total: self._note(fetch, done, total))
        except _StoppedError:
            return ""
        except UserError as error:
            return str(error).replace(str(entry.place), f"{entry.file} into the folder of 'mindvideo weights where'")
        except OSError as error:
            return f"it cannot be kept ({error.strerror or error}); is there room, and may the server write there?"
        except Exception as error:  # noqa: BLE001  the next one is downloaded all the same
            logger.exception("%s", entry.name)
            return f"{type(error).__name__}: {error}"[:300]
        logger.info("%s is there", entry.name)
        return ""

    def _note(self, fetch: _Fetch, done: int, total: int | None) -> None:
        fetch.done, fetch.total = done, total
        if fetch.stopped or self._ending:
            raise _StoppedError("stopped")


def by_hand(entry: PublishedWeights) -> str:
    """The line for a person; the folder is told by a command, not to every visitor."""
    return (
        f"{entry.name} has to be downloaded by hand: open its page, then put the file as {entry.file} into the folder "
        "that 'mindvideo weights where' names, on the machine of this server"
        + (f" ({entry.note})" if entry.note else "")
    )


def _as_seen(entry: PublishedWeights, fetch: _Fetch | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "configuration": entry.configuration,
        "dataset": entry.dataset,
        "paper": entry.paper,
        "ap": entry.ap,
        "size": entry.size,
        "page": entry.page,
        "file": entry.file,
        "note": entry.note,
        "here": entry.place.is_file(),
        "by_hand": entry.url is None,
        "fetch": None if fetch is None else dataclasses.asdict(fetch),
    }


def _entry(name: str) -> PublishedWeights:
    entry = read_catalogue().get(name)
    if entry is None or entry.configuration is None:
        raise UserError(f"'{name[:80]}': not among the published models")
    return entry


def _check_room(entry: PublishedWeights) -> None:
    folder = weights_folder()
    existing: Path = next(path for path in (folder, *folder.parents) if path.exists())
    if entry.size is not None and shutil.disk_usage(existing).free - entry.size < KEPT_FREE:
        raise UserError(f"no room for {megabytes(entry.size)} on the disk: free some space first")
