"""The schema itself: every key explained, checked and read by someone."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mindvideo.assembly.configuration import schema
from mindvideo.config.check import conform, value_problems
from mindvideo.config.headers import config_readme, read_header
from mindvideo.config.load import config_folder, known_configs
from mindvideo.config.readers import find_readers
from mindvideo.config.renamed import RENAMED_KEYS
from mindvideo.config.schema import KeySpec
from mindvideo.models.registry import FAMILIES, card_of

KEYS = schema().keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_card_carries_the_name_of_its_row(name):
    assert card_of(name).name == name


@pytest.mark.parametrize("spec", KEYS, ids=lambda spec: spec.path)
def test_every_key_has_a_meaning_and_a_valid_default(spec: KeySpec):
    assert spec.meaning and "\n" not in spec.meaning and not spec.meaning.endswith(".")
    value, fits = conform(spec.default, spec.type)
    assert fits, f"default {spec.default!r} is no {spec.type_name}"
    assert value_problems(spec, value) == []


def test_every_key_is_read_by_someone():
    readers = find_readers(schema())
    unread = [spec.path for spec in KEYS if spec.path not in readers]
    assert not unread, f"keys that nothing reads: {unread}"


def test_a_key_that_nothing_reads_is_noticed(tmp_path):
    (tmp_path / "mindvideo" / "cli").mkdir(parents=True)
    (tmp_path / "mindvideo" / "cli" / "some.py").write_text(
        "runtime = cfg.runtime\nprint(runtime.seed, cfg.data.workers)\n"
    )
    readers = find_readers(schema(), tmp_path)
    assert "runtime.seed" in readers and "data.workers" in readers
    assert "runtime.device" not in readers


@pytest.mark.parametrize("name", sorted(known_configs()))
def test_every_file_opens_with_a_full_header(name):
    assert read_header(known_configs()[name])


def test_the_readme_of_the_configurations_is_current():
    written = (config_folder() / "README.md").read_text(encoding="utf-8")
    assert written == config_readme(), "run: mindvideo config --write-readme"


def explain(name: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mindvideo", "config", "--explain", name]
    return subprocess.run(command, capture_output=True, text=True)


def test_explain_tells_meaning_default_range_and_readers():
    text = explain("runtime.device").stdout
    assert "meaning  device the graphs run on" in text
    assert "default  'CPU'" in text
    assert "CPU, GPU, Ascend" in text
    assert "mindvideo/assembly" in text


def test_explain_of_a_misspelt_key_helps():
    finished = explain("runtime.devise")
    assert finished.returncode == 2
    assert "did you mean 'device'?" in finished.stderr and "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, (3, True)),
        (3, float, (3.0, True)),
        ("1e-4", float, (1e-4, True)),
        ("fast", float, ("fast", False)),
        (True, int, (True, False)),
        (1, bool, (1, False)),
        ([1, 2], list[float], ([1.0, 2.0], True)),
        ([1, "x"], list[int], ([1, "x"], False)),
        (None, int | None, (None, True)),
        ({"a": 1}, dict[str, int], ({"a": 1}, True)),
        ({"a": "b"}, dict[str, int], ({"a": "b"}, False)),
    ],
)
def test_values_are_converted_to_their_types_or_refused(value, annotation, expected):
    assert conform(value, annotation) == expected


@pytest.mark.parametrize("old", RENAMED_KEYS)
def test_a_renamed_key_is_gone_and_its_new_name_is_there(old):
    paths = {spec.path for spec in KEYS}
    assert old not in paths
    assert RENAMED_KEYS[old] in paths


@pytest.mark.parametrize("spec", KEYS, ids=lambda spec: spec.path)
def test_every_number_is_bounded_on_both_sides(spec: KeySpec):
    kinds = re.findall(r"int|number", spec.type_name)
    if kinds and spec.rules.choices is None:
        assert spec.rules.minimum is not None and spec.rules.maximum is not None
