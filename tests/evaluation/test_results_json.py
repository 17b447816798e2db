"""Result files: read video by video in whatever pieces, and refused with a reason."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from mindvideo.errors import UserError
from mindvideo.evaluation import results_stream
from mindvideo.evaluation.results_json import ResultsFile, ResultsInMemory
from tests.evaluation import scenes


@pytest.mark.parametrize("chunk", [7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_the_file_gives_what_memory_gives(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(results_stream, "CHUNK", chunk)
    records = [{**record, "note": "größe 雪"} for record in scenes.noisy(1)]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(records, indent=indent, ensure_ascii=False), encoding="utf-8")
    file, memory = ResultsFile(path), ResultsInMemory(records)
    assert list(file.video_ids()) == list(memory.video_ids())
    assert len(file) == len(records)
    for video_id in [*memory.video_ids(), 12345]:
        assert file.records(video_id) == memory.records(video_id)


def test_packed_files(tmp_path):
    records = scenes.perfect()
    text = json.dumps(records)
    packed = tmp_path / "results.json.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    archive = tmp_path / "submission.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("results.json", text)
    for path in (packed, archive):
        assert ResultsFile(path).records(7) == ResultsInMemory(records).records(7)


def test_video_ids_may_be_text(tmp_path):
    path = tmp_path / "results.json"
    records = [{**record, "video_id": "früh"} for record in scenes.perfect()[:1]]
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    assert ResultsFile(path).records("früh") == records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "does not begin with"),
        ('{"videos": []}', "annotation file"),
        ("[1, 2]", "record 0: expected an object"),
        ('[{"video_id": 1, "score": 0.5}]', "record 0: no 'category_id'"),
        ('[{"video_id": 1', "not valid JSON near byte 1"),
        ('[{"video_id": 1, "category_id": 1, "score": 1, "segmentations": []},', "ends before its list"),
        ("[nonsense]", "not valid JSON near byte 1"),
    ],
)
def test_what_is_no_result_file(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        ResultsFile(path)


def test_missing_and_misnamed_files(tmp_path):
    with pytest.raises(UserError, match="no result file"):
        ResultsFile(tmp_path / "none.json")
    fake = tmp_path / "fake.zip"
    fake.write_text("text")
    with pytest.raises(UserError, match="not readable as .zip"):
        ResultsFile(fake)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("other.json", "[]")
    with pytest.raises(UserError, match="holds no results.json"):
        ResultsFile(tmp_path / "other.zip")
