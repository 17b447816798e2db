"""A server on 127.0.0.1 that answers as Codabench's interface does, and that can be told to fail."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

USER, PASSWORD, TOKEN = "ada", "open sesame", "0123456789abcdef"
PHASE = 42


class Codabench:
    """Runs while the ``with`` block does. ``seen``: (method, path) in order; ``archive``: what was uploaded."""

    def __init__(self, *, failures: Sequence[tuple[int, dict[str, str]]] = (), states: Sequence[str] = ()) -> None:
        self.failures = list(failures)  # (status, headers) of the next answers, whatever is asked
        self.states = list(states) or ["Submitted", "Running", "Finished"]
        self.seen: list[tuple[str, str]] = []
        self.archive = b""
        self.completed = False
        self.submitted: list[dict[str, Any]] = []
        self.may_submit = True
        self.place: dict[str, Any] = {}  # what it says instead about where to upload
        self.scores: Any = [{"column_key": "AP", "score": "0.36"}]
        # Path -> what is done with the open connection instead of answering.
        self.misbehaviour: dict[str, Callable[[http.server.BaseHTTPRequestHandler, bytes], None]] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bench": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Codabench:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def results(self) -> list[dict]:
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return json.loads(archive.read("results.json"))


class _Handler(http.server.BaseHTTPRequestHandler):
    bench: Codabench

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode() if content is not None else b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _handle(self) -> None:
        bench = self.bench
        bench.seen.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path in bench.misbehaviour:
            self.close_connection = True
            with contextlib.suppress(OSError):  # the other side has had enough
                bench.misbehaviour[self.path](self, body)
            return None
        if bench.failures:
            status, headers = bench.failures.pop(0)
            return self._answer(status, {"detail": "on purpose"}, headers)
        if self.path.startswith("/storage/"):  # signed address: no token may be sent there
            if "Authorization" in self.headers or self.headers["Content-Type"] != "application/zip":
                return self._answer(403)
            bench.archive = body
            return self._answer(200)
        if self.path == "/api/api-token-auth/":
            given = json.loads(body)
            if (given["username"], given["password"]) != (USER, PASSWORD):
                return self._answer(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
            return self._answer(200, {"token": TOKEN})
        if self.headers.get("Authorization") != f"Token {TOKEN}":
            return self._answer(401, {"detail": "Invalid token."})
        return self._handle_authorised(body)

    def _handle_authorised(self, body: bytes) -> None:
        bench, asked = self.bench, (self.command, self.path)
        if asked == ("GET", f"/api/can_make_submission/{PHASE}/"):
            reason = None if bench.may_submit else "Reached maximum submissions per day"
            return self._answer(200, {"can": bench.may_submit, "reason": reason})
        if asked == ("POST", "/api/datasets/"):
            given = json.loads(body)
            if given["type"] != "submission" or not given["request_sassy_file_name"].endswith(".zip"):
                return self._answer(400, {"detail": "bad data set"})
            place = {"key": "k-1", "sassy_url": f"{bench.url}/storage/k-1?signature=secret"}
            return self._answer(201, {**place, **bench.place})
        if asked == ("PUT", "/api/datasets/completed/k-1/"):
            bench.completed = True
            return self._answer(200, {"key": "k-1"})
        if asked == ("POST", "/api/submissions/"):
            given = json.loads(body)
            if given["phase"] != PHASE or given["data"] != "k-1" or not bench.completed:
                return self._answer(400, {"phase": ["Invalid pk"]})
            bench.submitted.append(given)
            return self._answer(201, {"id": 77, "status": "Submitting"})
        if asked == ("GET", "/api/submissions/77/"):
            status = bench.states.pop(0) if len(bench.states) > 1 else bench.states[0]
            scores = bench.scores if status == "Finished" else []
            return self._answer(200, {"id": 77, "status": status, "status_details": "no such file", "scores": scores})
        return self._answer(404, {"detail": "Not found."})

    do_GET = do_POST = do_PUT = _handle  # noqa: N815  (the names that http.server asks for)
