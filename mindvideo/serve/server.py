"""The HTTP server: requests that the guard lets through go to the site, and files go out in parts."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM, make_folder
from mindvideo.inference.output.folder_lock import FolderLock
from mindvideo.serve.choices import Choices, find_choices
from mindvideo.serve.guard import COOKIE, HEADERS, Guard
from mindvideo.serve.jobs import JobStore
from mindvideo.serve.limits import Limits
from mindvideo.serve.published import PublishedModels
from mindvideo.serve.queue_runner import STOP_SECONDS, QueueRunner
from mindvideo.serve.site import Answer, Request, Site, problem
from mindvideo.serve.uploads import Uploads

MAX_CONNECTIONS = 64
IDLE_SECONDS = 60
_CHUNK = 1 << 18
_DRAINED = 1 << 22  # bytes of a refused body that are read away, so that the browser hears the answer
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
logger = logging.getLogger("mindvideo.serve")


class Server(ThreadingHTTPServer):
    """One thread a connection, within bounds."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], site: Site, guard: Guard) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.site, self.guard = site, guard
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a connection broke off", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mindvideo", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:  # noqa: N802  the base class's name
        self._handle("GET")

    def do_HEAD(self) -> None:  # noqa: N802
        self._handle("GET")

    def do_POST(self) -> None:  # noqa: N802
        self._handle("POST")

    def do_PUT(self) -> None:  # noqa: N802
        self._handle("PUT")

    def do_DELETE(self) -> None:  # noqa: N802
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        try:
            address = urlsplit(self.path)
            path, query = unquote(address.path), dict(parse_qsl(address.query, max_num_fields=20))
        except ValueError:
            self._refuse("this address cannot be read", 400, 0)
            return
        length = self._body_length()
        refusal = self.server.guard.refusal(self.command, self.headers)
        if length is None:
            self._refuse("the length of the body has to be said", 411, 0)
        elif refusal is not None:
            self._refuse(refusal, 403, length)
        elif not self.server.guard.knows(self.headers, query):
            self._refuse("open the address that mindvideo serve printed, with its token", 401, length)
        elif (line := self.server.site.check_before_body(path, query, length) if length else None) is not None:
            self._refuse(line, 413, length)
        else:
            body = _Body(self.rfile, length)
            answer = self._answer(method, path, Request(query, length, body))
            if body.left:
                self.close_connection = True
            # Our own token, never what was sent: that could hold the line end of another header.
            self._send(answer, cookie=self.server.guard.token if "token" in query else None)

    def _answer(self, method: str, path: str, request: Request) -> Answer:
        try:
            return self.server.site.answer(method, path, request)
        except TimeoutError:
            self.close_connection = True
            return problem("nothing has arrived for too long", 408)
        except OSError as error:
            logger.exception("%s %s", method, path)
            full = "the disk is full: remove finished videos" if error.errno in NO_ROOM else "a file cannot be used"
            return problem(full, 507 if error.errno in NO_ROOM else 500)
        except Exception:  # noqa: BLE001  the log has the traceback; the visitor one line
            logger.exception("%s %s", method, path)
            return problem("something of ours failed; the server's log says more", 500)

    def _body_length(self) -> int | None:
        """None where a body comes of which the length is not said."""
        given = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not given.isascii() or not given.isdigit() or len(given) > 18:
            return None
        return int(given)

    def _refuse(self, line: str, status: int, length: int) -> None:
        self.close_connection = True
        self._send(problem(line, status))
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.settimeout(2)
            left = min(length, _DRAINED)
            while left > 0 and (chunk := self.rfile.read(min(left, _CHUNK))):
                left -= len(chunk)

    def _send(self, answer: Answer, cookie: str | None = None) -> None:
        if answer.file is not None:
            self._send_file(answer, answer.file)
            return
        self._begin(answer.status, answer, len(answer.content), cookie=cookie)
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def _send_file(self, answer: Answer, file: Path) -> None:
        try:
            stream = open(file, "rb")
        except FileNotFoundError:  # removed a moment ago
            self._send(problem("there is no such file any more", 404))
            return
        with stream:
            size = stream.seek(0, 2)
            part = _part_of(self.headers.get("Range"), size)
            if part is None:
                self._begin(416, Answer(), 0, content_range=f"bytes */{size}")
                return
            start, stop = part
            is_part = _RANGE.fullmatch(self.headers.get("Range", "")) is not None
            content_range = f"bytes {start}-{stop - 1}/{size}" if is_part else None
            self._begin(206 if is_part else 200, answer, stop - start, content_range=content_range)
            if self.command != "HEAD":
                stream.seek(start)
                left = stop - start
                while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
                    self.wfile.write(chunk)
                    left -= len(chunk)

    def _begin(
        self,
        status: int,
        answer: Answer,
        length: int,
        *,
        content_range: str | None = None,
        cookie: str | None = None,
    ) -> None:
        self.send_response(status)
        headers = {**HEADERS, "Content-Type": answer.kind, "Content-Length": str(length), "Cache-Control": "no-store"}
        if answer.file is not None:
            headers["Accept-Ranges"] = "bytes"
        if content_range is not None:
            headers["Content-Range"] = content_range
        if answer.save_as is not None:
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(answer.save_as, safe='')}"
        if cookie is not None:
            headers["Set-Cookie"] = f"{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/"
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *given: Any) -> None:  # noqa: A002  the base class's name
        logger.debug("%s %s", self.address_string(), (format % given).encode("unicode_escape").decode())


class _Body:
    """The body of a request; no read goes beyond its end."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream, self.left = stream, length

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(min(size, self.left))
        self.left -= len(chunk)
        return chunk


def _part_of(asked: str | None, size: int) -> tuple[int, int] | None:
    """Start and stop of the bytes that are asked for; all of them where it is not understood; None: beyond the end."""
    match = _RANGE.fullmatch(asked or "")
    if match is None or match[1] == match[2] == "":
        return 0, size
    if match[1] == "":
        return max(0, size - int(match[2])), size
    start, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
    return (start, stop) if start < stop else None


@contextlib.contextmanager
def running_server(
    folder: Path,
    *,
    worker: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 0,
    configuration: str | None = None,
    weights: str | None = None,
    folders: Sequence[Path] = (),
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    guard: Guard = Guard(),  # noqa: B008  (frozen)
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[Server]:
    """A server with its queue over ``folder``, which no other may use at the time. ``worker``: its command.

    Nothing is served before ``serve_forever``. What waits or was running goes on at once.
    """
    make_folder(folder)
    lock = FolderLock(folder)
    runner = None
    published = PublishedModels()
    try:

        def choices() -> Choices:
            return find_choices(configuration=configuration, weights=weights, folders=folders)

        choices()  # a mistake in the command is said now
        store = JobStore(folder)
        uploads = Uploads(folder, limits)
        runner = QueueRunner(
            store, folder=folder, command=worker, choices=choices, limits=limits, stop_seconds=stop_seconds
        )
        site = Site(store=store, uploads=uploads, runner=runner, published=published, choices=choices, limits=limits)
        try:
            listening = Server((host, port), site, guard)
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot listen there ({error.strerror or error}); --port 0 takes a free port"
            ) from error
        with listening as server:
            runner.start()
            yield server
    finally:
        published.close()
        if runner is not None:
            runner.close()
        lock.release()
