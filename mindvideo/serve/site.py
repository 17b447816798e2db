"""All that the page can ask for: each answer is made of a request's parts and knows nothing of sockets."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import write_json
from mindvideo.serve import jobs
from mindvideo.serve.choices import Choices
from mindvideo.serve.downloads import KINDS, VIDEO_FOLDER, prepare
from mindvideo.serve.jobs import Job, JobStore
from mindvideo.serve.limits import Limits
from mindvideo.serve.line_index import frame_lines
from mindvideo.serve.published import PublishedModels
from mindvideo.serve.queue_runner import QueueRunner
from mindvideo.serve.tracks import checked_confidence, checked_edits, read_edits
from mindvideo.serve.uploads import Body, Uploads, shown_name

ASSETS = Path(__file__).parent / "assets"
REPORT_STYLE = Path(__file__).parents[1] / "report" / "assets" / "page.css"  # the report's look is this page's too
PAGES = {
    "/": (ASSETS / "index.html", "text/html; charset=utf-8"),
    "/assets/page.css": (REPORT_STYLE, "text/css; charset=utf-8"),
    "/assets/serve.css": (ASSETS / "serve.css", "text/css; charset=utf-8"),
    "/assets/serve.js": (ASSETS / "serve.js", "text/javascript; charset=utf-8"),
    "/assets/published.js": (ASSETS / "published.js", "text/javascript; charset=utf-8"),
    "/assets/player.js": (ASSETS / "player.js", "text/javascript; charset=utf-8"),
    "/assets/icon.svg": (ASSETS / "icon.svg", "image/svg+xml"),
    "/assets/masks.js": (ASSETS / "masks.js", "text/javascript; charset=utf-8"),
}
_TYPES = {
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".zip": "application/zip",
    ".csv": "text/csv; charset=utf-8",
    ".xml": "application/xml",
}
logger = logging.getLogger("mindvideo.serve")


@dataclasses.dataclass(frozen=True)
class Request:
    """``parts`` of the path after ``/api/``; ``length`` bytes of ``body`` are to come."""

    query: Mapping[str, str]
    length: int = 0
    body: Body | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """``content``, or a ``file`` of which a part may be sent; ``save_as``: the name under which it is to be kept."""

    content: bytes = b""
    kind: str = "application/json"
    status: int = 200
    file: Path | None = None
    save_as: str | None = None


class NotThereError(UserError):
    """There is nothing (yet) under this address."""


class Site:
    """Answers over one folder of jobs."""

    def __init__(
        self,
        *,
        store: JobStore,
        uploads: Uploads,
        runner: QueueRunner,
        published: PublishedModels,
        choices: Callable[[], Choices],
        limits: Limits,
    ) -> None:
        self._store, self._uploads, self._runner = store, uploads, runner
        self._published, self._choices, self.limits = published, choices, limits
        job = r"/api/jobs/(?P<job>[0-9a-f]{16})"
        upload = r"/api/uploads/(?P<upload>[0-9a-f]{16})"
        weights = r"/api/published/(?P<name>[\w.-]{1,80})"
        routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", r"/api/state", self._state),
            ("GET", r"/api/jobs", self._jobs),
            ("GET", r"/api/published", self._list_published),
            ("POST", weights, self._fetch),
            ("DELETE", weights, self._stop_fetching),
            ("POST", r"/api/uploads", self._begin_upload),
            ("PUT", upload, self._receive),
            ("DELETE", upload, self._abandon_upload),
            ("POST", r"/api/jobs", self._add_job),
            ("DELETE", job, self._remove),
            ("POST", job + "/stop", self._stop),
            ("POST", job + "/again", self._again),
            ("GET", job + "/preview", self._preview),
            ("GET", job + "/video", self._video),
            ("GET", job + "/frames", self._frames),
            ("GET", job + "/tracks", self._tracks),
            ("PUT", job + "/edits", self._edit),
            ("POST", job + "/downloads/(?P<kind>[a-z]+)", self._prepare),
            ("GET", job + "/downloads/(?P<kind>[a-z]+)", self._download),
        ]
        self._routes = [(method, re.compile(path), answer) for method, path, answer in routes]

    def answer(self, method: str, path: str, request: Request) -> Answer:
        """The answer to a request; a mistake of the visitor's is one line in it."""
        if path in PAGES:
            if method != "GET":
                return problem("GET only", 405)
            file, kind = PAGES[path]
            return Answer(file.read_bytes(), kind)
        allowed = False
        for known, pattern, answer in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            allowed = True
            if known == method:
                try:
                    return answer(request, **match.groupdict())
                except NotThereError as error:
                    return problem(str(error), 404)
                except UserError as error:
                    return problem(str(error), 400)
        return problem("no such method here", 405) if allowed else problem("there is nothing here", 404)

    def _state(self, request: Request) -> Answer:
        choices = self._choices()
        content = {
            "configurations": [{"name": each.name, "note": each.note} for each in choices.configurations.values()],
            "weights": [
                {"name": each.name, "note": each.note, "configuration": each.configuration}
                for each in choices.weights.values()
            ],
            "limits": dataclasses.asdict(self.limits),
            "downloads": list(KINDS),
        }
        return as_json(content)

    def _list_published(self, request: Request) -> Answer:
        return as_json(self._published.all())

    def _fetch(self, request: Request, name: str) -> Answer:
        self._published.fetch(name)
        return as_json({})

    def _stop_fetching(self, request: Request, name: str) -> Answer:
        self._published.stop(name)
        return as_json({})

    def _jobs(self, request: Request) -> Answer:
        return as_json([self._as_seen(job) for job in self._store.all()])

    def _as_seen(self, job: Job) -> dict[str, Any]:
        has_preview = (self._store.folder_of(job.id) / jobs.PREVIEW).is_file()
        return {**dataclasses.asdict(job), "has_preview": has_preview}

    def _begin_upload(self, request: Request) -> Answer:
        if len(self._store.all()) >= self.limits.jobs:
            raise UserError(f"{self.limits.jobs} videos are here already: remove some of them first")
        return as_json({"upload": self._uploads.begin()})

    def _receive(self, request: Request, upload: str) -> Answer:
        assert request.body is not None
        self._uploads.receive(upload, request.query.get("name", ""), request.length, request.body)
        return as_json({})

    def check_before_body(self, path: str, query: Mapping[str, str], length: int) -> str | None:
        """Why a body of ``length`` bytes is not even read."""
        match = re.fullmatch(r"/api/uploads/([0-9a-f]{16})", path)
        if match is None:
            return None if length <= self.limits.json_bytes else f"{length} bytes are too many for this"
        try:
            self._uploads.check(match[1], query.get("name", ""), length)
        except UserError as error:
            return str(error)
        return None

    def _abandon_upload(self, request: Request, upload: str) -> Answer:
        self._uploads.abandon(upload)
        return as_json({})

    def _add_job(self, request: Request) -> Answer:
        given = _json_of(request)
        choices = self._choices()
        configuration = choices.configuration(given.get("configuration"))
        weights = choices.weights_file(given.get("weights"))
        confidence = checked_confidence(given.get("confidence"))
        name, inputs = self._uploads.take(str(given.get("upload")))
        if isinstance(given.get("name"), str) and given["name"].strip():
            name = shown_name(given["name"])
        job = self._store.add(
            name=name, configuration=configuration.name, weights=weights.name, confidence=confidence, inputs=inputs
        )
        logger.info("%s: %s with %s", job.id, configuration.name, weights.name)
        self._runner.wake()
        return as_json(self._as_seen(job))

    def _remove(self, request: Request, job: str) -> Answer:
        self._store.remove(job)
        return as_json({})

    def _stop(self, request: Request, job: str) -> Answer:
        self._runner.stop_job(job)
        return as_json(self._as_seen(self._store.get(job)))

    def _again(self, request: Request, job: str) -> Answer:
        fresh = {"state": jobs.WAITING, "message": "", "frames": 0, "begun": 0}
        if not self._store.update(job, only_from=[jobs.FAILED, jobs.STOPPED], **fresh):
            raise UserError("only what failed or was stopped can be begun again")
        self._runner.wake()
        return as_json(self._as_seen(self._store.get(job)))

    def _preview(self, request: Request, job: str) -> Answer:
        return Answer(file=self._file(job, jobs.PREVIEW), kind="image/jpeg")

    def _video(self, request: Request, job: str) -> Answer:
        return Answer(file=self._file(job, jobs.RESULT, VIDEO_FOLDER, "overlay.mp4"), kind="video/mp4")

    def _frames(self, request: Request, job: str) -> Answer:
        path = self._file(job, jobs.RESULT, VIDEO_FOLDER, "frames.jsonl")
        start, count = (_whole(request.query, name) for name in ("start", "count"))
        return Answer(frame_lines(path, start, count))

    def _tracks(self, request: Request, job: str) -> Answer:
        facts = json.loads(self._file(job, jobs.TRACKS).read_text(encoding="utf-8"))
        edits = read_edits(self._store.folder_of(job) / jobs.EDITS, confidence=self._store.get(job).confidence)
        return as_json({**facts, "edits": edits.as_json()})

    def _edit(self, request: Request, job: str) -> Answer:
        facts = json.loads(self._file(job, jobs.TRACKS).read_text(encoding="utf-8"))
        edits = checked_edits(_json_of(request), {track["id"] for track in facts["tracks"]})
        write_json(self._store.folder_of(job) / jobs.EDITS, edits.as_json())
        return as_json(edits.as_json())

    def _prepare(self, request: Request, job: str, kind: str) -> Answer:
        self._prepared(job, kind)
        return as_json({"address": f"/api/jobs/{job}/downloads/{kind}"})

    def _download(self, request: Request, job: str, kind: str) -> Answer:
        path = self._prepared(job, kind)
        name = self._store.get(job).name.rsplit(".", 1)[0] or "video"
        return Answer(file=path, kind=_TYPES[path.suffix], save_as=f"{name}-{path.name}")

    def _prepared(self, job: str, kind: str) -> Path:
        self._file(job, jobs.TRACKS)
        return prepare(self._store.folder_of(job), kind, confidence=self._store.get(job).confidence)

    def _file(self, job: str, *parts: str) -> Path:
        """A file of a job. Those of a result are there when the job is done."""
        known = self._store.get(job)
        path = self._store.folder_of(job).joinpath(*parts)
        if not path.is_file() or (parts[0] != jobs.PREVIEW and known.state != jobs.DONE):
            raise NotThereError("not there yet: the video has not been looked at to its end")
        return path


def as_json(content: Any) -> Answer:
    return Answer(json.dumps(content).encode())


def problem(line: str, status: int) -> Answer:
    return Answer(json.dumps({"error": line}).encode(), status=status)


def _json_of(request: Request) -> dict[str, Any]:
    assert request.body is not None
    try:
        content = json.loads(request.body.read(request.length))
    except (ValueError, RecursionError) as error:
        raise UserError("what was sent is not JSON") from error
    if not isinstance(content, dict):
        raise UserError("what was sent is not an object")
    return content


def _whole(query: Mapping[str, str], name: str) -> int:
    given = query.get(name, "0")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise UserError(f"{name}: a whole number is needed")
    return int(given)
