"""Checkpoints and training states written under a parameter's old name are read under its present one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.training import state_file
from mindvideo.training.state_file import read_state, write_state
from mindvideo.weights import renamed
from mindvideo.weights.checkpoint_file import class_names_of, open_checkpoint, tensors_checksum
from mindvideo.weights.conversion import verify_checksum, write_native_file
from mindvideo.weights.formats.native import write_native
from mindvideo.weights.renamed import NAMES_ENTRY, PRESENT_NAMES, present_names
from mindvideo.weights.report import describe_file
from mindvideo.weights.rules import Rule
from mindvideo.weights.stored_tensor import from_numpy

ROWS = (Rule(r"slots\.(\d)\.(.*)", r"queries.\1.\2"), Rule(r"ffn\.weight", "hidden.weight"))


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED", ROWS)


def tensors(*names: str) -> dict:
    return {name: from_numpy(np.full(2, index, np.float32)) for index, name in enumerate(names)}


OLD = tensors("slots.0.weight", "ffn.weight", "backbone.slots.0.weight")
PRESENT = ["queries.0.weight", "hidden.weight", "backbone.slots.0.weight"]


def written_before(path: Path, **strings: str) -> Path:
    with open(path, "wb") as stream:
        write_native(stream, OLD.items(), strings)
    return path


def test_a_checkpoint_without_the_mark_has_old_names(tmp_path: Path):
    file = open_checkpoint(written_before(tmp_path / "old.ckpt"))
    assert list(file.tensors) == PRESENT
    np.testing.assert_array_equal(file.tensors["hidden.weight"].numpy(), [1, 1])
    assert "renamed   2 parameters" in describe_file(file)


def test_its_check_sum_is_over_the_stored_names(tmp_path: Path):
    provenance = json.dumps({"tensors_sha256": tensors_checksum(OLD)})
    file = open_checkpoint(written_before(tmp_path / "old.ckpt", **{"mindvideo.provenance": provenance}))
    verify_checksum(file)
    assert "the tensors are those that were written" in describe_file(file)


def test_what_is_written_now_is_not_renamed(tmp_path: Path):
    write_native_file(tmp_path / "new.ckpt", OLD, {}, class_names={2: "cat", 7: "雪"})
    file = open_checkpoint(tmp_path / "new.ckpt")
    assert list(file.tensors) == list(OLD)
    assert file.others == {} and not file.renamed
    assert class_names_of(tmp_path / "new.ckpt") == {2: "cat", 7: "雪"}


def test_old_files_name_no_classes_and_broken_ones_are_refused(tmp_path: Path):
    assert class_names_of(written_before(tmp_path / "old.ckpt")) is None
    for broken in ("[1]", "{", '{"x": "y"}', '{"1": 2}', '{"1": "\\u001b[2J"}', "[" * 5000):
        with pytest.raises(UserError, match="class_names"):
            class_names_of(written_before(tmp_path / "broken.ckpt", class_names=broken))


def test_a_state_is_resumed_with_its_moments_and_averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = ["ffn.weight", "average.ffn.weight", "adamw.first_moment.slots.1.bias", "adamw.updates", "other"]
    names += ["network.ffn.weight", "adamw.second_moment.network.slots.1.bias"]
    arrays = {name: np.full(2, index, np.float32) for index, name in enumerate(names)}
    write_state(tmp_path / "new.state", arrays, {"iteration": 3})
    assert list(read_state(tmp_path / "new.state")[0]) == names
    monkeypatch.setattr(state_file, "PRESENT_NAMES", 1)  # as the version before wrote it
    write_state(tmp_path / "old.state", arrays, {"iteration": 3})
    found, facts = read_state(tmp_path / "old.state")
    assert list(found) == [
        "hidden.weight",
        "average.hidden.weight",
        "adamw.first_moment.queries.1.bias",
        "adamw.updates",
        "other",
        "network.hidden.weight",
        "adamw.second_moment.network.queries.1.bias",
    ]
    assert facts == {"iteration": 3} and found["average.hidden.weight"][0] == 1


def test_both_names_in_one_file_are_refused():
    with pytest.raises(UserError, match=r"'hidden.weight' twice"):
        present_names(["ffn.weight", "hidden.weight"], written_with=None)


@pytest.mark.parametrize("mark", [None, "1", "two", -3, [2]])
def test_anything_but_the_present_mark_is_old(mark: object):
    assert present_names(["ffn.weight"], written_with=mark) == {"ffn.weight": "hidden.weight"}
    assert present_names(["ffn.weight"], written_with=str(PRESENT_NAMES)) == {"ffn.weight": "ffn.weight"}


def test_the_mark_is_in_every_file_that_is_written(tmp_path: Path):
    write_native_file(tmp_path / "w.ckpt", OLD, {})
    assert NAMES_ENTRY.encode() in (tmp_path / "w.ckpt").read_bytes()
