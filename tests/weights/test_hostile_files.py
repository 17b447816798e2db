"""Files made to do harm, and files damaged at random: one clear line or a clean load, with little memory and time.

They are opened in a process of their own (``hostile_files.py``), since the worst of them used to end it.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.errors import UserError
from mindvideo.weights import checkpoint_file
from tests.weights import hostile_files

PROJECT = Path(__file__).resolve().parents[2]
CONVERT = PROJECT / "tools" / "segmentation" / "convert.py"
NAMES = list(hostile_files.hostile_files())
# Odd files that are read all the same: damage that touches no weight.
HARMLESS = {
    "many empty lists.safetensors",
    "name that is not UTF-8.ckpt",
    "expressions in the provenance.ckpt",
    "escape sequences in the provenance.ckpt",
    "provenance that is a list.pth",
    "shape changed afterwards, inside.pth",
    "shape changed afterwards, before 1.6.pth",
}


def run(*arguments: object) -> subprocess.CompletedProcess:
    variables = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """Case -> (what came of it, seconds)."""
    done = run(hostile_files.__file__, tmp_path_factory.mktemp("hostile"))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the process ended with {done.returncode} at {rows[-1][0]!r}: {done.stderr[-500:]}"
    return {name: (found, seconds) for name, found, seconds in rows if found is not None}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_file(outcomes, name: str):
    found, _ = outcomes[name]
    assert found == "loaded" if name in HARMLESS else found.startswith("refused: "), found
    assert found.isprintable() and len(found) < 800


def test_sound_files_load_and_damaged_ones_are_refused_or_load(outcomes):
    sound = {name: found for name, (found, _) in outcomes.items() if name.startswith("sound")}
    assert len(sound) == 4 and set(sound.values()) == {"loaded"}
    damaged = {name: found for name, (found, _) in outcomes.items() if name.startswith("seed ")}
    wrong = {name: found for name, found in damaged.items() if not found.startswith(("refused: ", "loaded"))}
    assert not wrong
    assert sum(found.startswith("refused: ") for found in damaged.values()) > len(damaged) // 2
    assert all(found.isprintable() for found in damaged.values())


def test_nothing_takes_long(outcomes):
    slow = {name: seconds for name, (_, seconds) in outcomes.items() if seconds > hostile_files.SECONDS / 2}
    assert not slow


def test_the_tool_refuses_a_hundred_dimensions(tmp_path: Path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    done = run(CONVERT, "--inspect", path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: weights {path}: a tensor has 100 dimensions; at most 32 are allowed, the file is damaged\n"
    )


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "device", "below a file", "long name"])
def test_what_is_no_file(tmp_path: Path, kind: str):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    places = {"folder": tmp_path, "device": "/dev/zero", "below a file": tmp_path / "file" / "w"}
    path = {**places, "pipe": tmp_path / "pipe", "long name": tmp_path / ("n" * 300)}.get(kind, tmp_path / "missing")
    done = run(CONVERT, "--inspect", path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: weights ")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    (tmp_path / "w.ckpt").write_bytes(b"x")

    def fail(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint_file, "map_file", fail)
    with pytest.raises(UserError, match=f"cannot be read .{os.strerror(number)}"):
        checkpoint_file.open_checkpoint(tmp_path / "w.ckpt")
