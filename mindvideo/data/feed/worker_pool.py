"""Processes that make batches. A batch travels through anonymous shared memory, not through a pipe.

The workers are fresh interpreters that import only the NumPy side of the package: no MindSpore, no copy of the
training process and its threads, no need for a guarded main module.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Pipe

import numpy as np

from mindvideo.data.feed import worker as worker_program
from mindvideo.data.feed.maker import BatchMaker
from mindvideo.data.feed.shared_columns import SharedColumns, open_shared_memory
from mindvideo.errors import UserError
from mindvideo.resources import PACKAGE
from mindvideo.structures.clip import ClipBatch

WORKERS_PER_CORE = 4
MIN_LIMIT = 16  # workers that every machine allows
SECONDS_TO_END = 5
AHEAD = 2  # batches that each worker may hold finished or in the making
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # The C library keeps freed frames for the next ones instead of returning and fetching their pages every time;
    # whole batches, larger than this, come as untouched zero pages.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
IMPORT_ROOT = PACKAGE.parent  # from where this process has the package, so that a worker has the same


class WorkerError(Exception):
    """A worker failed, and not by the caller's mistake; the message holds its traceback."""


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def max_workers() -> int:
    """More processes than this only take turns on the cores. Small machines may have as many as configurations ask."""
    return max(MIN_LIMIT, WORKERS_PER_CORE * usable_cores())


class _Worker:
    """One process, its pipe, and its places in shared memory."""

    def __init__(self, number: int) -> None:
        self.connection, remote = Pipe()
        self.memory = [SharedColumns(open_shared_memory()) for _ in range(AHEAD)]
        inherited = [remote.fileno(), *(memory.descriptor for memory in self.memory)]
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        environment["PYTHONPATH"] = os.pathsep.join([str(IMPORT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", worker_program.__name__, *map(str, inherited)]
        self.process = subprocess.Popen(command, pass_fds=inherited, env=environment)
        remote.close()
        self.number = number
        self.next_place = 0

    def give(self, maker: bytes) -> None:
        """Hand over the pickled BatchMaker; a large one waits until the process reads it."""
        try:
            self.connection.send_bytes(maker)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error

    def order(self, epoch: int, indices: np.ndarray) -> int:
        """Ask for a batch; returns the place where it will be found."""
        place = self.next_place
        self.next_place = (place + 1) % AHEAD
        self._send((place, epoch, indices))
        return place

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error

    def collect(self, place: int) -> tuple[list[np.ndarray], list[str]]:
        """Packed columns, valid until the place is written to again, and lines about broken frames."""
        try:
            kind, content, broken = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._death() from error
        if kind == "mistake":
            raise UserError(content)
        if kind == "failure":
            raise WorkerError(f"data worker {self.number} failed:\n{content}")
        return self.memory[place].views(content), broken

    def _death(self) -> WorkerError:
        code = self.process.wait()
        hint = " (killed: out of memory?)" if code == -9 else ""
        return WorkerError(f"data worker {self.number} ended with exit code {code}{hint}")

    def close(self, deadline: float) -> None:
        """Wait for the process to end, which closing the connection asks for, until ``deadline``; then kill it."""
        try:
            self.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for memory in self.memory:
            memory.close()
        self.memory = []


Task = tuple[int, np.ndarray]  # epoch, sample numbers
Made = tuple[ClipBatch, list[str]]  # and lines about broken frames


class WorkerPool:
    """Makes batches in ``num_workers`` processes (0: in this one) and hands them out in the order of the tasks."""

    def __init__(self, *, maker: BatchMaker, num_workers: int) -> None:
        self._workers: list[_Worker] = []
        if num_workers > max_workers():
            raise UserError(
                f"data.workers is {num_workers}; at most {max_workers()} make sense on {usable_cores()} processor "
                "cores, and each takes the memory of a whole process"
            )
        self.maker = maker
        self.num_workers = num_workers

    def run(self, tasks: Iterable[Task]) -> Iterator[Made]:
        """Batches in order. Abandoning the iterator before its end is allowed; the next run starts clean."""
        if self.num_workers == 0:
            for epoch, indices in tasks:
                columns, broken = self.maker.make(epoch, indices)
                yield self.maker.collate.unpack(columns), broken
            return
        self._start()
        pending: deque[tuple[_Worker, int]] = deque()
        finished = False
        try:
            for position, (epoch, indices) in enumerate(tasks):
                if len(pending) == AHEAD * self.num_workers:
                    worker, place = pending.popleft()
                    yield self._collected(worker, place)
                worker = self._workers[position % self.num_workers]
                pending.append((worker, worker.order(epoch, indices)))
            while pending:
                worker, place = pending.popleft()
                yield self._collected(worker, place)
            finished = True
        finally:
            if not finished:
                self.close()

    def _collected(self, worker: _Worker, place: int) -> Made:
        columns, broken = worker.collect(place)
        return self.maker.collate.unpack(columns), broken

    def _start(self) -> None:
        """Start all processes, then hand each the maker: they load the package side by side."""
        if self._workers:
            return
        maker = pickle.dumps(self.maker, pickle.HIGHEST_PROTOCOL)
        try:
            for number in range(self.num_workers):
                self._workers.append(_Worker(number))
            for worker in self._workers:
                worker.give(maker)
        except OSError as error:  # no more processes, descriptors or memory
            started = len(self._workers)
            self.close()
            raise UserError(
                f"only {started} of {self.num_workers} data workers could start ({error.strerror}); lower data.workers"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the worker processes; they start again when they are needed."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
        deadline = time.monotonic() + SECONDS_TO_END
        for worker in workers:
            worker.close(deadline)

    def __del__(self) -> None:
        self.close()
