"""One folder of videos, run by several processes: which video each takes, and which of them still live.

    <folder>/claim-<n>    which rank runs the video at place n
    <folder>/rank-<r>     held locked by rank r while it lives; its content says how far it is
    <folder>/<name>.json  what ranks tell each other

The processes take the videos one by one, so that none waits while there is work. Nothing here waits in a collective of
the device: those give up when one process is hours later than the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import write_json

AT_WORK, DONE, LEFT = "at work", "done", "left"
LOOK_EVERY = 0.2  # seconds


class PeerLostError(UserError):
    """Another process ended before its work was done."""


class PeerLeftError(Exception):
    """Another process was asked to leave its work unfinished."""


class VideoSharing:
    """The part of one process. ``meet`` returns when every process has called it.

    With one process (:meth:`single`) nothing is written and every video is this process's.
    """

    def __init__(self, folder: Path, *, rank: int, world_size: int, meet: Callable[[], None]) -> None:
        self.folder, self.rank, self.world_size = folder, rank, world_size
        self._meet = meet
        self._handle: int | None = None

    @classmethod
    def single(cls) -> VideoSharing:
        return cls(Path(), rank=0, world_size=1, meet=lambda: None)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @contextlib.contextmanager
    def working(self) -> Iterator[VideoSharing]:
        """The block of work. Whoever leaves it by an error says so to those who wait."""
        if self.world_size == 1:
            yield self
            return
        if self.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
            self.folder.mkdir(parents=True)
        self._meet()
        self._handle = os.open(self._place(self.rank), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self._say(AT_WORK)
        self._meet()
        try:
            yield self
        except BaseException:
            self._say(LEFT)
            raise
        finally:
            os.close(self._handle)
            self._handle = None

    def claim(self, place: int) -> bool:
        """Whether the video at that place of the list, which is the same for all, falls to this process."""
        if self.world_size == 1:
            return True
        try:
            os.close(os.open(self.folder / f"claim-{place}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            return False
        return True

    def tell(self, name: str, content: Any) -> None:
        """Leave something for the other processes; with one process there is nobody to tell."""
        if self.world_size > 1:
            write_json(self.folder / f"{name}.json", content, indent=None)

    def told(self, name: str) -> Any:
        """The content that some process left under that name; None where none did."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if self.world_size > 1 and path.is_file() else None

    def wait_for_others(self) -> None:
        """The first process waits until all others are done, and then each of them until the first one is.

        PeerLostError when one has ended, PeerLeftError when it was asked to leave its work.
        """
        if self.world_size == 1:
            return
        if self.is_first:
            for rank in range(1, self.world_size):
                self._wait_for(rank)
        else:
            self._say(DONE)
            self._wait_for(0)

    def done(self) -> None:
        """The first process has come to its end: the others may go on."""
        if self.world_size > 1 and self.is_first:
            self._say(DONE)

    def _wait_for(self, rank: int) -> None:
        while True:
            lives = self._lives(rank)  # before its word is read: the last word of one that ended is read too
            said = self._place(rank).read_text(encoding="utf-8")
            if said == DONE:
                return
            if said == LEFT:
                raise PeerLeftError(rank)
            if not lives:
                raise PeerLostError(
                    f"process {rank} of {self.world_size} has ended before its work was done; finished videos are "
                    "kept, and the same command goes on with the others"
                )
            time.sleep(LOOK_EVERY)

    def _lives(self, rank: int) -> bool:
        handle = os.open(self._place(rank), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def _say(self, word: str) -> None:
        assert self._handle is not None  # only inside the block of work
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, word.encode(), 0)

    def _place(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}"
