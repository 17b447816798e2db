"""One file over HTTP into a folder: resumed where it was cut off, checked, and there under its name only when whole.

Two processes that want the same file take turns: the second finds it there, or goes on where the first one ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any

from mindvideo.errors import UserError, printable
from mindvideo.files import NO_ROOM, check_place, make_folder, sync_file, sync_folder

BLOCK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
TRIES, PAUSE = 4, 1.0  # of one download; seconds before the second
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


@dataclasses.dataclass(frozen=True)
class Download:
    """``sha256`` may be only the first digits; None where it is not known, then the server's own is used if it says."""

    url: str
    place: Path
    sha256: str | None = None
    size: int | None = None
    advice: str = ""  # for the message where the network is not to be had
    progress: Callable[[int, int | None], None] | None = None  # told of the bytes there, and of all; it may raise

    @property
    def partial(self) -> Path:
        return self.place.with_name(f"{self.place.name}.part")

    @property
    def state(self) -> Path:
        """Says of which address the partial file is, so that it is never continued with the bytes of another one."""
        return self.place.with_name(f"{self.place.name}.part.json")


def fetch(download: Download) -> Path:
    """The file at its place, downloaded unless it is there."""
    if download.place.is_file():
        return download.place
    check_place(download.place)
    make_folder(download.place.parent)
    with _turn(download):
        if download.place.is_file():  # another process has brought it meanwhile
            return download.place
        _try_repeatedly(download)
        sync_file(download.partial)
        os.replace(download.partial, download.place)
        download.state.unlink(missing_ok=True)
        sync_folder(download.place.parent)
    return download.place


@contextlib.contextmanager
def _turn(download: Download) -> Iterator[None]:
    """Held by one process at a time, and given up by the system however it ends."""
    lock = download.place.with_name(f".{download.place.name}.lock")
    with open(lock, "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"{download.place.name}: another process is downloading it; waiting\n")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # the file of the lock stays: were it removed, two processes could hold two of that name


def _try_repeatedly(download: Download) -> None:
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _transfer(download)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file does not fit what the server has now
                _forget(download)
            elif error.code < 500:
                raise UserError(
                    f"{download.url}: the server answers {error.code} {printable(error.reason)}. {download.advice}"
                ) from error
            reason = f"{error.code} {printable(error.reason)}"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            cause = getattr(error, "reason", error)
            reason = printable(str(cause)) or type(error).__name__
    done = download.partial.stat().st_size if download.partial.exists() else 0
    kept = f"; {done / 1e6:.1f} MB are kept, the same command goes on from there" if done else ""
    raise UserError(f"{download.url} cannot be downloaded ({reason}){kept}. {download.advice}".rstrip())


def _transfer(download: Download) -> None:
    """Fetch what is missing and check the whole."""
    known = _known_state(download)
    have = download.partial.stat().st_size if known else 0
    request = urllib.request.Request(download.url, headers={"User-Agent": "mindvideo", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if known.get("etag"):
            request.add_header("If-Range", known["etag"])
    first = _FirstAnswer()
    with urllib.request.build_opener(first).open(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and have > 0 and _starts_at(answer.headers, have)
        start = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else download.size
        _require_a_file(download, answer.headers, total)
        stated = _SHA256.fullmatch(first.headers.get("X-Linked-ETag", "")) if first.headers else None
        sha256 = download.sha256 or (stated[1] if stated else None) or (known.get("sha256") if goes_on else None)
        etag = answer.headers.get("ETag") or ""
        state = {"url": download.url, "etag": "" if etag.startswith("W/") else etag, "sha256": sha256}
        download.state.write_text(json.dumps(state), encoding="utf-8")
        with open(download.partial, "ab" if goes_on else "wb") as stream:
            _copy(answer, stream, download, start=start, total=total)
    _check(download, total, sha256)


class _FirstAnswer(urllib.request.HTTPRedirectHandler):
    """Remembers what the first server said before it sent us on: Hugging Face states the check sum there."""

    headers: Message | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.headers = self.headers or headers
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _known_state(download: Download) -> dict[str, Any]:
    """The state of a partial file of this very address; empty where there is none."""
    try:
        state = json.loads(download.state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fits = isinstance(state, dict) and state.get("url") == download.url and download.partial.is_file()
    return state if fits else {}


def _starts_at(headers: Message, place: int) -> bool:
    return str(headers.get("Content-Range", "")).startswith(f"bytes {place}-")


def _require_a_file(download: Download, headers: Message, total: int | None) -> None:
    if headers.get_content_type() == "text/html":
        raise UserError(f"{download.url}: the server sends a web page instead of the file. {download.advice}".rstrip())
    if download.size is not None and total is not None and total != download.size:
        raise UserError(f"{download.url}: the server's file has {total} bytes; {download.size} are stated for it")


def _copy(answer: IO[bytes], stream: IO[bytes], download: Download, *, start: int, total: int | None) -> None:
    from tqdm import tqdm

    with tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=download.place.name,
        mininterval=0.5,
        disable=download.progress is not None or not sys.stderr.isatty(),
    ) as bar:
        done = start
        while block := answer.read(BLOCK):
            stream.write(block)
            bar.update(len(block))
            done += len(block)
            if download.progress is not None:
                download.progress(done, total)


def _check(download: Download, total: int | None, sha256: str | None) -> None:
    """A short file is continued later; one with a wrong check sum is thrown away."""
    size = download.partial.stat().st_size
    if total is not None and size < total:
        raise http.client.IncompleteRead(b"", total - size)
    if sha256 is not None and not (found := _sha256_of(download.partial)).startswith(sha256):
        _forget(download)
        raise UserError(
            f"{download.url}: the file's SHA-256 is {found[: max(16, len(sha256))]} and not {sha256}, which is stated "
            "for it; it was thrown away. Try again, or fetch it by hand"
        )


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _forget(download: Download) -> None:
    download.partial.unlink(missing_ok=True)
    download.state.unlink(missing_ok=True)
