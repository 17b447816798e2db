"""Talks to an evaluation server of the CodaLab family (Codabench's interface): log in, upload, submit, wait for scores.

The steps are those of Codabench's own example scripts. CodaLab Competitions, which came before, took uploads through
its web page only and has been switched off; servers that continue it have this interface.
"""

from __future__ import annotations

import dataclasses
import html
import json
import logging
import os
import random
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError, printable
from mindvideo.evaluation.submission_http import (
    LOCAL_HOSTS,
    PASSING_ERRORS,
    BoundedHttp,
    StatusError,
    require_safe_address,
)

URL, PHASE = "MINDVIDEO_SUBMIT_URL", "MINDVIDEO_SUBMIT_PHASE"
USER, PASSWORD, TOKEN = "MINDVIDEO_SUBMIT_USER", "MINDVIDEO_SUBMIT_PASSWORD", "MINDVIDEO_SUBMIT_TOKEN"
FINISHED_STATES = ("Finished", "Failed", "Cancelled")
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)
MAX_PAUSE = 300.0  # seconds; a server that asks for more is to be tried again by hand
_MIN_UPLOAD_RATE = 20_000  # bytes a second
_MAX_DETAIL = 200  # characters of a server's message that are shown
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
        url = require_safe_address(variables[URL].rstrip("/"), URL, local_allowed=True)
        if not re.fullmatch(r"[0-9]{1,9}", variables[PHASE]):
            raise UserError(f"{PHASE}: expected the number of the competition's phase")
        if not _fits_a_header(variables.get(TOKEN, "")):
            raise UserError(f"{TOKEN}: expected printable ASCII characters without spaces; is a line break in it?")
        return cls(
            url=url,
            phase=int(variables[PHASE]),
            user=variables.get(USER, ""),
            password=variables.get(PASSWORD, ""),
            token=variables.get(TOKEN, ""),
        )


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
        self._http = BoundedHttp(timeout=timeout)

    def submit(self, archive: Path) -> int:
        """Upload the archive and hand it in; the number of the submission."""
        if not self._token:
            form = {"username": self._access.user, "password": self._access.password}
            self._token = self._field(self._call("POST", "/api/api-token-auth/", form, what="log in"), "token")
            if not isinstance(self._token, str) or not self._token or not _fits_a_header(self._token):
                raise UserError(f"could not log in: the server's token is none; is {URL} a Codabench server?")
        allowed = self._call("GET", f"/api/can_make_submission/{self._access.phase}/", what="ask for permission")
        if not allowed.get("can"):
            raise UserError(
                f"the server takes no submission now: {self._shown(allowed.get('reason') or 'no reason given')}"
            )
        size = archive.stat().st_size
        upload: dict[str, Any] = {"type": "submission", "request_sassy_file_name": archive.name, "file_size": size}
        place = self._call("POST", "/api/datasets/", upload, what="announce the upload")
        key = self._field(place, "key")
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise UserError(f"the server's answer has no usable 'key'; is {URL} a Codabench server?")
        self._upload(archive, self._field(place, "sassy_url"))
        self._call("PUT", f"/api/datasets/completed/{urllib.parse.quote(str(key))}/", {}, what="complete the upload")
        return self._hand_in(key)

    def _hand_in(self, key: str | int) -> int:
        """Not repeated when the answer is lost: a second submission would count against the limit."""
        form = {"phase": self._access.phase, "tasks": [], "data": key}
        advice = f"it may have been taken: look at {self._access.url} before you send it again"
        try:
            number = self._field(self._call("POST", "/api/submissions/", form, what="hand in", attempts=1), "id")
        except _RefusedError:
            raise
        except UserError as error:
            raise UserError(f"{error}; {advice}") from error
        if isinstance(number, str) and re.fullmatch(r"[0-9]{1,18}", number):
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**18:
            raise UserError(f"the server answered the handing in with the number {self._shown(number)}; {advice}")
        return number

    def wait(self, submission: int, *, every: float = 15.0, limit: float = 3600.0) -> dict[str, Any]:
        """The server's record of the submission once it is scored; UserError when it fails or takes too long."""
        waited = 0.0
        while True:
            try:
                record = self._call("GET", f"/api/submissions/{submission}/", what="ask for the score")
            except UserError as error:
                raise UserError(f"submission {submission} is handed in; {error}") from error
            status = record.get("status")
            if status == "Finished":
                return record
            if status in FINISHED_STATES:
                reason = self._shown(record.get("status_details") or "no reason given")
                raise UserError(f"submission {submission}: {status} ({reason})")
            if waited >= limit:
                raise UserError(
                    f"submission {submission} is still '{self._shown(status)}' after {waited:.0f} s; look at it later"
                )
            self._sleep(every)
            waited += every

    def scores(self, record: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(name, score) of a finished submission, fit to be printed."""
        entries = record.get("scores")
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return [
            (self._shown(entry.get("column_key") or entry.get("index")), self._shown(entry.get("score")))
            for entry in entries
        ]

    def _upload(self, archive: Path, address: Any) -> None:
        own = urllib.parse.urlsplit(self._access.url)
        address = require_safe_address(
            address, "the server's address for the upload", local_allowed=own.hostname in LOCAL_HOSTS
        )
        size = archive.stat().st_size
        headers = {"Content-Type": "application/zip", "Content-Length": str(size)}
        # The address is signed: it carries its own permission, and the token must not go to another machine.
        if "blob.core.windows.net" in address:
            headers["x-ms-blob-type"] = "BlockBlob"

        def request() -> bytes:
            with open(archive, "rb") as stream:
                sent = urllib.request.Request(address, data=stream, headers=headers, method="PUT")
                return self._http.send(sent, limit=self._timeout + size / _MIN_UPLOAD_RATE)

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
        answer = self._repeat(lambda: self._http.send(request), what, attempts or self._attempts)
        try:
            content = json.loads(answer or b"{}")
        except (ValueError, RecursionError) as error:
            raise UserError(f"could not {what}: the server answered with something that is not JSON") from error
        return content if isinstance(content, dict) else {}

    def _repeat(self, action: Callable[[], bytes], what: str, attempts: int) -> bytes:
        wait = self._first_wait
        for attempt in range(1, attempts + 1):
            try:
                return action()
            except StatusError as error:
                asked, reason = error.retry_after, self._shown(error)
                if error.code not in _WORTH_RETRYING:
                    detail = f": {self._shown(error.body)}" if error.body.strip() else ""
                    raise _RefusedError(f"could not {what}: the server says {reason}{detail}") from error
            except PASSING_ERRORS as error:
                asked, reason = "", self._shown(getattr(error, "reason", None) or error or type(error).__name__)
            if attempt == attempts:
                raise UserError(f"could not {what} in {attempts} attempts: {reason}")
            pause = _seconds_asked(asked)
            if pause is None:
                pause = wait * random.uniform(0.75, 1.25)
            elif pause > MAX_PAUSE:
                raise UserError(f"could not {what}: {reason}; the server asks to wait {pause:.0f} s, try again then")
            _log.warning(
                "could not %s (%s); attempt %d of %d follows in %.1f s", what, reason, attempt + 1, attempts, pause
            )
            self._sleep(pause)
            wait *= 2
        raise AssertionError("the loop above returns or raises")

    def _shown(self, said: Any) -> str:
        """Something a server said, as one line without control characters and without our secrets."""
        string = str(said) if isinstance(said, (str, int, float, Exception)) else f"a {type(said).__name__}"
        for secret in filter(None, (self._access.password, self._access.token, self._token)):
            quoted = (json.dumps(secret)[1:-1], html.escape(secret), urllib.parse.quote(secret))
            for form in (secret, *quoted, urllib.parse.quote_plus(secret)):
                string = string.replace(form, "***")
        return printable(" ".join(string.split()))[:_MAX_DETAIL]

    @staticmethod
    def _field(answer: Mapping[str, Any], name: str) -> Any:
        if name not in answer:
            raise UserError(f"the server's answer has no '{name}'; is {URL} a Codabench server?")
        return answer[name]


class _RefusedError(UserError):
    """The server understood and said no."""


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _seconds_asked(header: str) -> float | None:
    """Retry-After in seconds; None for none, or for a date."""
    return float(header) if re.fullmatch(r"[0-9]{1,15}", header) else None
