"""The name tables: strict both ways, and readable backwards."""

from __future__ import annotations

import numpy as np
import pytest

from mindvideo.modules.layers.window_attention import relative_position_index
from mindvideo.weights.backbone_rules import backbone_rules, imagenet_table, position_index_of_table
from mindvideo.weights.rules import Rule, RuleTable, as_tables, best_plan, identity, plan_leaving, plan_loading

TABLE = RuleTable(
    "published",
    (
        Rule(r"net\.body\.(.*)", r"backbone.\1"),
        Rule(r"net\.heads\.(\d+)\.(weight|bias)", r"head.\2.\1"),
        Rule(r"copy\.heads\.(\d+)\.(weight|bias)", r"head.\2.\1", derived=identity),
        Rule(r"net\.counter", None),
    ),
    fresh=(r"extra\..*",),
)


def test_every_name_lands_in_one_list():
    sources = ["net.body.conv.weight", "net.heads.0.bias", "copy.heads.0.bias", "net.counter", "net.other"]
    plan = plan_loading(TABLE, sources, ["backbone.conv.weight", "head.bias.0", "extra.token", "lost"])
    assert [(link.source, link.parameter) for link in plan.links] == [
        ("net.body.conv.weight", "backbone.conv.weight"),
        ("net.heads.0.bias", "head.bias.0"),
    ]
    assert [link.source for link in plan.derived] == ["copy.heads.0.bias"]
    assert (plan.dropped, plan.unknown, plan.fresh, plan.missing) == (
        ["net.counter"],
        ["net.other"],
        ["extra.token"],
        ["lost"],
    )
    assert not plan.is_complete and plan.problems == 2


def test_rule_to_no_parameter_is_a_problem():
    plan = plan_loading(TABLE, ["net.body.conv.weight", "net.body.absent"], ["backbone.conv.weight"])
    assert [link.source for link in plan.astray] == ["net.body.absent"] and not plan.is_complete


def test_two_rules_for_a_name_and_two_names_for_a_parameter_are_problems():
    table = RuleTable("twice", (Rule(r"a\.(.*)", r"\1"), Rule(r"(a\.x)", r"\1"), Rule(r"b\.(.*)", r"\1")))
    plan = plan_loading(table, ["a.x", "a.y", "b.y"], ["x", "y"])
    assert len(plan.ambiguous) == 2 and "a.x" in plan.ambiguous[0] and "a.y and by b.y" in plan.ambiguous[1]


def test_a_file_that_fills_nothing_is_never_complete():
    plan = plan_loading(RuleTable("all fresh", (Rule(r"x", None),), fresh=(".*",)), ["x"], ["a", "b"])
    assert plan.problems == 0 and not plan.is_complete


def test_backwards():
    links, nameless = plan_leaving(TABLE, ["backbone.conv.weight", "head.bias.12", "extra.token"])
    assert [(link.parameter, link.source) for link in links] == [
        ("backbone.conv.weight", "net.body.conv.weight"),
        ("head.bias.12", "net.heads.12.bias"),
        ("head.bias.12", "copy.heads.12.bias"),
    ]
    assert nameless == ["extra.token"]


def test_two_names_on_the_way_back_are_refused():
    table = RuleTable("twice", (Rule(r"a\.(.*)", r"\1"), Rule(r"b\.(.*)", r"\1")))
    with pytest.raises(ValueError, match="two names on the way back: a.x and b.x"):
        plan_leaving(table, ["x"])


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"a.b", "c"),  # the dot is no literal
        (r"a\.(.*)", "c"),  # the group is lost
        (r"a\.b", r"c.\1"),  # there is no group
        (r"a\.((x|y)z)", r"\1"),  # groups inside groups would shift the numbers
        (r"a\.(x", r"\1"),
    ],
)
def test_rules_that_cannot_be_read_backwards_are_refused(pattern: str, replacement: str):
    with pytest.raises((ValueError, Exception), match="rule|unterminated") as caught:
        Rule(pattern, replacement)
    assert caught.type.__name__ in {"ValueError", "error"}


