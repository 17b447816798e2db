"""The program of one worker process: ``python -m mindvideo.data.feed.worker PIPE MEMORY...`` (file descriptors)."""

from __future__ import annotations

import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import cv2

from mindvideo.data.feed.shared_columns import SharedColumns
from mindvideo.errors import UserError


def serve(connection: Connection, memory: list[SharedColumns]) -> None:
    """Receive a BatchMaker, then one task after the other until the other side closes."""
    maker = connection.recv()
    while True:
        place, epoch, indices = connection.recv()
        try:
            columns, broken = maker.make(epoch, indices, memory[place].reserve)
            answer: tuple[str, Any, Any] = ("batch", [(column.shape, column.dtype.str) for column in columns], broken)
        except UserError as error:
            answer = ("mistake", str(error), [])
        except Exception:  # noqa: BLE001  sent to the training process, which raises it
            answer = ("failure", traceback.format_exc(), [])
        connection.send(answer)


def main() -> None:
    # Ending is for the training process, which closes the pipe; schedulers signal every process of a job.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    pipe, *descriptors = (int(argument) for argument in sys.argv[1:])
    try:
        serve(Connection(pipe), [SharedColumns(descriptor) for descriptor in descriptors])
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()
