"""Ends a process that was asked to stop and cannot: run as ``python last_resort.py PID``, reading bytes on its input.

A compiler that works for minutes holds Python's lock, so no handler and no thread of the process itself runs
meanwhile. The system still writes the number of each signal into a pipe, and this small program reads it. It imports
nothing of the package and nothing heavy.

    a signal's number   asked to stop
    STEP_BEGINS         a step runs whose length is known: it may finish, however long it takes
    STEP_ENDS           no longer
"""

import os
import select
import signal
import sys
import time

GRACE_SECONDS = 8.0
SAME_REQUEST_SECONDS = 0.5  # a terminal and a launcher may both pass on one Ctrl-C
STEP_BEGINS, STEP_ENDS = 200, 201


def watch(pid: int, source: int, grace: float = GRACE_SECONDS) -> None:
    """Until the pipe closes, which is when the process has ended or needs no watching any more."""
    first: float | None = None
    deadline: float | None = None
    in_step = False
    while True:
        waiting = None if deadline is None or in_step else max(0.0, deadline - time.monotonic())
        if not select.select([source], [], [], waiting)[0]:
            _end(pid, "it did not come to a stop in time")
            return
        received = os.read(source, 512)
        if not received:
            return
        now = time.monotonic()
        for byte in received:
            if byte in (STEP_BEGINS, STEP_ENDS):
                in_step = byte == STEP_BEGINS
                deadline = None if first is None else now + grace
            elif byte in (signal.SIGINT, signal.SIGTERM):
                if first is not None and now - first > SAME_REQUEST_SECONDS:
                    _end(pid, "asked twice")
                    return
                first, deadline = first or now, deadline or now + grace


def _end(pid: int, reason: str) -> None:
    time.sleep(0.2)  # it may just be ending by itself
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    sys.stderr.write(f"the run was ended: {reason}; --resume goes on from its newest checkpoint\n")


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.stdin.fileno())
