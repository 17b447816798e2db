"""Standard input that can be told to end while nobody sends anything."""

from __future__ import annotations

import io
import os
import select
import threading
from typing import Any

_POLL_SECONDS = 0.1


class PolledInput(io.RawIOBase):
    """Bytes of a file descriptor (a pipe or terminal); after ``end``, called on any thread, it is at its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ended.is_set():
            ready, _, _ = select.select([self._descriptor], [], [], _POLL_SECONDS)
            if ready:
                return os.readv(self._descriptor, [buffer])
        return 0
