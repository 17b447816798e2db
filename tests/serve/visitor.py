"""A server with the stub model in a thread, and somebody who asks it over HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mindvideo.serve.guard import Guard
from mindvideo.serve.limits import Limits
from mindvideo.serve.server import running_server

STUB = [sys.executable, "-m", "tests.serve.stub_worker"]
WEIGHTS = ("discs.ckpt", "slow.ckpt", "broken.ckpt", "bug.ckpt", "killed.ckpt")
OURS = {"X-Mindvideo": "page"}


@dataclasses.dataclass
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclasses.dataclass
class Visitor:
    port: int

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, headers: dict[str, str | None] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        given = {**OURS, **(headers or {})}
        connection.request(method, path, content, {name: value for name, value in given.items() if value is not None})
        answer = connection.getresponse()
        reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def upload(self, *files: tuple[str, bytes]) -> str:
        upload = self.ask("POST", "/api/uploads").json["upload"]
        for name, content in files:
            reply = self.ask("PUT", f"/api/uploads/{upload}?name={quote(name)}", content)
            assert reply.status == 200, reply.content
        return upload

    def start(self, upload: str, weights: str = "discs.ckpt", **more: Any) -> Reply:
        given = {"upload": upload, "weights": weights, "configuration": "vistr_toy", "confidence": 0.3, **more}
        return self.ask("POST", "/api/jobs", given)

    def job(self, job: str) -> dict[str, Any]:
        return next(each for each in self.get("/api/jobs").json if each["id"] == job)

    def wait(self, job: str, *states: str, seconds: float = 40) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (found := self.job(job))["state"] not in states:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def models_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in WEIGHTS:
        (folder / name).write_bytes(b"weights")
    return folder


@contextlib.contextmanager
def served(folder: Path, *, limits: Limits = Limits(), guard: Guard = Guard(), **more: Any) -> Iterator[Visitor]:  # noqa: B008
    models = models_folder(folder.parent / "models")
    with running_server(folder, worker=STUB, folders=[models], limits=limits, guard=guard, **more) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Visitor(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
