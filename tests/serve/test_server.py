"""The server over HTTP, with a stub model: uploads, edits, downloads, restarts, crashes, hostile visitors."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.inference.output.colors import track_color
from mindvideo.inference.output.mask_pictures import LEGEND
from mindvideo.inference.output.results import load_results
from mindvideo.serve.guard import Guard
from mindvideo.serve.jobs import MAX_BEGUN, JobStore
from mindvideo.serve.limits import Limits
from mindvideo.serve.server import running_server
from tests.inference.colored_videos import make_frame, true_masks, write_video
from tests.serve.visitor import Visitor, served

SIZE = (60, 80)
LENGTH = 6


def frames_of(length: int = LENGTH, folder: str = "my <frames>") -> list[tuple[str, bytes]]:
    """PNG files of coloured discs in another order than their numbers say."""
    files = []
    for index in range(length):
        stream = io.BytesIO()
        Image.fromarray(make_frame(index, SIZE)).save(stream, "PNG")
        files.append((f"{folder}/frame{index}.png", stream.getvalue()))
    return files[::-1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "served"


@pytest.fixture(scope="module")
def visitor(place: Path):
    with served(place, limits=Limits(upload_bytes=3_000_000), stop_seconds=3.0) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def done(visitor: Visitor) -> str:
    """A folder of frames that was looked at to its end."""
    job = visitor.start(visitor.upload(*frames_of())).json["id"]
    found = visitor.wait(job, "done", "failed")
    assert found["state"] == "done", found
    return job


def test_a_folder_of_frames_becomes_tracks(visitor: Visitor, done: str) -> None:
    job = visitor.job(done)
    assert (job["name"], job["frames"], job["num_tracks"]) == ("my <frames>", LENGTH, 3)
    facts = visitor.get(f"/api/jobs/{done}/tracks").json
    assert (facts["height"], facts["width"], facts["frames"]) == (*SIZE, LENGTH)
    assert [(track["id"], track["first"], track["last"]) for track in facts["tracks"]] == [
        (track, 0, LENGTH - 1) for track in (1, 2, 3)
    ]
    lines = visitor.get(f"/api/jobs/{done}/frames?start=2&count=3").json
    assert [line["frame"] for line in lines] == [2, 3, 4]
    assert visitor.get(f"/api/jobs/{done}/frames?start=99&count=3").json == []
    assert visitor.get(f"/api/jobs/{done}/preview").content[:2] == b"\xff\xd8"


def test_parts_of_the_video_can_be_asked_for(visitor: Visitor, done: str) -> None:
    whole = visitor.get(f"/api/jobs/{done}/video")
    assert whole.status == 200 and whole.headers["Accept-Ranges"] == "bytes" and whole.content[4:8] == b"ftyp"
    size = len(whole.content)
    part = visitor.get(f"/api/jobs/{done}/video", Range="bytes=10-19")
    assert part.status == 206 and part.content == whole.content[10:20]
    assert part.headers["Content-Range"] == f"bytes 10-19/{size}"
    assert visitor.get(f"/api/jobs/{done}/video", Range="bytes=-5").content == whole.content[-5:]
    assert visitor.get(f"/api/jobs/{done}/video", Range="bytes=0-").status == 206
    assert visitor.get(f"/api/jobs/{done}/video", Range=f"bytes={size}-").status == 416


def test_downloads_are_as_the_visitor_made_them(visitor: Visitor, done: str, tmp_path: Path) -> None:
    edits = {"confidence": 0.2, "hidden": {"2": True}, "names": {"1": "the <red> one"}, "colors": {"3": "#00FFFF"}}
    assert visitor.ask("PUT", f"/api/jobs/{done}/edits", edits).status == 200
    address = f"/api/jobs/{done}/downloads"
    assert visitor.ask("POST", f"{address}/video").json == {"address": f"{address}/video"}
    video = visitor.get(f"{address}/video")
    assert video.headers["Content-Disposition"].endswith("my%20%3Cframes%3E-overlay.mp4")
    (tmp_path / "overlay.mp4").write_bytes(video.content)
    with find_videos(tmp_path / "overlay.mp4")[0].open() as reader:
        drawn = [frame.image for frame in reader.frames()]
    assert len(drawn) == LENGTH
    scale = drawn[0].shape[0] // SIZE[0]
    middles = {track: drawn[0][::scale, ::scale][mask].mean(axis=0) for track, mask in true_masks(0, SIZE).items()}
    assert np.abs(middles[2] - (30, 200, 40)).max() < 30  # hidden: as the disc itself is
    assert middles[3][1] > 100  # tinted with green and blue where the disc is blue

    records = visitor.get(f"{address}/json").json
    assert [(record["track_id"], record["name"], record["color"]) for record in records] == [
        (1, "the <red> one", "#{:02x}{:02x}{:02x}".format(*track_color(1))),
        (3, "blue", "#00ffff"),
    ]
    (tmp_path / "results.json").write_text(json.dumps(records))
    assert len(next(iter(load_results(tmp_path / "results.json").values()))) == 2

    table = list(csv.DictReader(io.StringIO(visitor.get(f"{address}/csv").content.decode())))
    assert len(table) == 2 * LENGTH and {(row["track"], row["class"]) for row in table} == {
        ("1", "the <red> one"),
        ("3", "blue"),
    }
    assert float(table[0]["area"]) == true_masks(0, SIZE)[1].sum()
    corrected = ElementTree.fromstring(visitor.get(f"{address}/cvat").content)
    assert [track.get("label") for track in corrected.iter("track")] == ["the <red> one", "blue"]
    assert [label.text for label in corrected.iterfind("meta/task/labels/label/name")] == ["blue", "the <red> one"]
    with zipfile.ZipFile(io.BytesIO(visitor.get(f"{address}/masks").content)) as archive:
        assert archive.namelist() == [*(f"{index:06d}.png" for index in range(LENGTH)), LEGEND]
        picture = np.array(Image.open(io.BytesIO(archive.read("000003.png"))))
        assert (picture == np.where(true_masks(3, SIZE)[1], 1, np.where(true_masks(3, SIZE)[3], 3, 0))).all()
        names = [entry["name"] for entry in json.loads(archive.read(LEGEND))["tracks"]]
    assert names == ["the <red> one", "blue"]
    assert visitor.ask("PUT", f"/api/jobs/{done}/edits", {"confidence": 0.3}).status == 200
    assert "'=1+1" in visitor.get(f"{address}/csv").content.decode()  # no formula for a spreadsheet


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"confidence": 2}, "from 0 to 1"),
        ({"confidence": 0.5, "hidden": {"7": True}}, "no track 7"),
        ({"confidence": 0.5, "colors": {"1": "red; }"}}, "#ff8000"),
        ({"confidence": 0.5, "names": {"1": 3}}, "strings"),
        ({"confidence": 0.5, "names": {"../1": "x"}}, "no track"),
        ({"confidence": 0.5, "hidden": [1]}, "an object with track ids"),
    ],
)
def test_edits_that_are_none(visitor: Visitor, done: str, edits: dict, message: str) -> None:
    reply = visitor.ask("PUT", f"/api/jobs/{done}/edits", edits)
    assert reply.status == 400 and message in reply.json["error"]


def test_a_zip_and_a_video_file(visitor: Visitor, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in frames_of(3, "../../up/deep"):
            archive.writestr(name, content)
        archive.writestr("__MACOSX/deep/._frame0.png", b"junk")
        archive.writestr("readme.txt", b"words")
    zipped = visitor.start(visitor.upload(("set.zip", packed.getvalue()))).json["id"]
    video = write_video(tmp_path / "clip.mp4", 5).read_bytes()
    filmed = visitor.start(visitor.upload(("../../etc/clip.mp4", video)), name="holiday").json["id"]
    assert visitor.wait(zipped, "done", "failed")["frames"] == 3
    found = visitor.wait(filmed, "done", "failed")
    assert (found["state"], found["name"], found["frames"]) == ("done", "holiday", 5)
    assert visitor.get(f"/api/jobs/{filmed}/tracks").json["rate"] == 25
    assert visitor.ask("DELETE", f"/api/jobs/{zipped}").status == 200
    assert visitor.get(f"/api/jobs/{zipped}/tracks").status == 400


def test_an_animated_gif_is_a_video(visitor: Visitor) -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(make_frame(index, SIZE)) for index in range(3)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100)
    job = visitor.start(visitor.upload(("discs.gif", stream.getvalue()))).json["id"]
    assert visitor.wait(job, "done", "failed")["frames"] == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"words", "notes.txt: not known as a video"),
        ("empty.mp4", b"", "empty.mp4: the file is empty"),
        ("", b"words", "video: not known"),
    ],
)
def test_files_that_are_not_taken(visitor: Visitor, name: str, content: bytes, message: str) -> None:
    upload = visitor.upload()
    reply = visitor.ask("PUT", f"/api/uploads/{upload}?name={name}", content)
    assert reply.status in (400, 413) and message in reply.json["error"]
    assert "no file has arrived" in visitor.start(upload).json["error"]


def bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(3_000_001))
    return packed.getvalue()


def lying_bomb() -> bytes:
    """As :func:`bomb`, but it says that it holds 10 bytes."""
    return bomb().replace((3_000_001).to_bytes(4, "little"), (10).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK no zip", "the zip cannot be read"),
        (bomb(), "the zip holds 3.0 MB; at most 3.0 MB are taken"),
        (lying_bomb(), "the zip cannot be read"),
    ],
)
def test_zips_that_are_none_or_too_much(visitor: Visitor, place: Path, content: bytes, message: str) -> None:
    reply = visitor.start(visitor.upload(("a.zip", content)))
    assert reply.status == 400 and message in reply.json["error"]
    assert list((place / "uploads").iterdir()) == []


def test_ten_gigabytes_are_refused_before_they_are_sent(visitor: Visitor, place: Path) -> None:
    upload = visitor.upload()
    with socket.create_connection(("127.0.0.1", visitor.port), timeout=10) as connection:
        request = f"PUT /api/uploads/{upload}?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\nX-Mindvideo: 1\r\n"
        connection.sendall(f"{request}Content-Length: 10000000000\r\n\r\n".encode())
        answer = connection.recv(4096).decode()
    assert " 413 " in answer.splitlines()[0]
    whole = visitor.ask("PUT", f"/api/uploads/{upload}?name=a.mp4", bytes(3_000_001))
    assert whole.status == 413 and "3.0 MB are too much: at most 3.0 MB" in whole.json["error"]
    half = bytes(1_600_000)
    assert visitor.ask("PUT", f"/api/uploads/{upload}?name=a.png", half).status == 200
    assert visitor.ask("PUT", f"/api/uploads/{upload}?name=b.png", half).status == 413  # together they are too much
    assert visitor.ask("DELETE", f"/api/uploads/{upload}").status == 200
    assert list((place / "uploads").iterdir()) == []


def test_an_address_that_is_none(visitor: Visitor) -> None:
    with socket.create_connection(("127.0.0.1", visitor.port), timeout=10) as connection:
        connection.sendall(b"GET http://[x/api HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in connection.recv(4096).splitlines()[0]


def test_an_upload_that_breaks_off_leaves_nothing(visitor: Visitor, place: Path) -> None:
    upload = visitor.upload()
    with socket.create_connection(("127.0.0.1", visitor.port), timeout=10) as connection:
        request = f"PUT /api/uploads/{upload}?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\nX-Mindvideo: 1\r\n"
        connection.sendall(f"{request}Content-Length: 1000\r\n\r\nhalf".encode())
        connection.shutdown(socket.SHUT_WR)
        assert "cut off" in connection.makefile(encoding="utf-8").read()
    assert list((place / "uploads" / upload).iterdir()) == []
    visitor.ask("DELETE", f"/api/uploads/{upload}")


def test_what_goes_wrong_is_one_line_of_the_job(visitor: Visitor, tmp_path: Path) -> None:
    """Also the death of the process that runs the models, after which the next job gets a new one."""
    frames = frames_of(1)
    expected = {
        "broken.ckpt": "weights broken.ckpt do not fit",
        "bug.ckpt": "ZeroDivisionError: a fault of ours",
        "killed.ckpt": "the process that runs the model ended (SIGKILL, as a rule out of memory); worker.log has more",
    }
    jobs = {weights: visitor.start(visitor.upload(*frames), weights).json["id"] for weights in expected}
    hostile = visitor.start(visitor.upload(("film.mp4", b"\x00not a video" * 100))).json["id"]
    after = visitor.start(visitor.upload(*frames)).json["id"]
    for weights, message in expected.items():
        assert visitor.wait(jobs[weights], "failed", "done")["message"] == message
    found = visitor.wait(hostile, "failed", "done")
    assert found["state"] == "failed" and found["message"].startswith("video.mp4:") and "\n" not in found["message"]
    assert visitor.wait(after, "failed", "done")["state"] == "done"
    assert visitor.ask("POST", f"/api/jobs/{jobs['broken.ckpt']}/again").status == 200
    assert visitor.wait(jobs["broken.ckpt"], "failed")["begun"] == 1


def test_stop_and_begin_again(visitor: Visitor) -> None:
    job = visitor.start(visitor.upload(*frames_of(40)), "slow.ckpt").json["id"]
    waiting = visitor.start(visitor.upload(*frames_of(1))).json["id"]
    visitor.wait(job, "running")
    assert "stop it first" in visitor.ask("DELETE", f"/api/jobs/{job}").json["error"]
    assert visitor.ask("POST", f"/api/jobs/{waiting}/stop").json["state"] == "stopped"
    assert visitor.ask("POST", f"/api/jobs/{job}/stop").status == 200
    assert visitor.wait(job, "stopped", "done", "failed")["state"] == "stopped"
    assert visitor.get(f"/api/jobs/{job}/video").status == 404
    assert visitor.ask("POST", f"/api/jobs/{waiting}/again").status == 200
    assert visitor.wait(waiting, "done", "failed")["state"] == "done"


def test_the_queue_survives_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with served(folder) as visitor:
        running = visitor.start(visitor.upload(*frames_of(4)), "slow.ckpt").json["id"]
        waiting = visitor.start(visitor.upload(*frames_of(2))).json["id"]
        visitor.upload(("left.png", b"begun and never finished"))
        visitor.wait(running, "running")
        with pytest.raises(UserError, match="in use by another"), served(folder):
            pass
    assert json.loads((folder / "jobs" / running / "job.json").read_text())["state"] == "running"
    with served(folder) as visitor:
        found = visitor.wait(running, "done", "failed")
        assert (found["state"], found["frames"], found["begun"]) == ("done", 4, 2)
        assert visitor.wait(waiting, "done", "failed")["state"] == "done"
        assert list((folder / "uploads").iterdir()) == []


def test_a_job_that_ends_every_server_is_not_tried_for_ever(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    job = store.add(name="a", configuration="c", weights="w", confidence=0.3, inputs=inputs)
    store.update(job.id, state="running", begun=MAX_BEGUN)
    found = JobStore(tmp_path).get(job.id)
    assert (found.state, found.message) == ("failed", "begun 3 times and never came to an end; not tried again")
    (tmp_path / "jobs" / job.id / "job.json").write_text("{")
    assert JobStore(tmp_path).all() == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 403),  # DNS rebinding
        ("GET", "/api/jobs", {"Host": "localhost.evil.example:80"}, 403),
        ("GET", "/api/jobs", {"Host": "127.0.0.1:1"}, 200),
        ("GET", "/api/jobs", {"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ("GET", "/api/jobs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("POST", "/api/uploads", {"Origin": "http://evil.example"}, 403),
        ("POST", "/api/uploads", {"X-Mindvideo": None}, 403),
        ("POST", "/api/uploads", {"Transfer-Encoding": "chunked"}, 411),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "/assets/../guard.py", {}, 404),
        ("GET", "/assets/%2e%2e/guard.py", {}, 404),
        ("GET", "/api/jobs/../../x/video", {}, 404),
        ("GET", "/api/jobs/0000000000000000/video", {}, 400),
        ("DELETE", "/api/state", {}, 405),
        ("POST", "/", {}, 405),
    ],
)
def test_who_may_ask_for_what(visitor: Visitor, method: str, path: str, headers: dict, status: int) -> None:
    body = b"0\r\n\r\n" if "Transfer-Encoding" in headers else None
    assert visitor.ask(method, path, body, headers=headers).status == status


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": "/etc/passwd"}, "not among those"),
        ({"configuration": "../../x.yaml"}, "not among those"),
        ({"confidence": "high"}, "a number from 0 to 1"),
        ({"upload": "../.."}, "this upload is not known"),
    ],
)
def test_only_what_is_offered_can_be_chosen(visitor: Visitor, given: dict, message: str) -> None:
    reply = visitor.start(**{"upload": "0" * 16, **given})
    assert reply.status == 400 and message in reply.json["error"]


def test_every_answer_tells_the_browser_what_is_allowed(visitor: Visitor, done: str) -> None:
    for path in ("/", "/assets/serve.js", "/api/jobs", f"/api/jobs/{done}/video", "/nothing"):
        headers = visitor.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    page = visitor.get("/").content.decode()
    assert not re.search(r"https?://|\son\w+=|style=|<script>", page)  # nothing from elsewhere, nothing inline


def test_from_elsewhere_a_token_is_needed(tmp_path: Path) -> None:
    guard = Guard(names=frozenset({"studio"}), token="secret")
    with served(tmp_path / "served", guard=guard) as visitor:
        assert visitor.get("/", Host="studio:1").status == 401
        assert visitor.get("/?token=wrong").status == 401
        reply = visitor.get("/?token=secret", Host="studio:1")
        assert reply.status == 200 and "mindvideo=secret" in reply.headers["Set-Cookie"]
        assert visitor.get("/api/jobs", Cookie="mindvideo=secret").status == 200
        both = visitor.get("/?token=x%0d%0aX-Evil:1", Cookie="mindvideo=secret")
        assert both.status == 200 and "X-Evil" not in both.headers


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(UserError, match="cannot be written"), running_server(Path("/proc/mindvideo"), worker=[]):
        pass
