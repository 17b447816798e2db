"""AdamW, SGD, clipping and schedules against numbers that PyTorch produced."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from mindvideo.errors import UserError
from mindvideo.training.optimizer import build_optimizer
from mindvideo.training.parameter_groups import ParameterGroup, assign_parameters, group_table
from mindvideo.training.schedule import build_schedule

PUBLISHED = json.loads((Path(__file__).parent / "fixtures" / "torch_optimizers.json").read_text())


def parameters_at_start() -> list[Parameter]:
    return [
        Parameter(Tensor(np.array(PUBLISHED["start"][name], np.float32).reshape(shape)), name=name)
        for name, shape in PUBLISHED["shapes"].items()
    ]


def published_groups() -> list[ParameterGroup]:
    return [ParameterGroup(g["pattern"], g["pattern"], g["lr"], g["weight_decay"]) for g in PUBLISHED["groups"]]


def as_numpy(values: dict) -> list[np.ndarray]:
    return [np.array(values[name], np.float32).reshape(shape) for name, shape in PUBLISHED["shapes"].items()]


def clipped(gradients: list[np.ndarray], clip_norm: float) -> list[np.ndarray]:
    norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
    factor = min(1.0, clip_norm / (norm + 1e-6)) if clip_norm else 1.0
    return [(g * factor).astype(np.float32) for g in gradients]


@pytest.mark.parametrize("run", PUBLISHED["runs"], ids=lambda run: f"{run['kind']}-clip{run['clip_norm']}")
def test_updates_are_those_of_pytorch(run):
    ms.set_context(mode=ms.GRAPH_MODE)
    parameters = parameters_at_start()
    by_name = {parameter.name: parameter for parameter in parameters}
    optimizer = build_optimizer(run["kind"], assign_parameters(parameters, published_groups()))
    order = [list(PUBLISHED["shapes"]).index(p.name) for p in optimizer.parameters]
    factors = build_schedule(
        "multi_step", num_steps=6, steps_per_epoch=1, milestones=PUBLISHED["milestones"], gamma=PUBLISHED["gamma"]
    )
    for index, (given, expected) in enumerate(zip(PUBLISHED["gradients"], run["after"])):
        gradients = clipped(as_numpy(given), run["clip_norm"])
        # A step that is left out, in front of every real one: it must change nothing.
        for apply in (0.0, 1.0):
            values = tuple(Tensor(gradients[i] * apply) for i in order)
            optimizer(values, Tensor(factors[index]), Tensor(apply, ms.float32))
        for (name, parameter), value in zip(by_name.items(), as_numpy(expected)):
            np.testing.assert_allclose(parameter.asnumpy(), value, rtol=2e-6, atol=2e-7, err_msg=f"{name} {index}")


def test_a_step_left_out_changes_no_bit():
    ms.set_context(mode=ms.GRAPH_MODE)
    for kind in ("adamw", "sgd"):
        parameters = parameters_at_start()
        optimizer = build_optimizer(kind, assign_parameters(parameters, published_groups()))
        gradients = tuple(Tensor(np.full(p.shape, 0.5, np.float32)) for p in optimizer.parameters)
        zeros = tuple(Tensor(np.zeros(p.shape, np.float32)) for p in optimizer.parameters)
        one = Tensor(1.0, ms.float32)
        for apply in (0.0, 1.0, 0.0):
            before = {p.name: p.asnumpy().tobytes() for p in optimizer.get_parameters()}
            optimizer(gradients if apply else zeros, one, Tensor(apply, ms.float32))
            after = {p.name: p.asnumpy().tobytes() for p in optimizer.get_parameters()}
            changed = {name for name in before if before[name] != after[name]}
            assert bool(changed) == bool(apply), (kind, changed)
            assert all(np.isfinite(p.asnumpy()).all() for p in optimizer.get_parameters())


@pytest.mark.parametrize("case", PUBLISHED["schedules"], ids=lambda case: case["kind"])
def test_schedules_are_those_of_pytorch(case):
    options = {name: case[name] for name in ("step_epochs", "milestones", "gamma") if name in case}
    factors = build_schedule(case["kind"], num_steps=3 * case["epochs"], steps_per_epoch=3, **options)
    assert factors.dtype == np.float32
    if case["kind"] == "cosine":  # ours moves with every step, PyTorch's here once an epoch
        factors = np.repeat(build_schedule("cosine", num_steps=case["epochs"], steps_per_epoch=1), 3)
    np.testing.assert_allclose(factors, np.repeat(case["factors"], 3), rtol=1e-6, atol=1e-7)


def test_warm_up_rises_linearly_to_the_full_rate():
    factors = build_schedule("constant", num_steps=10, steps_per_epoch=5, warmup_steps=4, warmup_factor=0.2)
    np.testing.assert_allclose(factors, [0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "linear"}, "choose constant"), ({"kind": "multi_step", "milestones": [4, 2]}, "milestones must rise")],
)
def test_schedule_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        build_schedule(num_steps=4, steps_per_epoch=2, **options)


def named(*names: str) -> list[Parameter]:
    return [Parameter(Tensor(np.zeros((2, 3), np.float32)), name=name) for name in names]


def test_first_pattern_counts_and_exceptions_keep_their_rate():
    groups = [ParameterGroup("backbone", "backbone", 1e-5, 1e-4), ParameterGroup("rest", ".*", 1e-4, 1e-4)]
    parameters = named("backbone.conv", "backbone.norm.bias", "head.weight", "head.bias")
    assigned = assign_parameters(parameters, groups, no_decay=[r"\.bias$"])
    found = {p.name: (g.learning_rate, g.weight_decay) for g in assigned for p in g.parameters}
    assert found == {
        "backbone.conv": (1e-5, 1e-4),
        "backbone.norm.bias": (1e-5, 0.0),
        "head.weight": (1e-4, 1e-4),
        "head.bias": (1e-4, 0.0),
    }
    assert sum(len(g.parameters) for g in assigned) == len(parameters)
    table = group_table(assigned).splitlines()
    assert [line.split("  ")[0] for line in table] == [
        "group",
        "backbone",
        "backbone, no decay",
        "rest",
        "rest, no decay",
    ]
    assert table[1].split()[1:5] == ["1e-05", "0.0001", "1", "6"]


def test_a_parameter_without_a_group_is_named():
    with pytest.raises(UserError, match="no parameter group fits neck.weight.*'head'"):
        assign_parameters(named("head.weight", "neck.weight"), [ParameterGroup("head", "head", 1e-4, 0.0)])
