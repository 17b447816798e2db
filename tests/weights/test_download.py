"""Downloads from a server that cuts off, lies and answers slowly. No MindSpore."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.errors import UserError
from mindvideo.weights import download
from mindvideo.weights.download import Download, fetch
from tests.weights.web_server import serving

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", 5)
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cache" / "model.pth"


def left(place) -> set[str]:
    return {path.name for path in place.parent.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], None])
def test_a_file_comes_whole_and_only_once(server, place, sha256):
    for _ in range(2):
        assert fetch(Download(f"{server.address}/f", place, sha256=sha256, size=len(CONTENT))) == place
    assert place.read_bytes() == CONTENT and len(server.requests) == 1 and left(place) == {place.name}


def test_a_download_goes_on_where_it_was_cut_off(server, place):
    server.headers = {"ETag": '"one"'}
    server.cuts = [100_000, 50_000]
    fetch(Download(f"{server.address}/f", place, sha256=SHA256))
    assert place.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=100000-", "bytes=150000-"]


def test_what_is_done_is_kept_for_the_next_command(server, place):
    server.cuts = [50_000] * 4
    with pytest.raises(UserError, match=r"cannot be downloaded .*0.2 MB are kept, the same command goes on") as caught:
        fetch(Download(f"{server.address}/f", place, sha256=SHA256, advice="Open the page."))
    assert "\n" not in str(caught.value) and str(caught.value).endswith("Open the page.")
    assert not place.exists()
    fetch(Download(f"{server.address}/f", place, sha256=SHA256))
    assert place.read_bytes() == CONTENT and server.requests[-1] == "bytes=200000-"


def test_another_file_of_that_address_is_not_continued(server, place):
    """The server's file has changed, or the server does not know ranges: the download begins anew."""
    for ranges in (True, False):
        server.headers, server.ranges, server.cuts = {"ETag": '"old"'}, ranges, [9_000] * 4
        with pytest.raises(UserError):
            fetch(Download(f"{server.address}/f", place))
        server.headers = {"ETag": '"new"'}
        fetch(Download(f"{server.address}/f", place, sha256=SHA256))
        assert place.read_bytes() == CONTENT
        place.unlink()


def test_a_partial_file_that_is_too_long_is_thrown_away(server, place):
    server.cuts = [9_000] * 4
    wanted = Download(f"{server.address}/f", place, sha256=SHA256)
    with pytest.raises(UserError):
        fetch(wanted)
    wanted.partial.write_bytes(CONTENT + b"more")
    fetch(wanted)
    assert place.read_bytes() == CONTENT


def test_a_wrong_check_sum(server, place):
    with pytest.raises(UserError, match=f"SHA-256 is {SHA256[:16]}.* and not {'0' * 64}.*thrown away"):
        fetch(Download(f"{server.address}/f", place, sha256="0" * 64))
    assert left(place) == set()


def test_the_check_sum_that_the_first_server_states(server, place):
    """Hugging Face sends on to another server, and says before what the file's SHA-256 is."""
    server.linked_etag = f'"{"1" * 64}"'
    with pytest.raises(UserError, match=f"and not {'1' * 64}"):
        fetch(Download(f"{server.address}/redirect", place))
    server.linked_etag = f'"{SHA256}"'
    fetch(Download(f"{server.address}/redirect", place))
    assert place.read_bytes() == CONTENT


def test_answers_that_are_no_file(server, place):
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(UserError, match=r"sends a web page instead of the file\. By hand\.$"):
        fetch(Download(f"{server.address}/f", place, advice="By hand."))
    server.headers, server.statuses = {}, [404]
    with pytest.raises(UserError, match="answers 404 Not Found"):
        fetch(Download(f"{server.address}/f", place))
    server.statuses = [500, 503]
    fetch(Download(f"{server.address}/f", place))
    place.unlink()
    with pytest.raises(UserError, match="300000 bytes; 17 are stated"):
        fetch(Download(f"{server.address}/f", place, size=17))
    assert left(place) == set()


def test_no_network(place, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with pytest.raises(UserError, match=r"cannot be downloaded .*refused\)\. Open https://x and put it there$"):
        fetch(Download("http://127.0.0.1:9/f", place, advice="Open https://x and put it there"))


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written: .* is not a folder"):
        fetch(Download(f"{server.address}/f", tmp_path / "file" / "model.pth"))
    with pytest.raises(UserError, match="cannot be written"):  # where not even root makes a folder
        fetch(Download(f"{server.address}/f", Path("/proc/mindvideo/model.pth")))
    assert server.requests == []


def test_two_processes_fetch_one_file(server, place):
    server.pause = 0.05  # so that the second one comes while the first is at it
    script = (
        "import sys; from pathlib import Path; from mindvideo.weights.download import Download, fetch; "
        "fetch(Download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3]))"
    )
    command = [sys.executable, "-c", script, f"{server.address}/f", str(place), SHA256]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert place.read_bytes() == CONTENT and server.requests == [None]
    assert sorted("another process is downloading it" in text for text in said) == [False, True]
