"""A configuration out of one's own labels, and the commands around it, from a CVAT export on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from mindvideo import load_config
from mindvideo.assembly.data import build_training_data
from mindvideo.assembly.own_config import own_values
from mindvideo.cli import prepare
from mindvideo.config import known_configs
from mindvideo.data.labels.facts import SetFacts
from mindvideo.errors import UserError
from tests.data.cvat_clip import write_clip

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_data.md"


def run(monkeypatch, command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["mindvideo", "prepare"]
    monkeypatch.setattr("sys.argv", words[1:])
    assert prepare.main() == 0


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    write_clip(tmp_path / "mine", num_frames=20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_lead_to_batches(mine, monkeypatch, capsys):
    block, *_ = [
        part for part in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL) if "convert cvat" in part
    ]
    for command in block.splitlines():
        if command.startswith("mindvideo prepare") and "browse" not in command:
            run(monkeypatch, command)
    printed = capsys.readouterr().out
    assert "1 video, 2 tracks" in printed and "no errors" in printed
    assert "mindvideo train -c mine.yaml --output runs/mine\n" in printed
    cfg = load_config("mine.yaml", ["data.workers=0"])
    assert cfg.data.num_classes == 3 and cfg.data.max_instances == 2 and cfg.data.pasted_share == 0.0
    assert cfg.data.buckets == [[64, 128]] and cfg.schedule.warmup_steps == 60
    assert cfg.inference.short_side == cfg.data.short_sides[0] == 64 and cfg.inference.size_multiple == 8
    data = build_training_data(cfg)
    batch = next(data.dataset.create_dict_iterator(output_numpy=True, num_epochs=1))
    assert batch["images"].shape == (4, 5, 64, 128, 3) and data.class_names == {1: "dog", 2: "van"}
    assert data.batches_per_epoch * cfg.schedule.epochs >= cfg.schedule.max_steps == 600
    assert (
        "Found in the data: 1 labelled video of 16 frames, 320x180; at most 2 objects" in Path("mine.yaml").read_text()
    )


def facts(sizes=((180, 320),), lengths=(40,), max_objects=3) -> SetFacts:
    return SetFacts(sizes=sizes, lengths=lengths, max_objects=max_objects, class_names={1: "dog", 4: "cat"})


@pytest.mark.parametrize("name", sorted(known_configs()))
def test_what_is_derived_suits_every_base(name, tmp_path):
    base = load_config(name)
    values = own_values(base, facts(), train=["a.json@a"], valid="b.json@b", steps=500, short_side=None)
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"_base_": name, "family": base.family, "name": "own", **values}))
    cfg = load_config(file)
    assert cfg.data.num_classes == 5 and cfg.schedule.max_steps == 500 and cfg.schedule.warmup_steps <= 50
    if base.data.augmentation not in ("toy", "none"):  # published sizes stay, and hold what its crops make
        assert cfg.data.buckets == base.data.buckets and cfg.data.short_sides == base.data.short_sides


def test_few_padded_sizes_hold_all_videos():
    base = load_config("vistr_toy")
    shapes = ((1080, 1920), (1920, 1080), (480, 640), (600, 600), (200, 800))
    own = own_values(base, facts(shapes), train=["a"], valid="a", steps=10, short_side=96)["data"]
    assert own["short_sides"] == [96] and own["max_long_side"] == 192
    assert own["buckets"] == [[96, 192], [192, 96]]
    small = own_values(base, facts(((48, 60), (90, 60))), train=["a"], valid="a", steps=10, short_side=None)["data"]
    assert small["short_sides"] == [48] and small["buckets"] == [[64, 64], [96, 64]]  # nothing is enlarged


def test_many_videos_and_objects():
    base = load_config("instanceformer_toy")
    many = facts(lengths=(30,) * 200, max_objects=99)
    values = own_values(base, many, train=["a"], valid="a", steps=1000, short_side=None)
    assert values["data"]["samples_per"] == "video" and values["data"]["max_instances"] == 10  # its queries
    assert values["schedule"]["epochs"] == 20  # 200 videos by 4


def test_what_cannot_be_configured_is_refused(mine, monkeypatch):
    run(monkeypatch, "mindvideo prepare convert cvat mine/annotations.xml --video mine/clip.mp4 --output l.json")
    labels = json.loads(Path("l.json").read_text())
    Path("empty.json").write_text(json.dumps({**labels, "annotations": []}))
    command = "mindvideo prepare config l.json@mine"
    refused = {
        f"{command} --output x.txt": "a .yaml file",
        "mindvideo prepare config empty.json@mine --output x.yaml": "no video of the training sets has a label",
        f"{command} --base vistr --short-side 64 --output x.yaml": "crops to sizes of its own",
        f"{command} --base nothing --output x.yaml": "no configuration 'nothing'",
        "mindvideo prepare config none.json@mine --output x.yaml": "none.json",
    }
    for words, said in refused.items():
        with pytest.raises(UserError, match=re.escape(said)):
            run(monkeypatch, words)
    assert not Path("x.yaml").exists()
    run(monkeypatch, f"{command} --output 'x y.yaml'")
    with pytest.raises(UserError, match="exists already"):
        run(monkeypatch, f"{command} --output 'x y.yaml'")
