"""Result files checked for a server, packed, and sent to one that behaves as Codabench does."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.errors import UserError
from mindvideo.evaluation import submission_server
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.submission import problems_of, read_video_list, write_archive
from mindvideo.evaluation.submission_server import Access, SubmissionServer
from tests.evaluation import codabench, scenes
from tests.evaluation.codabench import PASSWORD, PHASE, TOKEN, USER, Codabench

SUBMIT = Path(__file__).resolve().parents[2] / "tools" / "segmentation" / "submit.py"


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({**scenes.annotations(), "annotations": None}))  # as servers publish them
    return path


def write(path: Path, records: list[dict]) -> Path:
    path.write_text(json.dumps(records))
    return path


def problems(tmp_path: Path, annotations: Path, records: list[dict]) -> list[str]:
    videos, categories = read_video_list(annotations)
    return list(problems_of(ResultsFile(write(tmp_path / "results.json", records)), videos, categories))


@pytest.mark.parametrize("read", [read_video_list, read_ground_truth])
@pytest.mark.parametrize(
    ("content", "message"), [("[]", "no 'videos' list"), ('{"videos": 3}', "no 'videos' list"), ("{", "not valid JSON")]
)
def test_files_that_are_no_annotations(tmp_path, read, content, message):
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match="no annotation file"):
        read(path)
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read(path)


def test_a_good_file_has_no_problems(tmp_path, annotations):
    assert problems(tmp_path, annotations, scenes.noisy(0)) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": 1.2}, "video 3, track 1: score 1.2: outside 0 to 1"),
        ({"score": "0.5"}, "video 3, track 1: score '0.5': a number is needed"),
        ({"category_id": 9}, "video 3, track 1: category_id 9: not in the annotation file, which has 1 to 3"),
        ({"category_id": "disc"}, "video 3, track 1: category_id 'disc': an integer is needed"),
        ({"video_id": 4}, "video 4: not in the annotation file"),
        ({"segmentations": [None] * 8}, "video 3, track 1: no mask in any frame"),
        ({"segmentations": "masks"}, "video 3, track 1: segmentations: a list is needed, got str"),
    ],
)
def test_problems_are_named(tmp_path, annotations, values, message):
    assert problems(tmp_path, annotations, scenes.changed(scenes.perfect(), 1, **values)) == [message]


def test_problems_of_masks(tmp_path, annotations):
    records = scenes.perfect()
    masks = records[1]["segmentations"]
    assert problems(tmp_path, annotations, scenes.changed(records, 1, segmentations=masks[:-1])) == [
        "video 3, track 1: 7 frames, but the video has 8 (null where the object is absent)"
    ]
    wrong_size = [*masks[:2], scenes.encoded((1, 1, 4, 4), (20, 20)), *masks[3:]]
    assert problems(tmp_path, annotations, scenes.changed(records, 1, segmentations=wrong_size)) == [
        "video 3, track 1: frame 2: mask size [20, 20], but the video's frames are [40, 60] (height, width)"
    ]
    cut = [*masks[:5], {"size": [40, 60], "counts": masks[5]["counts"][:-1]}, *masks[6:]]
    assert problems(tmp_path, annotations, scenes.changed(records, 1, segmentations=cut)) == [
        "video 3, track 1: frame 5: the RLE string is damaged, or its runs do not cover the frame"
    ]
    lists = [*masks[:5], {"size": [40, 60], "counts": [2400]}, *masks[6:]]
    (problem,) = problems(tmp_path, annotations, scenes.changed(records, 1, segmentations=lists))
    assert "frame 5: neither null nor an RLE" in problem


def test_duplicates_are_found(tmp_path, annotations):
    records = scenes.perfect()
    (problem,) = problems(tmp_path, annotations, [*records, records[0]])
    assert problem == "video 3, track 2: the same as track 0 in masks, category and score"


def test_equal_results_give_equal_archives(tmp_path):
    results = write(tmp_path / "mine.json", scenes.perfect())
    write_archive(results, tmp_path / "a.zip")
    os.utime(results, (1, 1))
    write_archive(results, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert ResultsFile(tmp_path / "a.zip").records(3) == ResultsFile(results).records(3)


def access(bench: Codabench, **values: str) -> Access:
    given = {"url": bench.url, "phase": PHASE, "user": USER, "password": PASSWORD, **values}
    return Access(**given)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "submission.zip"
    write_archive(write(tmp_path / "results.json", scenes.perfect()), path)
    return path


def test_the_way_to_a_score(archive):
    waits: list[float] = []
    with Codabench() as bench:
        server = SubmissionServer(access(bench), sleep=waits.append)
        number = server.submit(archive)
        record = server.wait(number, every=5)
    assert number == 77
    assert record["scores"] == [{"column_key": "AP", "score": "0.36"}]
    assert waits == [5, 5]  # Submitted, Running, then Finished
    assert bench.results() == scenes.perfect()
    assert bench.submitted == [{"phase": PHASE, "tasks": [], "data": "k-1"}]
    assert [path for _, path in bench.seen[:6]] == [
        "/api/api-token-auth/",
        f"/api/can_make_submission/{PHASE}/",
        "/api/datasets/",
        "/storage/k-1?signature=secret",
        "/api/datasets/completed/k-1/",
        "/api/submissions/",
    ]


def test_passing_failures_are_tried_again_and_waits_grow(archive, monkeypatch):
    monkeypatch.setattr(submission_server.random, "uniform", lambda low, high: 1.0)
    waits: list[float] = []
    failures = [(503, {}), (502, {}), (429, {"Retry-After": "9"})]
    with Codabench(failures=failures) as bench:
        assert SubmissionServer(access(bench), sleep=waits.append, first_wait=2).submit(archive) == 77
    assert waits == [2, 4, 9]
    assert [path for _, path in bench.seen].count("/api/api-token-auth/") == 4


def test_it_gives_up_with_the_reason(archive):
    with Codabench(failures=[(500, {})] * 5) as bench:
        with pytest.raises(UserError, match="could not log in in 3 attempts: 500"):
            SubmissionServer(access(bench), sleep=lambda _: None, attempts=3).submit(archive)
    assert len(bench.seen) == 3


def test_no_connection(archive):
    with Codabench() as bench:
        pass  # closed again: nobody listens on its port
    with pytest.raises(UserError, match="could not log in in 2 attempts: .*refused"):
        SubmissionServer(access(bench), sleep=lambda _: None, attempts=2).submit(archive)


def test_handing_in_is_never_repeated(archive):
    class LosesTheAnswer(SubmissionServer):
        def _call(self, method, path, *arguments, **options):
            if path == "/api/submissions/":
                bench.failures.append((502, {}))
            return super()._call(method, path, *arguments, **options)

    with Codabench() as bench:
        with pytest.raises(UserError, match="could not hand in"):
            LosesTheAnswer(access(bench), sleep=lambda _: None).submit(archive)
    assert [path for _, path in bench.seen].count("/api/submissions/") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bench: {"password": "wrong"}, "could not log in: the server says 400 .*Unable to log in"),
        (lambda bench: {"token": "expired"}, "could not ask for permission: the server says 401 .*Invalid token"),
        (lambda bench: setattr(bench, "may_submit", False) or {}, "Reached maximum submissions per day"),
        (lambda bench: bench.failures.append((302, {"Location": "/elsewhere"})) or {}, "the server says 302"),
    ],
)
def test_refusals_are_told_at_once(archive, change, message):
    with Codabench() as bench:
        values = change(bench)
        with pytest.raises(UserError, match=message) as caught:
            SubmissionServer(access(bench, **values), sleep=lambda _: pytest.fail("it waited")).submit(archive)
    for secret in (PASSWORD, TOKEN, "expired", "wrong"):
        assert secret not in str(caught.value)


def test_a_failed_submission(archive):
    with Codabench(states=["Running", "Failed"]) as bench:
        server = SubmissionServer(access(bench), sleep=lambda _: None)
        number = server.submit(archive)
        with pytest.raises(UserError, match=r"submission 77: Failed \(no such file\)"):
            server.wait(number)


def test_waiting_has_an_end(archive):
    with Codabench(states=["Running"]) as bench:
        server = SubmissionServer(access(bench, token=TOKEN), sleep=lambda _: None)
        with pytest.raises(UserError, match="still 'Running' after 60 s"):
            server.wait(77, every=20, limit=60)


def environment(bench: Codabench) -> dict[str, str]:
    secrets = {submission_server.USER: USER, submission_server.PASSWORD: PASSWORD}
    return {submission_server.URL: bench.url, submission_server.PHASE: str(PHASE), **secrets}


def run_tool(*arguments: object, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MINDVIDEO_SUBMIT")}
    command = [sys.executable, str(SUBMIT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **(variables or {})})


def test_the_tool_uploads_and_says_nothing_secret(tmp_path, annotations):
    results = write(tmp_path / "results.json", scenes.perfect())
    with Codabench(failures=[(503, {"Retry-After": "0"})]) as bench:
        given = ("--results", results, "--annotations", annotations, "--upload")
        dry = run_tool(*given, "--dry-run", variables=environment(bench))
        assert dry.returncode == 0, dry.stderr
        assert not bench.seen
        done = run_tool(*given, variables=environment(bench))
    assert done.returncode == 0, done.stderr
    assert "handed in: submission 77" in done.stdout
    assert bench.results() == scenes.perfect()
    for text in (dry.stdout, dry.stderr, done.stdout, done.stderr):
        for secret in (USER, PASSWORD, TOKEN, "signature"):
            assert secret not in text


def test_the_tool_refuses_a_bad_file(tmp_path, annotations):
    results = write(tmp_path / "results.json", scenes.changed(scenes.perfect(), 0, score=7))
    done = run_tool("--results", results, "--annotations", annotations)
    assert done.returncode == 2
    assert "video 3, track 0: score 7: outside 0 to 1" in done.stderr
    assert not (tmp_path / "submission.zip").exists()


def test_uploading_needs_the_environment(tmp_path, annotations):
    results = write(tmp_path / "results.json", scenes.perfect())
    done = run_tool("--results", results, "--annotations", annotations, "--upload")
    assert done.returncode == 2
    assert "MINDVIDEO_SUBMIT_URL" in done.stderr


def test_a_password_is_not_sent_in_the_clear():
    variables = {
        submission_server.URL: "http://example.org",
        submission_server.PHASE: "1",
        submission_server.TOKEN: "t",
    }
    with pytest.raises(UserError, match="https://"):
        Access.from_environment(variables)


def test_secrets_are_not_in_representations_or_logs(archive, caplog):
    with Codabench(failures=[(503, {})]) as bench, caplog.at_level(logging.DEBUG):
        given = access(bench)
        SubmissionServer(given, sleep=lambda _: None).submit(archive)
    for secret in (PASSWORD, codabench.TOKEN):
        assert secret not in repr(given)
        assert secret not in caplog.text
