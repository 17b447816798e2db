"""Which parameter learns at which rate, and which not at all, against the groups that the original code made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mindvideo import load_config
from mindvideo.assembly.network import build_network
from mindvideo.models.registry import card_of
from mindvideo.training.parameter_groups import assign_parameters
from mindvideo.weights.rules import as_tables, plan_loading

CONFIGS = {
    "resnet50": "vistr",
    "resnet101": "vistr_r101",
    "ytvis": "instanceformer_ytvis2019_r50",
    "ovis": "instanceformer_ovis_r50",
    "pretrain": "instanceformer_coco_r50",
}
# How the recorded groups are called, and the key of ours whose rate they learn at; offsets at a tenth of it.
RATES = {
    "lr_1e_4": ("learning_rate", 1.0),
    "base": ("learning_rate", 1.0),
    "lr_backbone_1e_5": ("backbone_learning_rate", 1.0),
    "backbone": ("backbone_learning_rate", 1.0),
    "linear_proj": ("learning_rate", 0.1),
}


def pytest_generate_tests(metafunc):
    folder = Path(metafunc.config.getoption("--golden"))
    files = sorted(folder.rglob("param_groups_*.json"))
    metafunc.parametrize("file", files, ids=[file.stem.removeprefix("param_groups_") for file in files])


def recorded_groups(file: Path) -> Iterator[tuple[str, list[str]]]:
    content = json.loads(file.read_text())
    for name, members in content.get("groups", content).items():
        if name in RATES or name == "frozen":
            yield name, members


def test_rates_of_the_original(file):
    cfg = load_config(CONFIGS[file.stem.removeprefix("param_groups_")])
    network = build_network(cfg)
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    family = card_of(cfg.family)
    published = as_tables(family.weight_rules(cfg))[0]
    groups = assign_parameters(network.trainable_params(), family.parameter_groups(cfg))
    rates = {parameter.name: group.learning_rate for group in groups for parameter in group.parameters}
    expected, frozen = {}, set()
    for name, members in recorded_groups(file):
        plan = plan_loading(published, members, parameters)
        assert not plan.unknown and not plan.astray and not plan.ambiguous, (name, plan.unknown, plan.astray)
        reached = {link.parameter for link in [*plan.links, *plan.derived]}
        if name == "frozen":
            frozen |= reached
            continue
        key, factor = RATES[name]
        expected |= dict.fromkeys(reached, cfg.optimizer[key] * factor)
    assert frozen.isdisjoint(rates)
    assert set(rates) == set(expected)
    assert rates == pytest.approx(expected, rel=1e-12)
