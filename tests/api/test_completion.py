"""Completion in a shell: the scripts that are printed, and what bash makes of one. No MindSpore."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from mindvideo.cli import COMMANDS, completion
from mindvideo.cli.completion import options_of, script


@pytest.fixture(scope="module")
def options() -> dict[str, list[str]]:
    return {name: options_of(name) for name in COMMANDS}


def test_every_commands_options_are_known(options):
    assert all("--help" in known for known in options.values()), {n for n, k in options.items() if "--help" not in k}
    assert {"--config", "-c", "--weights", "--frames", "--redraw"} <= set(options["infer"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mindvideo", "tra"], ["train"]),
        (["mindvideo", "infer", "--fr"], ["--frames"]),
        (["mindvideo", "eval", "-c", "vistr_t"], ["vistr_toy"]),
        (["mindvideo", "infer", "--weights", "vistr_r1"], ["vistr_r101"]),
        (["mindvideo", "infer", "clip"], ["clip.mp4"]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(options, words, expected, tmp_path):
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "script").write_text(script("bash", options, COMMANDS))
    ask = f"source ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _mindvideo; "
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected and not done.stderr


def test_the_other_shells(options, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mindvideo completion", "fish"])
    assert completion.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("__fish_use_subcommand" in line for line in lines) == len(COMMANDS)
    assert any("from infer'" in line and "-l weights" in line and "vistr_r50" in line for line in lines)
    assert script("zsh", options, COMMANDS).startswith("autoload -U +X bashcompinit")
