"""HTTP with a server that need not be well: no endless replies, no other schemes, and no other place than was meant."""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from mindvideo.errors import UserError

MAX_REPLY = 4 << 20  # bytes; records of submissions have some thousand
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# Failures on the way, which may pass. ValueError: a connection that was cut while it was read from.
PASSING_ERRORS = (OSError, http.client.HTTPException, ValueError)
_BLOCK = 1 << 16


def require_safe_address(address: Any, owner: str, *, local_allowed: bool) -> str:
    """``address``, or UserError unless it is https (or, where allowed, http to this machine); it is not repeated."""
    try:
        parts = urllib.parse.urlsplit(address if isinstance(address, str) else "")
        host, has_user, _ = parts.hostname, "@" in parts.netloc, parts.port
    except ValueError:
        host, has_user = None, False
    if not host or not address.isascii() or not address.isprintable() or " " in address:
        raise UserError(f"{owner}: expected an address that begins with https://, with a host and no odd characters")
    if has_user:
        raise UserError(f"{owner}: user and password must not be part of the address")
    is_local = local_allowed and parts.scheme == "http" and host in LOCAL_HOSTS
    if parts.scheme != "https" and not is_local:
        raise UserError(f"{owner}: expected an address that begins with https://, got {parts.scheme}://")
    return address


class StatusError(Exception):
    """The server answered, with a status that is no success; ``body`` is the beginning of what it said."""

    def __init__(self, error: urllib.error.HTTPError) -> None:
        super().__init__(f"{error.code} {error.reason}")
        self.code = error.code
        self.retry_after = error.headers.get("Retry-After", "")
        try:
            self.body = error.read(_BLOCK).decode("utf-8", errors="replace")
        except PASSING_ERRORS:
            self.body = ""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the token to another machine."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _watched(kind: type, sockets: list[socket.socket], *arguments: Any, **options: Any) -> Any:
    """A connection whose socket is put on the list, so that it can be cut from outside."""
    connection = kind(*arguments, **options)
    connect = connection.connect

    def connect_and_tell() -> None:
        connect()
        sockets.append(connection.sock)

    connection.connect = connect_and_tell
    return connection


class BoundedHttp:
    """Sends requests; a reply has a largest size, and the whole exchange a longest time."""

    def __init__(self, *, timeout: float, max_reply: int = MAX_REPLY) -> None:
        self._timeout = timeout
        self._max_reply = max_reply

    def send(self, request: urllib.request.Request, *, limit: float | None = None) -> bytes:
        """The reply's body, or StatusError. ``limit`` is the longest time for everything, by default the timeout."""
        limit = self._timeout if limit is None else limit
        sockets: list[socket.socket] = []
        with _cut_after(limit, sockets):
            try:
                with _opener(sockets).open(request, timeout=self._timeout) as reply:
                    body = read_bounded(reply, self._max_reply)
            except urllib.error.HTTPError as error:
                raise StatusError(error) from error
        return body


def read_bounded(reply: Any, max_bytes: int) -> bytes:
    """The body of a reply; one that is longer, or shorter than it says, is a failure of the connection."""
    body = bytearray()
    while block := reply.read(_BLOCK):
        body += block
        if len(body) > max_bytes:
            raise http.client.HTTPException(f"the reply is longer than {max_bytes} bytes")
    if reply.length:
        raise http.client.HTTPException(f"the reply ends {reply.length} bytes before it should")
    return bytes(body)


def _opener(sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    """For http and https only: urllib's own would take a file:// address for an upload that went well."""

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(functools.partial(_watched, http.client.HTTPConnection, sockets), request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(functools.partial(_watched, http.client.HTTPSConnection, sockets), request)

    opener = urllib.request.OpenerDirector()
    handlers: list[Callable[[], Any]] = [
        urllib.request.ProxyHandler,
        Plain,
        Secure,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _NoRedirects,
    ]
    for handler in handlers:
        opener.add_handler(handler())
    return opener


@contextlib.contextmanager
def _cut_after(seconds: float, sockets: list[socket.socket]) -> Iterator[None]:
    """Cut the connections when the time is over: a server that sends a byte now and then never runs into a timeout."""
    is_over = threading.Event()

    def cut() -> None:
        is_over.set()
        for opened in sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except PASSING_ERRORS:
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
    if is_over.is_set():  # a reply that was cut may look like one that has ended
        raise TimeoutError(f"the exchange took longer than {seconds:.0f} s")
