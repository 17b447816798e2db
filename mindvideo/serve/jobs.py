"""The jobs of the page: a folder for each, with its state in a file, so that a restart finds them all again.

<folder>/jobs/<id>/job.json     what is asked and how far it is
<folder>/jobs/<id>/input/       the video, under names of ours
<folder>/jobs/<id>/preview.jpg  the last frame that was looked at
<folder>/jobs/<id>/result/      what the model found (as in an --output of mindvideo infer)
<folder>/jobs/<id>/tracks.json  the tracks in short, edits.json what a visitor made of them
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import write_json

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
STATES = (WAITING, RUNNING, DONE, FAILED, STOPPED)
JOBS, STATE, INPUT, RESULT = "jobs", "job.json", "input", "result"
PREVIEW, TRACKS, EDITS, DOWNLOADS = "preview.jpg", "tracks.json", "edits.json", "downloads"
MAX_BEGUN = 3  # how often a job may be begun that never comes to an end
_ID = re.compile(r"[0-9a-f]{16}")
logger = logging.getLogger("mindvideo.serve")


@dataclasses.dataclass(kw_only=True)
class Job:
    """One video with one model. ``message``: one line about why it failed, or about what is being done.

    ``begun``: how often it was begun; ``frames`` of ``total`` are done, of which only an estimate may be known.
    """

    id: str
    number: int
    name: str
    configuration: str
    weights: str
    confidence: float
    state: str = WAITING
    message: str = ""
    frames: int = 0
    total: int | None = None
    begun: int = 0
    created: float = 0.0
    seconds: float = 0.0
    num_tracks: int | None = None


class JobStore:
    """All jobs below ``folder``. Every change of state is on disk before anyone sees it; progress is in memory only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / JOBS
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        for path in sorted(self._folder.glob(f"*/{STATE}")):
            job = _read(path)
            if job is not None:
                self._jobs[job.id] = self._after_restart(job)

    def _after_restart(self, job: Job) -> Job:
        """A job that was running when the server ended begins anew, unless it never comes to an end."""
        if job.state == RUNNING:
            job.state, job.frames, job.message = WAITING, 0, ""
            if job.begun >= MAX_BEGUN:
                job.state, job.message = FAILED, f"begun {job.begun} times and never came to an end; not tried again"
            self._write(job)
        return job

    def folder_of(self, job_id: str) -> Path:
        return self._folder / job_id

    def add(self, *, name: str, configuration: str, weights: str, confidence: float, inputs: Path) -> Job:
        """A new job at the end of the queue; the folder ``inputs`` becomes its own."""
        with self._lock:
            number = max((job.number for job in self._jobs.values()), default=0) + 1
            job = Job(
                id=secrets.token_hex(8),
                number=number,
                name=name,
                configuration=configuration,
                weights=weights,
                confidence=confidence,
                created=time.time(),
            )
            folder = self.folder_of(job.id)
            folder.mkdir()
            inputs.replace(folder / INPUT)
            self._write(job)
            self._jobs[job.id] = job
            return dataclasses.replace(job)

    def get(self, job_id: str) -> Job:
        """A copy of the job. UserError when there is none."""
        with self._lock:
            if job_id not in self._jobs:
                raise UserError("there is no such video here (any more)")
            return dataclasses.replace(self._jobs[job_id])

    def all(self) -> list[Job]:
        """Copies, in the order in which they came."""
        with self._lock:
            return [dataclasses.replace(job) for job in sorted(self._jobs.values(), key=lambda job: job.number)]

    def next_waiting(self) -> Job | None:
        return next((job for job in self.all() if job.state == WAITING), None)

    def update(self, job_id: str, *, only_from: Sequence[str] = STATES, **changes: Any) -> bool:
        """Change a job that is in one of the states ``only_from``; whether that was so."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.state not in only_from:
                return False
            changed = dataclasses.replace(job, **changes)
            if "state" in changes:
                self._write(changed)
            self._jobs[job_id] = changed
            return True

    def remove(self, job_id: str) -> None:
        """Forget a job that is not running, with all its files."""
        with self._lock:
            if self.get(job_id).state == RUNNING:
                raise UserError("this video is being looked at: stop it first")
            (self.folder_of(job_id) / STATE).unlink(missing_ok=True)
            del self._jobs[job_id]
        shutil.rmtree(self.folder_of(job_id), ignore_errors=True)

    def _write(self, job: Job) -> None:
        write_json(self.folder_of(job.id) / STATE, dataclasses.asdict(job))


def _read(path: Path) -> Job | None:
    try:
        job = Job(**json.loads(path.read_text(encoding="utf-8")))
        if job.id != path.parent.name or not _ID.fullmatch(job.id) or job.state not in STATES:
            raise ValueError("it is not the job of its folder")
        return job
    except (ValueError, TypeError) as error:
        logger.warning("%s: not readable (%s); this job is left out", path, error)
        return None