def test_transform_needs_its_inverse():
    with pytest.raises(ValueError, match="inverse"):
        Rule(r"(a)", r"\1", transform=np.squeeze)


def test_table_is_chosen_by_what_it_explains():
    other = RuleTable("other", (Rule(r"old\.(.*)", r"backbone.\1"),), fresh=(r"head\..*",))
    parameters = ["backbone.conv.weight", "head.bias.0"]
    assert best_plan([TABLE, other], ["old.conv.weight"], parameters).table.name == "other"
    assert best_plan([TABLE, other], ["net.body.conv.weight", "net.heads.0.bias"], parameters).table.name == "published"
    assert best_plan([TABLE, other], ["unrelated"], parameters).table.name == "published"
    with pytest.raises(ValueError, match="published, other"):
        best_plan([TABLE, other], [], [], name="absent")


def test_dropped_entries_of_a_table_come_before_its_rules():
    table = RuleTable("start", TABLE.rules, dropped=(r"net\.heads\..*",), fresh=(r"head\..*",))
    plan = plan_loading(table, ["net.body.w", "net.heads.0.bias"], ["backbone.w", "head.bias.0"])
    assert plan.is_complete and plan.dropped == ["net.heads.0.bias"] and plan.fresh == ["head.bias.0"]


def test_bare_rules_make_the_published_table():
    tables = as_tables([Rule(r"(a)", r"\1"), TABLE])
    assert [table.name for table in tables] == ["published", "published"] and len(tables[0].rules) == 1


BACKBONE_NAMES = {
    "conv1.weight": "conv1.weight",
    "bn1.running_var": "bn1.running_var",
    "layer3.22.bn3.bias": "layer3.22.bn3.bias",
    "layer4.0.downsample.1.running_mean": "layer4.0.downsample.1.running_mean",
    "layers.2.blocks.17.attn.qkv.bias": "layers.2.blocks.17.attn.qkv.bias",
    "layers.0.downsample.reduction.weight": "layers.0.downsample.reduction.weight",
    "norm3.weight": "norm3.weight",
}


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_backbone_names_inside_a_model(name: str):
    table = RuleTable("model", tuple(backbone_rules("detr.backbone.0.body.", "backbone.")))
    plan = plan_loading(table, [f"detr.backbone.0.body.{name}"], [f"backbone.{name}"])
    assert plan.is_complete
    links, nameless = plan_leaving(table, [f"backbone.{name}"])
    assert not nameless and f"detr.backbone.0.body.{name}" in [link.source for link in links]


def test_imagenet_files():
    parameters = ["backbone.conv1.weight", "backbone.bn1.weight", "decoder.weight"]
    sources = ["conv1.weight", "bn1.weight", "bn1.num_batches_tracked", "fc.weight", "fc.bias"]
    plan = plan_loading(imagenet_table("backbone."), sources, parameters)
    assert plan.is_complete and plan.fresh == ["decoder.weight"]
    assert plan.dropped == ["bn1.num_batches_tracked", "fc.weight", "fc.bias"]
    swin = ["patch_embed.proj.weight", "norm.weight", "head.bias", "layers.0.blocks.1.attn_mask"]
    parameters = ["backbone.patch_embed.proj.weight", "backbone.norm0.weight"]
    plan = plan_loading(imagenet_table("backbone."), swin, parameters)
    assert plan.is_complete and plan.fresh == ["backbone.norm0.weight"] and len(plan.dropped) == 3
    lacking = plan_loading(
        imagenet_table("backbone."), ["conv1.weight"], ["backbone.conv1.weight", "backbone.bn1.bias"]
    )
    assert lacking.missing == ["backbone.bn1.bias"]


@pytest.mark.parametrize("window", [1, 2, 7, 12])
def test_position_index_follows_from_the_table(window: int):
    table = np.zeros(((2 * window - 1) ** 2, 3), np.float32)
    index = position_index_of_table(table)
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, relative_position_index(window))
