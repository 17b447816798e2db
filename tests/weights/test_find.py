"""The catalogue of published weights, and the ways to name weights. No MindSpore but for one file's configuration."""

from __future__ import annotations

import json
import sys
import types

import pytest

from mindvideo.assembly.model_choice import DEFAULT_MODEL, choose_model, configuration_for
from mindvideo.cli import weights as tool
from mindvideo.config import known_configs
from mindvideo.errors import UserError
from mindvideo.models.registry import FAMILIES
from mindvideo.weights.find import find_weights
from mindvideo.weights.published import published_for, read_catalogue


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINDVIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "weights"


def test_the_catalogue_names_what_exists():
    catalogue = read_catalogue()
    assert set(FAMILIES) == {family for entry in catalogue.values() for family in entry.families}
    assert len({entry.file for entry in catalogue.values()}) == len(catalogue)
    for entry in catalogue.values():
        assert entry.configuration is None or entry.configuration in known_configs(), entry.name
        assert set(entry.families) <= set(FAMILIES) and entry.page.startswith("https://")
        assert entry.sha256 is None or int(entry.sha256, 16) >= 0
        assert entry.url is None or entry.url.endswith(f"/{entry.file}")
        assert "/" not in entry.file and not entry.file.startswith(".")
    assert published_for("vistr")[0].name == "vistr_r50"
    assert catalogue[DEFAULT_MODEL].url and catalogue[DEFAULT_MODEL].configuration


def test_the_published_figures_are_those_of_the_configurations():
    for entry in read_catalogue().values():
        if entry.configuration and entry.ap is not None:
            header = known_configs()[entry.configuration].read_text(encoding="utf-8").split("\n\n")[0]
            expected = next(line for line in header.splitlines() if line.startswith("# Expected"))
            assert f"AP {entry.ap}" in expected or "not measured" in expected, entry.name


def test_ways_to_name_weights(cache, tmp_path):
    cache.mkdir(parents=True)
    (cache / "vistr_r50.pth").write_bytes(b"x")
    (cache / "mine.pth").write_bytes(b"x")
    (tmp_path / "here.ckpt").write_bytes(b"x")
    assert find_weights("vistr_r50") == find_weights("vistr_r50.pth") == cache / "vistr_r50.pth"
    assert find_weights("mine.pth") == cache / "mine.pth"
    assert str(find_weights("here.ckpt")) == "here.ckpt"
    assert choose_model("vistr_r50", None) == ("vistr", cache / "vistr_r50.pth")
    assert choose_model("vistr", "mine.pth") == ("vistr", cache / "mine.pth")
    assert configuration_for("vistr_r101") == "vistr_r101" and configuration_for(None) == DEFAULT_MODEL


def test_weights_of_a_run_are_for_its_configuration(tmp_path):
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    for place in ("config.yaml", "last.ckpt", "weights/epoch_001.ckpt"):
        (run / place).write_text("x")
    for place in ("last.ckpt", "weights/epoch_001.ckpt"):
        assert configuration_for(str(run / place)) == str(run / "config.yaml")


def test_a_catalogued_file_is_downloaded_with_advice(monkeypatch):
    asked = []
    monkeypatch.setattr("mindvideo.weights.find.fetch", lambda download: asked.append(download) or download.place)
    place = find_weights("resnet50_imagenet")
    assert place.name == "resnet50-0676ba61.pth" and asked[0].sha256 == "0676ba61"
    assert str(place) in asked[0].advice and "https://pytorch.org" in asked[0].advice


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vistr_r101", "open https://github.com/Epiphqny/VisTR#models , then put the file at .*vistr_r101.pth"),
        ("folder/vistr_r50", "no such file"),
        ("nonsense", "mindvideo weights lists them"),
        ("hf:owner", "expected hf:owner/repository"),
        ("hf:../..", "expected hf:owner/repository"),
        ("hf:two\nlines", r"hf:two\\nlines: expected hf:owner/repository"),
        ("hf:a/b", r"pip install huggingface_hub; or download a file of https://huggingface.co/a/b by hand"),
    ],
)
def test_names_that_lead_nowhere(given, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=message) as caught:
        find_weights(given)
    assert "\n" not in str(caught.value)


def test_a_cache_of_a_user_whom_nobody_knows(monkeypatch):
    monkeypatch.setenv("MINDVIDEO_CACHE", "~nobody_at_all/cache")
    with pytest.raises(UserError, match="nobody_at_all/cache/weights/vistr_r50.pth"):
        find_weights("vistr_r50")


def test_the_hub_with_its_package(cache, monkeypatch):
    """A stand-in for huggingface_hub, which is not among our dependencies."""
    asked = []

    def hf_hub_download(name, file, *, revision, cache_dir):
        asked.append((name, file, revision, cache_dir))
        return "/there/model.pth"

    hub = types.SimpleNamespace(
        hf_hub_download=hf_hub_download,
        list_repo_files=lambda name, revision: {"a/one": ["README.md", "m.pth"], "a/two": ["x.pth", "y.ckpt"]}[name],
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert str(find_weights("hf:a/one")) == "/there/model.pth"
    find_weights("hf:a/two/sub/y.ckpt@v1")
    folder = str(cache / "huggingface")
    assert asked == [("a/one", "m.pth", None, folder), ("a/two", "sub/y.ckpt", "v1", folder)]
    with pytest.raises(
        UserError, match=r"2 files of weights \(x.pth, y.ckpt\); choose one, for instance hf:a/two/x.pth"
    ):
        find_weights("hf:a/two")
    with pytest.raises(UserError, match="hf:a/three: 'a/three'; or download a file"):
        find_weights("hf:a/three")


def run_tool(*arguments: str, capsys, monkeypatch) -> str:
    monkeypatch.setattr(sys, "argv", ["mindvideo weights", *arguments])
    assert tool.main() == 0
    return capsys.readouterr().out


def test_the_command(cache, capsys, monkeypatch):
    says = {"capsys": capsys, "monkeypatch": monkeypatch}
    assert "nothing yet" in run_tool("where", **says)
    cache.mkdir(parents=True)
    (cache / "vistr_r50.pth").write_bytes(b"x" * 2_000_000)
    assert "2.0 MB  vistr_r50.pth" in run_tool("where", **says)
    table = run_tool("--family", "vistr", "--complete", **says)
    assert [line.split()[0] for line in table.splitlines()[2:4]] == ["vistr_r50", "vistr_r101"]
    assert table.splitlines()[2].endswith("by hand  yes") and "36.2" in table and "seqformer" not in table
    shown = run_tool("show", "vistr_r50", **says)
    assert "not stated" in shown and "36.2" in shown
    assert json.loads(run_tool("show", "vistr_r50", "--json", **says))["sha256"] is None
    assert len(json.loads(run_tool("--json", **says))) == len(read_catalogue())
    assert run_tool("get", "vistr_r50", **says).strip() == str(cache / "vistr_r50.pth")
    with pytest.raises(UserError, match="did you mean 'vistr_r50'"):
        run_tool("show", "vistr_r5", **says)
    with pytest.raises(UserError, match="get needs a name"):
        tool.parse_arguments(["get"])
