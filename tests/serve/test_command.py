"""``mindvideo serve`` as a user starts it: a small random network from the upload to the results; mistakes; Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from mindvideo.config.load import config_folder, read_with_bases
from tests.inference.colored_videos import make_frame
from tests.serve.visitor import Visitor

SERVE = [sys.executable, "-m", "mindvideo", "serve"]
# Writes weights of a random network, in a process of its own: this one stays free of MindSpore.
WRITE_WEIGHTS = """
import sys, mindspore, mindvideo
mindspore.save_checkpoint(mindvideo.build_model(sys.argv[1]), sys.argv[2])
"""


def small_run(folder: Path) -> Path:
    """A folder as of a training: the configuration of a tiny VisTR and its weights, which are random."""
    content = read_with_bases(config_folder() / "vistr" / "vistr_toy.yaml")
    tiny = {"encoder_layers": 1, "decoder_layers": 1, "num_queries": 4, "width": 24, "hidden": 20, "mask_channels": 8}
    content["vistr"].update(tiny, query_anchors=[2, 2], mask_widths=[8], token_levels=2)
    content["data"]["num_frames"] = 2
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-c", WRITE_WEIGHTS, str(folder / "config.yaml"), str(folder / "best.ckpt")]
    subprocess.run(command, check=True)
    return folder


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[Visitor, subprocess.Popen[str]]]:
    process = subprocess.Popen([*SERVE, "--port", "0", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        address = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
        yield Visitor(int(address[1])), process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_a_run_from_the_upload_to_the_results(tmp_path: Path) -> None:
    small_run(tmp_path / "runs" / "mine")
    with started(tmp_path) as (visitor, process):
        offered = visitor.get("/api/state").json
        assert [each["name"] for each in offered["weights"]] == ["mine/best.ckpt"]
        assert offered["weights"][0]["configuration"] == offered["configurations"][0]["name"] == "mine (its own)"
        files = []
        for index in range(3):
            stream = io.BytesIO()
            Image.fromarray(make_frame(index, (48, 64))).save(stream, "PNG")
            files.append((f"{index}.png", stream.getvalue()))
        upload = visitor.upload(*files)
        job = visitor.start(upload, "mine/best.ckpt", configuration="mine (its own)", confidence=0.0).json["id"]
        found = visitor.wait(job, "done", "failed", seconds=240)
        assert (found["state"], found["frames"]) == ("done", 3), found
        results = visitor.get(f"/api/jobs/{job}/downloads/json").json
        facts = visitor.get(f"/api/jobs/{job}/tracks").json
        shown = {track["id"] for track in facts["tracks"] if not track["covered"]}
        assert {record["track_id"] for record in results} == shown
        assert all(len(record["segmentations"]) == 3 for record in results)
    assert process.returncode == 0
    assert (tmp_path / "runs" / "serve" / "jobs" / job / "result" / "results.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "vistr_toi"], "no configuration 'vistr_toi'"),
        (["--weights", "missing.ckpt"], "--weights missing.ckpt: no such file"),
        (["--models", "missing"], "--models missing: no such folder"),
        (["--port", "70000"], "70000: a whole number from 0 to 65535 is needed"),
        (["--max-upload", "0"], "--max-upload"),
        (["--host", "203.0.113.7"], "203.0.113.7:7860: cannot listen there"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = subprocess.run([*SERVE, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_port_in_use_and_a_folder_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run([*SERVE, "--port", port], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and "--port 0 takes a free port" in done.stderr
    with started(tmp_path) as (visitor, process):
        assert b"<title>mindvideo</title>" in visitor.get("/").content
        done = subprocess.run([*SERVE, "--port", "0"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and "is in use by another mindvideo command" in done.stderr
    assert process.returncode == 0
