"""Takes the waiting jobs one after the other to the process that runs the models, and starts a new one when it dies."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.serve.choices import Choices
from mindvideo.serve.jobs import FAILED, RUNNING, STOPPED, WAITING, Job, JobStore
from mindvideo.serve.limits import Limits

WORKER_LOG = "worker.log"
MAX_LOG = 5_000_000  # bytes, after which the log begins anew
STOP_SECONDS = 20.0  # a video that has not ended by then is ended with its process
_NEWS = ("state", "message", "frames", "total", "seconds", "num_tracks")
logger = logging.getLogger("mindvideo.serve")


class QueueRunner:
    """A thread over the queue. ``command`` starts the worker process (``mindvideo/serve/worker.py``)."""

    def __init__(
        self,
        store: JobStore,
        *,
        folder: Path,
        command: Sequence[str],
        choices: Callable[[], Choices],
        limits: Limits,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._store, self._folder, self._command = store, folder, list(command)
        self._choices, self._limits, self._stop_seconds = choices, limits, stop_seconds
        self._process: subprocess.Popen[str] | None = None
        self._writing = threading.Lock()
        self._wake, self._ending = threading.Event(), False
        self._running = ""
        self._stopping: set[str] = set()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def stop_job(self, job_id: str) -> None:
        """Take a job out of the queue, or end the one that is running."""
        if self._store.update(job_id, only_from=[WAITING], state=STOPPED, message=""):
            return
        if self._store.get(job_id).state == RUNNING:
            self._stopping.add(job_id)
            self._store.update(job_id, message="stopping")
            self._send({"stop": job_id})
            timer = threading.Timer(self._stop_seconds, self._kill, [job_id])
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """End the worker; a job that is running stays so on disk, and begins anew with the next server."""
        self._ending = True
        self._wake.set()
        process = self._process
        if process is not None:
            process.kill()
        if self._thread.is_alive():
            self._thread.join(10)

    def _loop(self) -> None:
        while not self._ending:
            self._wake.clear()
            job = self._store.next_waiting()
            if job is None:
                self._wake.wait(5.0)
                continue
            try:
                self._run(job)
            except Exception as error:  # noqa: BLE001  the queue goes on with the next job
                logger.exception("%s", job.id)
                self._store.update(job.id, state=FAILED, message=f"{type(error).__name__}: {error}"[:300])

    def _run(self, job: Job) -> None:
        try:
            choices = self._choices()
            config = choices.configuration(job.configuration).file
            weights = choices.weights_file(job.weights).file
        except (UserError, OSError) as error:
            self._store.update(job.id, state=FAILED, message=str(error)[:400])
            return
        begun = dict(state=RUNNING, message="starting", frames=0, begun=job.begun + 1)
        if not self._store.update(job.id, only_from=[WAITING], **begun):
            return
        self._running = job.id
        task = {
            "id": job.id,
            "folder": str(self._store.folder_of(job.id)),
            "config": str(config),
            "weights": str(weights),
            "confidence": job.confidence,
            "max_pixels": self._limits.pixels,
        }
        process = self._worker()
        self._send({"run": task})
        for news in self._news(process):
            if news.get("id") != job.id:
                continue
            changes = {key: news[key] for key in _NEWS if key in news}
            if changes.get("state") == RUNNING:
                del changes["state"]  # nothing new that a restart has to know
                if job.id in self._stopping:
                    changes["message"] = "stopping"
                self._store.update(job.id, only_from=[RUNNING], **changes)
                continue
            self._store.update(job.id, only_from=[RUNNING], **changes)
            self._running = ""
            self._stopping.discard(job.id)
            return
        self._process = None
        self._running = ""
        code = process.wait()
        if self._ending:
            return
        stopped = job.id in self._stopping
        self._stopping.discard(job.id)
        message = "" if stopped else f"the process that runs the model ended ({in_words(code)}); {WORKER_LOG} has more"
        self._store.update(job.id, only_from=[RUNNING], state=STOPPED if stopped else FAILED, message=message)

    def _worker(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            log = self._folder / WORKER_LOG
            mode = "wb" if log.is_file() and log.stat().st_size > MAX_LOG else "ab"
            with open(log, mode) as errors:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is the server's, which ends it as it should be
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        return self._process

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with self._writing:
            try:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
            except OSError:
                logger.warning("the worker process has ended")  # its job is told about where its news are read

    def _news(self, process: subprocess.Popen[str]) -> Iterator[Mapping[str, Any]]:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                news = json.loads(line)
            except ValueError:
                logger.warning("the worker process says: %s", line.rstrip()[:200])
                continue
            if isinstance(news, dict):
                yield news

    def _kill(self, job_id: str) -> None:
        process = self._process
        if process is not None and self._running == job_id:
            process.kill()


def in_words(code: int) -> str:
    """The way a process ended."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else f"signal {-code}"
    return f"{name}, as a rule out of memory" if name == "SIGKILL" else name
