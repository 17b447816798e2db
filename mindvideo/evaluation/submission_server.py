"""Talks to an evaluation server of the CodaLab family (Codabench's interface): log in, upload, submit, wait for scores.

The steps are those of Codabench's own example scripts. CodaLab Competitions, which came before, took uploads through
its web page alone and has been switched off; servers that continue it have this interface.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError

URL, PHASE = "MINDVIDEO_SUBMIT_URL", "MINDVIDEO_SUBMIT_PHASE"
USER, PASSWORD, TOKEN = "MINDVIDEO_SUBMIT_USER", "MINDVIDEO_SUBMIT_PASSWORD", "MINDVIDEO_SUBMIT_TOKEN"
FINISHED_STATES = ("Finished", "Failed", "Cancelled")
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_log = logging.getLogger("mindvideo.submission")


@dataclasses.dataclass(frozen=True)
class Access:
    """Where to send to, and as whom: a ``token``, or ``user`` and ``password``. Never printed."""

    url: str
    phase: int
    user: str = dataclasses.field(default="", repr=False)
    password: str = dataclasses.field(default="", repr=False)
    token: str = dataclasses.field(default="", repr=False)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Access:
        """Everything from the environment, so that nothing of it is in a command line or a log."""
        missing = [name for name in (URL, PHASE) if not variables.get(name)]
        if not variables.get(TOKEN):
            missing += [name for name in (USER, PASSWORD) if not variables.get(name)]
        if missing:
            raise UserError(
                f"to upload, set {', '.join(missing)} in the environment ({TOKEN} serves instead of user and password)"
            )
        url = variables[URL].rstrip("/")
        address = urllib.parse.urlsplit(url)
        if address.scheme != "https" and address.hostname not in _LOCAL_HOSTS:
            raise UserError(f"{URL}: expected an address that begins with https://, as a password is sent to it")
        if not variables[PHASE].isdigit():
            raise UserError(f"{PHASE}: expected the number of the competition's phase")
        return cls(
            url=url,
            phase=int(variables[PHASE]),
            user=variables.get(USER, ""),
            password=variables.get(PASSWORD, ""),
            token=variables.get(TOKEN, ""),
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the token to another machine."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class SubmissionServer:
    """One session with a server. Failures that may pass (no connection, 429, 5xx) are tried again, waiting longer."""

    def __init__(
        self,
        access: Access,
        *,
        attempts: int = 5,
        first_wait: float = 2.0,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access = access
        self._attempts = attempts
        self._first_wait = first_wait
        self._timeout = timeout
        self._sleep = sleep
        self._token = access.token
        self._opener = urllib.request.build_opener(_NoRedirects)

    def submit(self, archive: Path) -> int:
        """Upload the archive and hand it in; the number of the submission."""
        if not self._token:
            form = {"username": self._access.user, "password": self._access.password}
            self._token = self._field(self._call("POST", "/api/api-token-auth/", form, what="log in"), "token")
        allowed = self._call("GET", f"/api/can_make_submission/{self._access.phase}/", what="ask for permission")
        if not allowed.get("can"):
            raise UserError(f"the server takes no submission now: {allowed.get('reason') or 'no reason given'}")
        size = archive.stat().st_size
        form = {"type": "submission", "request_sassy_file_name": archive.name, "file_size": size}
        place = self._call("POST", "/api/datasets/", form, what="announce the upload")
        self._upload(archive, self._field(place, "sassy_url"))
        key = self._field(place, "key")
        self._call("PUT", f"/api/datasets/completed/{urllib.parse.quote(str(key))}/", {}, what="complete the upload")
        # Handing in is not repeated after an answer was lost: a second submission would count against the limit.
        form = {"phase": self._access.phase, "tasks": [], "data": key}
        answer = self._call("POST", "/api/submissions/", form, what="hand in", attempts=1)
        return int(self._field(answer, "id"))

    def wait(self, submission: int, *, every: float = 15.0, limit: float = 3600.0) -> dict[str, Any]:
        """The server's record of the submission once it is scored; UserError when it fails or takes too long."""
        waited = 0.0
        while True:
            record = self._call("GET", f"/api/submissions/{submission}/", what="ask for the score")
            status = record.get("status")
            if status == "Finished":
                return record
            if status in FINISHED_STATES:
                reason = record.get("status_details") or "no reason given"
                raise UserError(f"submission {submission}: {status} ({reason})")
            if waited >= limit:
                raise UserError(f"submission {submission} is still {status!r} after {waited:.0f} s; look at it later")
            self._sleep(every)
            waited += every

    def _upload(self, archive: Path, address: str) -> None:
        headers = {"Content-Type": "application/zip", "Content-Length": str(archive.stat().st_size)}
        # The address is signed: it carries its own permission, and the token must not go to another machine.
        if "blob.core.windows.net" in address:
            headers["x-ms-blob-type"] = "BlockBlob"

        def request() -> bytes:
            with open(archive, "rb") as stream:
                return self._open(urllib.request.Request(address, data=stream, headers=headers, method="PUT"))

        self._repeat(request, "upload the archive", self._attempts)

    def _call(
        self, method: str, path: str, form: Any = None, *, what: str, attempts: int | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Token {self._token}"
        body = None
        if form is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(form).encode()
        request = urllib.request.Request(self._access.url + path, data=body, headers=headers, method=method)
        answer = self._repeat(lambda: self._open(request), what, attempts or self._attempts)
        try:
            content = json.loads(answer or b"{}")
        except json.JSONDecodeError as error:
            raise UserError(f"could not {what}: the server answered with something that is not JSON") from error
        return content if isinstance(content, dict) else {}

    def _open(self, request: urllib.request.Request) -> bytes:
        with self._opener.open(request, timeout=self._timeout) as answer:
            return answer.read()

    def _repeat(self, action: Callable[[], bytes], what: str, attempts: int) -> bytes:
        wait = self._first_wait
        for attempt in range(1, attempts + 1):
            try:
                return action()
            except urllib.error.HTTPError as error:
                asked = error.headers.get("Retry-After", "")
                reason = f"{error.code} {error.reason}"
                if error.code not in _WORTH_RETRYING:
                    raise UserError(f"could not {what}: the server says {reason}{_detail(error)}") from error
            except (urllib.error.URLError, OSError) as error:
                asked, reason = "", str(getattr(error, "reason", error))
            if attempt == attempts:
                raise UserError(f"could not {what} in {attempts} attempts: {reason}")
            pause = float(asked) if asked.isdigit() else wait * random.uniform(0.75, 1.25)
            _log.warning(
                "could not %s (%s); attempt %d of %d follows in %.1f s", what, reason, attempt + 1, attempts, pause
            )
            self._sleep(pause)
            wait *= 2
        raise AssertionError("the loop above returns or raises")

    @staticmethod
    def _field(answer: Mapping[str, Any], name: str) -> Any:
        if name not in answer:
            raise UserError(f"the server's answer has no '{name}'; is {URL} a Codabench server?")
        return answer[name]


def _detail(error: urllib.error.HTTPError) -> str:
    """What the server says is wrong, cut to one line."""
    text = " ".join(error.read().decode("utf-8", errors="replace").split())
    return f": {text[:200]}" if text else ""
