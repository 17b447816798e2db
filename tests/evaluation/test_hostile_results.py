"""Result files that are damaged, packed to burst, or wrong in ways that used to pass as being in order."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mindvideo.errors import UserError
from mindvideo.evaluation import results_stream
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile, checked_tubes
from mindvideo.evaluation.splits import LengthRules, long_videos
from mindvideo.evaluation.submission import problems_of, read_video_list
from tests.evaluation import scenes

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / "tools" / "segmentation"
RECORD = '{"video_id": 3, "category_id": 1, "score": 0.5, "segmentations": []}'
DEEP = "[" * 100_000 + "]" * 100_000
BIG = "9" * 9999


def written(tmp_path: Path, content: str | bytes, name: str = "results.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BROKEN = {
    "garbage after the list": (f"[{RECORD}] garbage", "something follows after the list has ended"),
    "a second list": (f"[{RECORD}]\n[{RECORD}]", "something follows after the list has ended"),
    "a null character after the list": (f"[{RECORD}]\0", "something follows after the list has ended"),
    "two commas": (f"[{RECORD},,{RECORD}]", "not valid JSON near byte"),
    "a comma too many": (f"[{RECORD},]", "not valid JSON near byte"),
    "a comma first": (f"[,{RECORD}]", "not valid JSON near byte 1"),
    "no comma": (f"[{RECORD} {RECORD}]", "expected ',' or ']' after a record"),
    "deep lists": (f"[{DEEP}]", "recursion"),
    "deep masks": ("[" + RECORD.replace("[]", DEEP) + "]", "recursion"),
    "long number": ("[" + RECORD.replace("0.5", BIG) + "]", "not valid JSON near byte 1 .Exceeds the limit"),
    "list as id": ("[" + RECORD.replace("3", "[3]") + "]", "record 0: video_id of type list: an integer or a string"),
    "object as id": ("[" + RECORD.replace("3", "{}") + "]", "record 0: video_id of type dict"),
    "null as id": ("[" + RECORD.replace("3", "null") + "]", "record 0: video_id None"),
    "true as id": ("[" + RECORD.replace("3", "true") + "]", "record 0: video_id True"),
    "fraction as id": ("[" + RECORD.replace("3", "3.0") + "]", "record 0: video_id 3.0"),
    "no UTF-8": (b'[{"video_id": "\xff"}]', "not UTF-8"),
    "UTF-16": ("[]".encode("utf-16"), "does not begin with"),
    "cut in a string": ('[{"video_id": "aaaa', "not valid JSON near byte 1 .Unterminated string"),
    "cut in a literal": ('[{"video_id": nul', "not valid JSON near byte 1"),
    "cut after the list's start": ("[", "ends before its list does"),
    "only blanks": (" \n" * 10, "does not begin with"),
}


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int):
    monkeypatch.setattr(results_stream, "CHUNK", chunk)
    content, message = BROKEN[name]
    with pytest.raises(UserError, match=message) as caught:
        ResultsFile(written(tmp_path, content))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize("form", ["\n[ ]\n", "\ufeff[]", "[\r\n\t]", "[" + RECORD + "]" + " " * 50])
def test_blanks_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str):
    monkeypatch.setattr(results_stream, "CHUNK", 4)
    assert len(ResultsFile(written(tmp_path, form))) == form.count("video_id")


def test_a_fault_at_the_start_is_found_without_reading_the_rest(tmp_path: Path):
    path = written(tmp_path, "[nonsense" + " " * (8 << 20))
    with open(path, "rb") as stream:
        with pytest.raises(UserError, match="near byte 1"):
            list(results_stream.scan_list(stream, "it"))
        assert stream.tell() <= results_stream.CHUNK


def test_a_record_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results_stream, "CHUNK", 64)
    monkeypatch.setattr(results_stream, "MAX_ELEMENT", 4096)
    with pytest.raises(UserError, match="a record of more than 4096 bytes"):
        ResultsFile(written(tmp_path, '["' + "a" * 100_000))


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_ids_of_any_script_escaped_or_not(tmp_path, monkeypatch, ensure_ascii: bool, chunk: int):
    monkeypatch.setattr(results_stream, "CHUNK", chunk)
    ids = ["früh", "雪", "🎥", "a\\u0041", "plain"]
    records = [{**scenes.perfect()[0], "video_id": video_id} for video_id in ids]
    file = ResultsFile(written(tmp_path, json.dumps(records, ensure_ascii=ensure_ascii)))
    assert file.video_ids() == ids
    assert [file.records(video_id) for video_id in ids] == [[record] for record in records]


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_archives_that_burst_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    monkeypatch.setattr(results_stream, "SMALL", 1 << 20)
    content = b"[" + b" " * (8 << 20) + b"]"
    path = tmp_path / f"results{suffix}"
    if suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("results.json", content)
    with pytest.raises(UserError, match="unpacks to more than 1 MB, over 100 times its size"):
        ResultsFile(path)


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives(tmp_path: Path, suffix: str, seed: int):
    path = tmp_path / f"results{suffix}"
    content = json.dumps(scenes.noisy(0)).encode()
    if suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("results.json", content)
    whole = bytearray(path.read_bytes())
    place = (seed * 7919) % len(whole)
    path.write_bytes(whole[:place] if seed % 2 else whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
    try:
        found = ResultsFile(path)
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert len(found) == len(scenes.noisy(0))  # a byte that means nothing, such as a date


def test_folders_and_unreadable_files(tmp_path: Path):
    for name in ("folder.json", "folder.gz", "folder.zip"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match="is a folder"):
            ResultsFile(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        ResultsFile(tmp_path / ("n" * 300 + ".json"))


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return written(tmp_path, json.dumps({**scenes.annotations(), "annotations": None}), "annotations.json")


def problems(tmp_path: Path, annotations: Path, records: list[dict]) -> list[str]:
    videos, categories = read_video_list(annotations)
    return list(problems_of(ResultsFile(written(tmp_path, json.dumps(records))), videos, categories))


NESTED: list = []
for _ in range(300):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": 10**400}, "video 3, track 1: score 1000"),
        ({"score": -(10**400)}, "video 3, track 1: score -1000"),
        ({"score": float("nan")}, "video 3, track 1: score nan: a number is needed"),
        ({"score": NESTED}, "video 3, track 1: score of type list: a number is needed"),
        ({"score": True}, "video 3, track 1: score True: a number is needed"),
        ({"score": 10**300}, "outside 0 to 1"),
        ({"category_id": NESTED}, "category_id of type list: an integer is needed"),
        ({"category_id": 10**400}, "not in the annotation file, which has 1 to 3"),
        ({"category_id": "\x1b[2J"}, r"category_id '\\x1b\[2J'"),
        ({"video_id": "3"}, "video '3': not in the annotation file, which has the number and not the string"),
        ({"video_id": "\x1b[2J"}, "not in the annotation file"),
        ({"video_id": 10**400}, "not in the annotation file"),
    ],
)
def test_odd_values_are_problems(tmp_path, annotations, values, message):
    records = scenes.perfect()
    found = problems(tmp_path, annotations, scenes.changed(records, 1, **values))
    assert len(found) == 1 and found[0].isprintable() and len(found[0]) < 200
    assert re.search(message, found[0])


def test_odd_masks_are_problems(tmp_path, annotations):
    records = scenes.perfect()
    for size in (NESTED, "x" * 9999, [1e400, 2], [40], None):
        masks = [{**mask, "size": size} if mask else None for mask in records[1]["segmentations"]]
        found = problems(tmp_path, annotations, scenes.changed(records, 1, segmentations=masks))
        assert found and all(line.isprintable() and len(line) < 200 for line in found)


def test_a_file_without_tracks_is_not_in_order(tmp_path, annotations):
    assert problems(tmp_path, annotations, []) == ["no track at all: every video would count as empty"]


def test_the_evaluation_refuses_a_score_beyond_floats(tmp_path):
    truth = read_ground_truth(written(tmp_path, json.dumps(scenes.annotations()), "gt.json"))
    video = next(video for video in truth.videos if video.id == 3)
    records = scenes.changed(scenes.perfect(), 1, score=10**400)
    with pytest.raises(UserError, match="score 1000.*: a finite number is needed"):
        checked_tubes(video, [records[1]])


@pytest.mark.parametrize(
    "content",
    ["{}", '{"videos": [{}]}', '{"videos": [{"file_names": [3]}]}', "7", "[[1]]", "{", pytest.param(DEEP, id="deep")],
)
def test_odd_lists_of_long_videos(tmp_path, content):
    truth = read_ground_truth(written(tmp_path, json.dumps(scenes.annotations()), "gt.json"))
    with pytest.raises(UserError):
        long_videos(truth, LengthRules(long=str(written(tmp_path, content, "long.json"))))
    with pytest.raises(UserError):
        long_videos(truth, LengthRules(long=str(written(tmp_path, b"\xff\xfe", "long.txt"))))
    with pytest.raises(UserError):
        long_videos(truth, LengthRules(long="²"))


def run_tool(name: str, *arguments: object) -> subprocess.CompletedProcess:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MINDVIDEO_SUBMIT")}
    command = [sys.executable, str(TOOLS / name), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**clean, "PYTHONPATH": str(PROJECT)}, timeout=120
    )


def test_the_tools_take_ids_with_escaped_letters(tmp_path):
    """As our own runs write them."""
    truth = scenes.annotations()
    for entry in (*truth["videos"], *truth["annotations"]):
        key = "id" if "file_names" in entry else "video_id"
        entry[key] = f"früh 雪 {entry[key]}"
    records = [{**record, "video_id": f"früh 雪 {record['video_id']}"} for record in scenes.perfect()]
    given = (
        "--results",
        written(tmp_path, json.dumps(records)),
        "--annotations",
        written(tmp_path, json.dumps(truth), "a.json"),
    )
    sent = run_tool("submit.py", *given)
    assert sent.returncode == 0, sent.stderr
    assert "are in order" in sent.stdout
    scored = run_tool("eval.py", *given, "--output", tmp_path / "run")
    assert scored.returncode == 0, scored.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["AP"] == pytest.approx(1)


def test_the_tool_leaves_its_inputs_and_refuses_empty_results(tmp_path, annotations):
    results = written(tmp_path, json.dumps(scenes.perfect()))
    before = results.read_bytes(), annotations.read_bytes()
    for output in (results, annotations):
        done = run_tool("submit.py", "--results", results, "--annotations", annotations, "--output", output)
        assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert (results.read_bytes(), annotations.read_bytes()) == before
    done = run_tool("submit.py", "--results", written(tmp_path, "[]", "e.json"), "--annotations", annotations)
    assert done.returncode == 2 and "no track at all" in done.stderr
