"""docs/adding_a_family.md, done: its files are written, its row is put in, and the commands train and track with it."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mindvideo.models
from mindvideo.assembly.configuration import load_config
from mindvideo.errors import UserError
from mindvideo.models.registry import FAMILIES
from tests.inference.colored_videos import write_frame_folder
from tests.test_layout import LONGEST_FUNCTION, PROJECT, may_import
from tests.test_vocabulary import old_words

PAGE = (PROJECT / "docs" / "adding_a_family.md").read_text(encoding="utf-8")
# A line with the path of a file, then its content.
FILES = dict(re.findall(r"^`((?:mindvideo|config)/[\w/.]+)`\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
[(NAME, PACKAGE)] = re.findall(r'^"(\w+)": "([\w.]+)",$', PAGE, re.MULTILINE)


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The family in the registry; gives the folder that holds its YAML."""
    for place, content in FILES.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (tmp_path / "mindvideo" / "models" / NAME / "__init__.py").touch()
    monkeypatch.setattr(mindvideo.models, "__path__", [*mindvideo.models.__path__, str(tmp_path / "mindvideo/models")])
    monkeypatch.setitem(FAMILIES, NAME, PACKAGE)
    yield tmp_path / "config" / NAME
    for module in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[module]


def run(command: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
    return importlib.import_module(f"mindvideo.cli.{command}").main()


def test_the_page_holds_every_file():
    names = {Path(place).name for place in FILES}
    assert names == {"settings.py", "network.py", "training.py", "inference.py", "card.py", f"{NAME}_toy.yaml"}
    assert PACKAGE == f"mindvideo.models.{NAME}"


def test_the_files_keep_the_house_rules():
    for place, content in FILES.items():
        if not place.endswith(".py"):
            continue
        assert old_words(content) == [], place
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mindvideo"):
                assert may_import("models", node.module), f"{place} imports {node.module}"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION


def test_it_trains_and_tracks(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, config = tmp_path / "data", family / f"{NAME}_toy.yaml"
    made = ("synthetic", "--output", data / "synthetic_easy", "--train", 4, "--valid", 1, "--mp4", 0)
    assert run("prepare", *made, monkeypatch=monkeypatch) == 0

    small = (f"{NAME}.width=16", "data.batch_size=2", "data.workers=0")
    asked = ("-c", config, "--output", tmp_path / "run", *small, f"data.root={data}", "schedule.max_steps=1")
    assert run("train", *asked, monkeypatch=monkeypatch) == 0
    [weights] = (tmp_path / "run").rglob("last.ckpt")

    video = write_frame_folder(tmp_path / "clip", 7, (64, 96))  # longer than a window of 5 frames
    asked = ("-c", config, "--weights", weights, "--input", video, "--output", tmp_path / "out", *small)
    # After one step no query is sure enough to begin a track of any length; the published procedure shows all.
    published = ("inference.confidence=0.0", "inference.any_length=nowhere")
    assert run("infer", *asked, *published, monkeypatch=monkeypatch) == 0
    records = json.loads((tmp_path / "out" / "clip" / "results.json").read_text())
    assert records and all(len(record["segmentations"]) == 7 for record in records)


def test_a_shared_key_that_it_does_not_read_is_refused(family: Path):
    with pytest.raises(UserError, match="link_similarity"):
        load_config(family / f"{NAME}_toy.yaml", ["inference.link_similarity=0.5"])
