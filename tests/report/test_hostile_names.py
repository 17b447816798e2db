"""Names that would be markup: wherever they come from, the pages show them and nothing of them is a tag or a script."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mindvideo.files import write_json
from mindvideo.report.comparison import read_run, write_comparison
from mindvideo.report.run_report import ReportOptions, write_report
from tests.report import made_up_run

NAMES = {
    "tag": "<evil onload=x>",
    "end of script": "</script><evil>",
    "comment in script": "<!--<script>",
    "attribute": '" onmouseover="evil()" x=\'',
    "entity": "&lt;evil&gt;&#60;evil&#62;",
    "template": "$sections ${videos} $evil",
    "line ends": "a\u2028b\u2029c\n<evil>",
    "url": "javascript:evil()",
}


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag == "wbr":  # where a long title may be broken
            return
        self.found += [(tag, "")] + [(tag, name) for name, _ in attributes]
        self.addresses += [value or "" for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data):
        if self.lasttag == "script":
            self.scripts.append(data)


def check(hostile: Path, harmless: Path) -> None:
    """The same tags, attributes and scripts (but for the data) as with a harmless name."""
    attacked, plain = (Tags(path.read_text(encoding="utf-8")) for path in (hostile, harmless))
    assert attacked.found == plain.found
    assert not any("evil" in address for address in attacked.addresses)
    data, *code = attacked.scripts
    assert code == plain.scripts[1:] and isinstance(json.loads(data), list)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    annotations, _ = made_up_run.write_set(tmp_path_factory.mktemp("set"), num_videos=2, num_frames=2)
    return made_up_run.evaluate_set(annotations)


def renamed(evaluated, name: str):
    """The evaluation with a class and a video of that name."""
    evaluation, results = evaluated
    truth = evaluation.ground_truth
    first, *rest = truth.videos
    first = dataclasses.replace(first, file_names=tuple(f"{name}/{n}.jpg" for n in range(len(first.file_names))))
    truth = dataclasses.replace(truth, categories={**truth.categories, 1: name}, videos=[first, *rest])
    return dataclasses.replace(evaluation, ground_truth=truth), results


def run_folder(folder: Path, evaluation, name: str) -> Path:
    write_json(folder / "metrics.json", evaluation.metrics())
    write_json(folder / "environment.json", {"command": f"mindvideo {name}", "packages": {name: name}, "weights": name})
    write_json(folder / "evaluated.json", {"annotations": name})
    write_json(folder / "config.yaml", {"name": name, "data": {"root": name if name != "plain" else "other"}})
    records = [{"kind": "train", "step": step, "loss": 1.0, f"loss_{name}": 2.0} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return folder


def pages(folder: Path, evaluated, name: str) -> tuple[Path, Path]:
    evaluation, results = renamed(evaluated, name)
    run = run_folder(folder / "run", evaluation, name)
    report = write_report(run, evaluation, results, frames=None, options=ReportOptions(title=name))
    runs = [read_run(run, name), read_run(run_folder(folder / "other", evaluation, "plain"), "other")]
    write_comparison(folder / "comparison.html", runs, title=name)
    return report, folder / "comparison.html"


@pytest.fixture(scope="module")
def harmless(evaluated, tmp_path_factory) -> tuple[Path, Path]:
    return pages(tmp_path_factory.mktemp("harmless"), evaluated, "harmless")


@pytest.mark.parametrize("kind", NAMES)
def test_names_stay_names(kind, evaluated, harmless, tmp_path):
    for hostile, plain in zip(pages(tmp_path, evaluated, NAMES[kind]), harmless):
        check(hostile, plain)
