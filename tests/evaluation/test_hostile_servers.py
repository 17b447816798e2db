"""A server that lies, drips, floods or echoes: one clear line, in bounded time, and the password stays here."""

from __future__ import annotations

import html
import json
import time
import urllib.parse
from pathlib import Path

import pytest

from mindvideo.cli import submit
from mindvideo.errors import UserError
from mindvideo.evaluation import submission_http, submission_server
from mindvideo.evaluation.submission import write_archive
from mindvideo.evaluation.submission_http import require_safe_address
from mindvideo.evaluation.submission_server import Access, SubmissionServer
from tests.evaluation import scenes
from tests.evaluation.codabench import PASSWORD, PHASE, TOKEN, USER, Codabench

LOGIN, PLACES, HAND_IN = "/api/api-token-auth/", "/api/datasets/", "/api/submissions/"
RECORD, UPLOAD = "/api/submissions/77/", "/storage/k-1?signature=secret"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "submission.zip"
    results = tmp_path / "results.json"
    results.write_text(json.dumps(scenes.perfect()))
    write_archive(results, path)
    return path


def server_of(bench: Codabench, *, password: str = PASSWORD, **options: object) -> SubmissionServer:
    access = Access(url=bench.url, phase=PHASE, user=USER, password=password)
    options = {"sleep": lambda _: None, "attempts": 2, "timeout": 1.0, **options}
    return SubmissionServer(access, **options)


