"""Every trainable parameter of every family is in exactly one group, with the rate that its name asks for."""

from __future__ import annotations

import pytest

from mindvideo import load_config
from mindvideo.assembly.configuration import schema
from mindvideo.models.registry import FAMILIES, card_of
from mindvideo.training.parameter_groups import assign_parameters


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_parameter_is_in_exactly_one_group(name):
    optimizer = schema().sections["optimizer"]
    wanted = {"offset_factor": 0.1, "backbone_learning_rate": 1e-5}
    own = {key: value for key, value in wanted.items() if schema().read_by(optimizer[key], name)}
    cfg = load_config(f"{name}_toy", [f"optimizer.{key}={value}" for key, value in own.items()])
    family = card_of(cfg.family)
    trainable = family.build_network(cfg).trainable_params()
    no_decay = list(cfg.optimizer.no_weight_decay)
    groups = assign_parameters(trainable, family.parameter_groups(cfg), no_decay=no_decay)
    placed = [parameter.name for group in groups for parameter in group.parameters]
    assert sorted(placed) == sorted(parameter.name for parameter in trainable)
    assert len(placed) == len(set(placed))
    rates = {parameter.name: group.learning_rate for group in groups for parameter in group.parameters}
    backbone = {rate for place, rate in rates.items() if "backbone." in place}
    assert backbone == {1e-5} or not schema().read_by(optimizer["backbone_learning_rate"], name)
    offsets = {rate for place, rate in rates.items() if "sampling_offsets" in place and "backbone" not in place}
    has_own_rate = any(group.name == "offsets" for group in family.parameter_groups(cfg))
    expected = cfg.optimizer.learning_rate * (0.1 if has_own_rate else 1)
    assert sorted(offsets) == pytest.approx([expected] * len(offsets))
    assert any(rate == cfg.optimizer.learning_rate for rate in rates.values())
