"""One command at a time in an output folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from mindvideo.errors import UserError

LOCK = ".lock"


class FolderLock:
    """Held from its making until ``release``, or until the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._handle, 100, 0).decode("ascii", errors="replace").strip()
            os.close(self._handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{folder}: cannot be locked here ({error.strerror}); give another --output") from error
            process = f" (process {holder})" if holder else ""
            raise UserError(
                f"{folder} is in use by another mindvideo command{process}: wait until it has ended, or give another "
                "--output"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._handle)