def sends(content: bytes, *, status: int = 200, length: int | None = None, reason: str | None = None):
    def answer(handler, _: bytes) -> None:
        handler.send_response(status, reason)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def drips(handler, _: bytes) -> None:
    """A byte now and then, for longer than anybody should listen."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def drips_headers(handler, _: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(200):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.1)


def drips_a_refusal(handler, _: bytes) -> None:
    handler.send_response(400)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.1)


def floods(handler, _: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(64):
        handler.wfile.write(b" " * (1 << 20))


def floods_a_header(handler, _: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 99999)


BEHAVIOURS = {
    "drips": (drips, "longer than 1 s"),
    "drips headers": (drips_headers, "longer than 1 s"),
    "drips a refusal": (drips_a_refusal, "the server says 400"),
    "floods": (floods, "longer than .* bytes"),
    "cut body": (sends(b"{", length=100), "in 2 attempts"),
    "no HTTP": (lambda handler, _: handler.wfile.write(b"SSH-2.0-x\r\n"), "in 2 attempts"),
    "nothing": (lambda handler, _: None, "in 2 attempts"),
    "endless header": (floods_a_header, "in 2 attempts"),
    "no JSON": (sends(b"<html>"), "not JSON"),
    "deep JSON": (sends(b"[" * 100_000), "not JSON"),
    "long number": (sends(b'{"token": ' + b"9" * 9999 + b"}"), "not JSON"),
    "no UTF-8": (sends(b'{"token": "\xff"}'), "not JSON"),
    "a list": (sends(b"[]"), "no 'token'"),
    "token with a line break": (sends(b'{"token": "a\\r\\nX-Evil: 1"}'), "token is none"),
    "token that is a list": (sends(b'{"token": []}'), "token is none"),
    "escape sequences": (sends(b"\x1b]0;owned\x07\x1b[2Jno", status=400), "the server says 400"),
    "escape sequence in the reason": (sends(b"", status=400, reason="\x1b[2Jno"), "the server says 400"),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_misbehaviour_at_the_login(archive: Path, name: str):
    behaviour, message = BEHAVIOURS[name]
    with Codabench() as bench:
        bench.misbehaviour[LOGIN] = behaviour
        start = time.perf_counter()
        with pytest.raises(UserError, match=message) as caught:
            server_of(bench).submit(archive)
    assert time.perf_counter() - start < 8
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("password", [PASSWORD, 'q"u<o\\t é&d', "two  blanks"])
@pytest.mark.parametrize(
    "wrap", [str, html.escape, urllib.parse.quote, urllib.parse.quote_plus, lambda text: json.dumps({"password": text})]
)
def test_an_echoed_password_is_not_shown(archive: Path, password: str, wrap):
    with Codabench() as bench:
        bench.misbehaviour[LOGIN] = sends(f"wrong: {wrap(password)}!".encode(), status=400)
        with pytest.raises(UserError) as caught:
            server_of(bench, password=password).submit(archive)
    message = str(caught.value)
    assert "***" in message
    for form in (password, " ".join(password.split()), wrap(password)):
        assert form not in message


def test_an_echoed_token_is_not_shown(archive: Path):
    with Codabench() as bench:
        bench.misbehaviour[PLACES] = sends(f"Token {TOKEN} may not".encode(), status=403)
        with pytest.raises(UserError, match=r"Token \*\*\* may not"):
            server_of(bench).submit(archive)


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/hostname",
        "ftp://127.0.0.1/x",
        "data:text/plain,x",
        "http://192.0.2.1/x",
        "//127.0.0.1/x",
        "https://",
        "https://[",
        "https://a:b@example.org/x",
        "https://example.org/\r\nX: 1",
        "https://example.org:port/",
        "",
        7,
        None,
        ["https://example.org"],
    ],
)
def test_the_archive_goes_to_no_odd_address(archive: Path, address: object):
    with Codabench() as bench:
        bench.place = {"sassy_url": address}
        with pytest.raises(UserError, match="the server's address for the upload") as caught:
            server_of(bench).submit(archive)
    assert str(caught.value).isprintable()
    assert not bench.completed and not bench.submitted


def test_plain_http_is_for_this_machine_and_only_from_it():
    assert require_safe_address("http://localhost:1/x", "it", local_allowed=True)
    assert require_safe_address("https://example.org/x", "it", local_allowed=False)
    for address, allowed in (("http://localhost:1/x", False), ("http://example.org/x", True)):
        with pytest.raises(UserError, match="it: expected an address that begins with https://, got http"):
            require_safe_address(address, "it", local_allowed=allowed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (submission_server.URL, "file://localhost/etc"),
        (submission_server.URL, "https://ada:secret@example.org"),
        (submission_server.URL, "https://["),
        (submission_server.PHASE, "²"),
        (submission_server.PHASE, "9" * 5000),
        (submission_server.TOKEN, "a\nb"),
    ],
)
def test_odd_settings_are_refused(name: str, value: str):
    variables = {submission_server.URL: "https://example.org", submission_server.PHASE: "1"}
    variables |= {submission_server.TOKEN: "t", name: value}
    with pytest.raises(UserError, match=name) as caught:
        Access.from_environment(variables)
    assert value not in str(caught.value)


@pytest.mark.parametrize("key", [None, [], {}, True, 1.5])
def test_odd_keys_are_refused(archive: Path, key: object):
    with Codabench() as bench:
        bench.place = {"key": key}
        with pytest.raises(UserError, match="no usable 'key'"):
            server_of(bench).submit(archive)


@pytest.mark.parametrize("asked", ["99999999", "9" * 15, "301"])
def test_a_long_pause_is_not_waited_for(archive: Path, asked: str):
    with Codabench(failures=[(429, {"Retry-After": asked})]) as bench:
        with pytest.raises(UserError, match=r"the server asks to wait \d+ s"):
            server_of(bench, sleep=lambda _: pytest.fail("it waited")).submit(archive)


@pytest.mark.parametrize("asked", ["²", "9" * 999, "-5", "nan", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_an_odd_pause_is_not_heard(archive: Path, asked: str):
    waits: list[float] = []
    with Codabench(failures=[(503, {"Retry-After": asked})]) as bench:
        assert server_of(bench, sleep=waits.append).submit(archive) == 77
    assert len(waits) == 1 and 1 < waits[0] < 3


@pytest.mark.parametrize(
    "behaviour",
    [
        sends(b'{"id": 77', length=100),
        sends(b'{"id": "\\u001b[2J"}'),
        sends(b'{"id": 1e400}'),
        sends(b'{"id": [77]}'),
        sends(b'{"id": true}'),
        sends(b'{"id": -1}'),
        sends(b'{"id": ' + b"9" * 9999 + b"}"),
        sends(b'{"id": ' + b"9" * 400 + b"}"),
        sends(b"{}"),
        sends(b"<html>"),
        drips,
    ],
)
def test_when_the_number_is_lost_the_message_says_that_it_may_be_in(archive: Path, behaviour):
    with Codabench() as bench:
        bench.misbehaviour[HAND_IN] = behaviour
        with pytest.raises(UserError, match="it may have been taken: look at http://127.0.0.1") as caught:
            server_of(bench).submit(archive)
    assert [path for _, path in bench.seen].count(HAND_IN) == 1
    assert str(caught.value).isprintable()


def test_a_number_may_be_a_string(archive: Path):
    with Codabench() as bench:
        bench.misbehaviour[HAND_IN] = sends(b'{"id": "123"}')
        assert server_of(bench).submit(archive) == 123


@pytest.mark.parametrize("behaviour", [sends(b"{", length=9), sends(b"[" * 99999), floods, sends(b"x", status=404)])
def test_the_number_is_known_when_the_waiting_fails(archive: Path, behaviour):
    with Codabench() as bench:
        server = server_of(bench)
        number = server.submit(archive)
        bench.misbehaviour[RECORD] = behaviour
        with pytest.raises(UserError, match="submission 77 is handed in; could not ask for the score"):
            server.wait(number)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (None, []),
        (7, []),
        ([7, None, {"index": 0, "score": 1}], [("0", "1")]),
        ([{"column_key": "\x1b[2JAP", "score": ["x"]}], [("\\x1b[2JAP", "a list")]),
        ([{"column_key": PASSWORD, "score": 0.5}], [("***", "0.5")]),
    ],
)
def test_odd_scores_are_printed_safely(archive: Path, scores: object, expected: list):
    with Codabench(states=["Finished"]) as bench:
        bench.scores = scores
        server = server_of(bench)
        assert server.scores(server.wait(server.submit(archive))) == expected


@pytest.mark.parametrize("status", [["Finished"], {"a": 1}, None, "\x1b[2J", 10**300])
def test_odd_states_are_no_end(archive: Path, status: object):
    with Codabench(states=[status]) as bench:
        server = server_of(bench)
        number = server.submit(archive)
        with pytest.raises(UserError, match="submission 77 is still") as caught:
            server.wait(number, every=1, limit=2)
    assert str(caught.value).isprintable()


def test_an_upload_that_is_not_taken(archive: Path):
    with Codabench() as bench:
        bench.misbehaviour[UPLOAD] = sends(b"\x1b[2Jdenied", status=403)
        with pytest.raises(
            UserError, match=r"could not upload the archive: the server says 403 Forbidden: .x1b\[2Jdenied"
        ):
            server_of(bench).submit(archive)


def test_a_reply_of_the_largest_size_is_read(archive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(submission_http, "MAX_REPLY", 1 << 20)
    with Codabench() as bench:
        bench.misbehaviour[LOGIN] = sends(json.dumps({"token": TOKEN}).encode().ljust(1 << 20))
        assert server_of(bench).submit(archive) == 77


class TestPlacesOfTheArchive:
    """Where ``submit.py`` may write to."""

    def test_inputs_are_never_overwritten(self, tmp_path: Path):
        results, annotations = tmp_path / "results.json", tmp_path / "valid.zip"
        results.write_text("[]")
        annotations.write_text("{}")
        (tmp_path / "linked.zip").symlink_to(results)
        (tmp_path / "hard.zip").hardlink_to(results)
        for output in (annotations, tmp_path / "linked.zip", tmp_path / "hard.zip"):
            with pytest.raises(UserError, match="is an input of this very command"):
                submit.archive_for(results, annotations, output)

    @pytest.mark.parametrize("output", ["results.json", "x.tar", "folder.zip", "file/x.zip"])
    def test_odd_outputs_are_refused(self, tmp_path: Path, output: str):
        (tmp_path / "folder.zip").mkdir()
        (tmp_path / "file").write_text("")
        results = tmp_path / "results.json"
        results.write_text("[]")
        with pytest.raises(UserError):
            submit.archive_for(results, tmp_path / "a.json", tmp_path / output)

    def test_an_archive_is_sent_as_it_is(self, tmp_path: Path):
        packed, annotations = tmp_path / "mine.zip", tmp_path / "a.json"
        assert submit.archive_for(packed, annotations, None) == packed
        with pytest.raises(UserError, match="leave --output away"):
            submit.archive_for(packed, annotations, tmp_path / "other.zip")
        with pytest.raises(UserError, match="only a .json can be packed"):
            submit.archive_for(tmp_path / "results.json.gz", annotations, None)
