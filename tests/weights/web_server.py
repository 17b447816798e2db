"""A file server on this machine that can be told to misbehave."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator


class FileServer(http.server.ThreadingHTTPServer):
    """``content`` is sent for every path, with ranges. ``cuts``: how many bytes each next answer sends before it ends.

    ``statuses`` are answered first; ``requests`` are the Range headers seen; ``pause`` seconds between the blocks.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.requests: list[str | None] = []
        self.headers: dict[str, str] = {}
        self.ranges = True
        self.pause = 0.0
        self.linked_etag = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-ETag", server.linked_etag)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        server.requests.append(self.headers.get("Range"))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        wanted = self.headers.get("Range") if server.ranges else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and self.headers.get("If-Range", server.headers.get("ETag")) != server.headers.get("ETag"):
            wanted, start = None, 0
        if start > len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        for name, value in {"Content-Type": "application/octet-stream", **server.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: server.cuts.pop(0)] if server.cuts else body
        for place in range(0, len(body), 1 << 15):
            time.sleep(server.pause)
            with contextlib.suppress(OSError):
                self.wfile.write(body[place : place + (1 << 15)])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
