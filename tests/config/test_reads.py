"""A family reads what it says it reads: every key that it declares, and no other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from mindspore import nn
from mindspore.nn.utils import no_init_parameters
from ml_collections import ConfigDict

from mindvideo import load_config
from mindvideo.assembly import configuration
from mindvideo.assembly.configuration import schema
from mindvideo.assembly.data import build_training_data
from mindvideo.assembly.training import build_step, trainer_options
from mindvideo.config import known_configs
from mindvideo.config.reads import FAMILY_SECTIONS, reads
from mindvideo.config.schema import KeySpec
from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.models.registry import FAMILIES, card_of, reads_of


class Recorded:
    """A configuration that remembers which keys were read, by attribute or by item."""

    def __init__(self, values: ConfigDict, found: set[str], path: str = "") -> None:
        self._values, self._found, self._path = values, found, path

    def __getattr__(self, name: str):
        return self[name]

    def __getitem__(self, name: str):
        value = self._values[name]
        path = f"{self._path}.{name}" if self._path else name
        if isinstance(value, ConfigDict):
            return Recorded(value, self._found, path)
        self._found.add(path)
        return value


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory) -> str:
    """Four made-up videos, as the name of a training set."""
    folder = tmp_path_factory.mktemp("videos")
    for _ in write_split(folder, RECIPES["easy"], split="train", num_videos=4, seed=0):
        pass
    return f"{folder / 'annotations' / 'instances_train.json'}@{folder / 'train' / 'JPEGImages'}"


def variants(family: str) -> Iterator[list[str]]:
    """[configuration, overrides...]: its toy with each other kind of backbone, and every file of the family."""
    yield [f"{family}_toy"]
    backbone = schema().sections["backbone"]
    kinds = {spec.rules.when for spec in backbone.values() if spec.rules.when is not None}
    for kind in kinds if schema().read_by(backbone["name"], family) else ():
        dead = [f"backbone.{key}=null" for key, spec in backbone.items() if spec.rules.when not in (None, kind)]
        yield [f"{family}_toy", f"backbone.name={kind.values[0]}", *dead]
    if "linking" in reads_of(family).get("inference", ()):
        others = ["overlap", "gmpvis.solver=sinkhorn"] if family == "gmpvis" else ["features"]
        yield [f"{family}_toy", f"inference.linking={others[0]}", *others[1:]]
    names = [name for name, path in known_configs().items() if path.parent.name == family] or [
        name for name in known_configs() if load_config(name).family == family
    ]
    yield from ([name] for name in names)


def read_keys(name: str, overrides: list[str], tiny_set: str) -> set[str]:
    """The keys that building everything of a configuration reads."""
    found: set[str] = set()
    cfg = Recorded(load_config(name, overrides), found)
    family = card_of(cfg.family)
    with no_init_parameters():
        network = family.build_network(cfg)
        training = family.build_training(cfg, network, nn.Identity())
    family.build_tracker(cfg, network)
    family.mask_stride(cfg)
    family.weight_rules(cfg)
    groups = family.parameter_groups(cfg)
    if name.endswith("_toy"):
        own = load_config(name, [*overrides, f"data.train=['{tiny_set}']", "data.workers=0"])
        data = build_training_data(Recorded(own, found))
        build_step(cfg, network, training, data.batches_per_epoch, groups)
        trainer_options(cfg, data)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_that_a_family_declares_is_read(family, tiny_set):
    unread = {spec.path for spec in schema().keys() if is_of_family(spec) and schema().read_by(spec, family)}
    for name, *overrides in variants(family):
        if not unread:
            break
        unread -= read_keys(name, overrides, tiny_set)
    assert not unread, f"{family} declares keys that nothing reads: {sorted(unread)}; see READS in its settings"


def is_of_family(spec: KeySpec) -> bool:
    return spec.section in FAMILIES or spec.section in FAMILY_SECTIONS or spec.rules.by_family


def test_a_key_that_is_declared_and_not_read_is_noticed(tiny_set, monkeypatch):
    """The test above, seen to fail: SeqFormer said to read a key that it does not."""
    settings = importlib.import_module("mindvideo.models.seqformer.settings")
    monkeypatch.setattr(settings, "READS", reads(settings.READS, {"matcher": ("validity",)}))
    configuration._schema_of.cache_clear()
    try:
        assert "matcher.validity" not in read_keys("seqformer_toy", [], tiny_set)
        assert "matcher.class_cost" in read_keys("seqformer_toy", [], tiny_set)
        validity = schema().sections["matcher"]["validity"]
        assert schema().read_by(validity, "seqformer")
    finally:
        monkeypatch.undo()
        configuration._schema_of.cache_clear()


def test_an_undeclared_key_cannot_be_read():
    cfg = load_config("seqformer_toy")
    with pytest.raises(AttributeError):
        cfg.matcher.validity  # noqa: B018
    assert "vistr" not in cfg
