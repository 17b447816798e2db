"""Published models that a visitor of the page asks for, from a file server of this machine. No MindSpore."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.made_catalogue import CONTENT, published_models
from tests.serve.visitor import Visitor, served
from tests.weights.web_server import FileServer


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visitor, FileServer, Path]]:
    folder = tmp_path_factory.mktemp("published")
    with published_models(folder / "cache") as files, served(folder / "served") as visitor:
        yield visitor, files, folder / "cache" / "weights"


def model(visitor: Visitor, name: str) -> dict[str, Any]:
    return next(each for each in visitor.get("/api/published").json if each["name"] == name)


def settled(visitor: Visitor, name: str) -> dict[str, Any]:
    """When nothing is on its way any more."""
    for _ in range(400):
        found = model(visitor, name)
        if found["fetch"] is None or found["fetch"]["state"] == "failed":
            return found
        time.sleep(0.02)
    raise TimeoutError(str(found))


def weights_offered(visitor: Visitor) -> list[str]:
    return [each["name"] for each in visitor.get("/api/state").json["weights"]]


def test_a_model_is_stopped_goes_on_and_is_offered(page: tuple[Visitor, FileServer, Path]) -> None:
    visitor, files, cache = page
    listed = visitor.get("/api/published").json
    assert [each["name"] for each in listed] == ["discs", "wrong", "clicked"]  # what starts a training is no model
    assert not any(each["here"] for each in listed) and "discs" not in weights_offered(visitor)
    files.pause, files.headers = 0.05, {"ETag": '"one"'}
    for _ in range(2):  # asked for twice, it comes once
        assert visitor.ask("POST", "/api/published/discs").status == 200
    while not (model(visitor, "discs")["fetch"] or {}).get("done"):
        time.sleep(0.02)
    assert visitor.ask("DELETE", "/api/published/discs").status == 200
    assert settled(visitor, "discs")["here"] is False
    for method in ("POST", "DELETE", "POST"):  # whoever changes their mind twice is not forgotten
        visitor.ask(method, "/api/published/discs")
    files.pause = 0.0
    found = settled(visitor, "discs")
    assert found["here"] and found["fetch"] is None and (cache / "discs.pth").read_bytes() == CONTENT
    assert "discs" in weights_offered(visitor)
    assert visitor.ask("POST", "/api/published/discs").status == 200 and model(visitor, "discs")["fetch"] is None


def test_one_line_where_a_model_cannot_be_had(page: tuple[Visitor, FileServer, Path]) -> None:
    visitor, files, cache = page
    visitor.ask("POST", "/api/published/wrong")
    failed = settled(visitor, "wrong")["fetch"]
    assert failed["state"] == "failed" and "SHA-256" in failed["message"] and "\n" not in failed["message"]
    files.statuses = [404]
    visitor.ask("POST", "/api/published/wrong")
    message = settled(visitor, "wrong")["fetch"]["message"]
    assert "404" in message and str(cache) not in message and "mindvideo weights where" in message
    visitor.ask("DELETE", "/api/published/wrong")
    assert model(visitor, "wrong")["fetch"] is None
    reply = visitor.ask("POST", "/api/published/clicked")
    assert reply.status == 400 and "by hand" in reply.json["error"] and "clicked.pth" in reply.json["error"]
    assert model(visitor, "clicked")["by_hand"] is True and model(visitor, "discs")["by_hand"] is False


@pytest.mark.parametrize(
    ("name", "status"),
    [("start_only", 400), ("nobody", 400), ("..", 400), ("..%2f..%2fetc", 404), ("a" * 81, 404), ("discs.pth", 400)],
)
def test_only_names_of_the_catalogue(page: tuple[Visitor, FileServer, Path], name: str, status: int) -> None:
    visitor, files, _ = page
    asked = len(files.requests)
    for method in ("POST", "DELETE"):
        assert visitor.ask(method, f"/api/published/{name}").status == status
    assert len(files.requests) == asked


def test_no_room_and_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with published_models(tmp_path / "cache"), served(tmp_path / "served") as visitor:
        visitor.ask("POST", "/api/published/discs")
        failed = settled(visitor, "discs")["fetch"]
        assert failed["state"] == "failed" and failed["message"] and "\n" not in failed["message"]
        monkeypatch.setattr("mindvideo.serve.published.KEPT_FREE", 1 << 60)
        reply = visitor.ask("POST", "/api/published/wrong")
        assert reply.status == 400 and "no room" in reply.json["error"]
