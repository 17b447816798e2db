"""No family's graph holds an operator that Ascend does not have; see ascend_registry.py for what this shows."""

from __future__ import annotations

import json

import pytest

from mindvideo.models.registry import FAMILIES
from tests.ops import ascend_registry


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_has_a_kernel_or_a_translation(family):
    listed = json.loads(ascend_registry.LIST.read_text())
    assert family in listed, f"run: python -m tests.ops.ascend_registry {family}"
    names = listed[family]
    assert {"MatMul", "Add"} <= set(names) and len(names) > 40
    assert ascend_registry.without_kernel(names) == []


def test_an_operator_that_ascend_does_not_have_is_found():
    """Native operators of the CPU, names that nobody has, and one that MindSpore has for other devices only."""
    missing = ["NoSuchOperator", "Flurb", "CPULSTM", "PyExecute"]
    assert ascend_registry.without_kernel(["MatMul", "Conv2D", "LayerNorm", *missing]) == missing
    assert not ascend_registry.without_kernel(["MultiScaleDeformableAttn", "MultiScaleDeformableAttnGrad"])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_list_is_what_the_graphs_hold(family):
    """Minutes: compiles the training step of the family. `python -m tests.ops.ascend_registry` writes the list."""
    assert ascend_registry.graph_operators(family) == json.loads(ascend_registry.LIST.read_text())[family]
