"""The network as the card builds it: fresh weights, slot anchors, portions, and settings that do not fit."""

from __future__ import annotations

import re

import mindspore as ms
import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.errors import UserError
from mindvideo.execution.portions import frames_of_portion
from mindvideo.models.vistr.card import build_network, build_tracker
from mindvideo.modules.layers.query_anchors import anchor_boxes, anchor_codes

SMALL = ["data.num_frames=4", "vistr.num_queries=3", "vistr.encoder_layers=1", "vistr.decoder_layers=1"]


def uniform(low: float, high: float):
    def fits(values: np.ndarray) -> bool:
        width = high - low
        inside = values.min() >= low - 1e-6 and values.max() <= high + 1e-6
        return inside and (values.size < 500 or abs(values.std() - width / np.sqrt(12)) < 0.05 * width)

    return fits


def bound_of(gain: float, fan: int):
    return uniform(-gain * np.sqrt(3 / fan), gain * np.sqrt(3 / fan))


def constant(value: float):
    return lambda values: bool((values == value).all())


def xavier(shape) -> object:
    return bound_of(np.sqrt(2.0), shape[0] + shape[1])


def fan_in(shape) -> int:
    return int(np.prod(shape[1:]))


# Name pattern -> rule for (shape), the published initialisation; the first that fits counts.
RULES = [
    (r"^backbone\.", lambda shape: lambda values: True),  # replaced by pretrained weights
    (r"norm\d?\.weight$|gn.*\.weight$", lambda shape: constant(1.0)),
    (r"norm\d?\.bias$|gn.*\.bias$", lambda shape: constant(0.0)),
    (r"in_proj_bias$|out_proj\.bias$|conv_offset\.", lambda shape: constant(0.0)),
    (r"(in_proj_weight|out_proj\.weight|ffn\.linear\d\.weight)$", xavier),
    (r"attention_map\..*weight$", xavier),
    (r"attention_map\..*bias$", lambda shape: constant(0.0)),
    (r"queries\.weight$", lambda shape: lambda v: abs(v.mean()) < 0.05 and abs(v.std() - 1) < 0.05),
    (r"dcn\.weight$", lambda shape: bound_of(np.sqrt(2.0), fan_in(shape))),
    (r"(lay1|lay\.\d|adapter\.\d)\.weight$", lambda shape: bound_of(1.0, fan_in(shape))),
    (r"(lay1|lay\.\d|adapter\.\d)\.bias$", lambda shape: constant(0.0)),
    (r"\.weight$", lambda shape: bound_of(1 / np.sqrt(3), fan_in(shape))),
]
# The widths in front of the layers whose biases follow their fan-in.
BIAS_FAN = {"linear1": 384, "linear2": 2048, "class_embed": 384, "bbox_embed": 384, "project": 2048}
BIAS_FAN |= {"sequence_head.conv.0": 24 * 27, "sequence_head.conv": 12 * 27, "sequence_head.out": 12}


def build(*settings: str, seed: int = 1):
    ms.set_seed(seed)
    return build_network(load_config("vistr", [*SMALL, *settings]))


def test_fresh_weights_follow_the_published_rules() -> None:
    for name, parameter in build().parameters_and_names():
        values = parameter.asnumpy()
        rule = next((rule for pattern, rule in RULES if re.search(pattern, name)), None)
        if rule is None:
            fan = next(fan for part, fan in BIAS_FAN.items() if part in name)
            rule = lambda shape, fan=fan: uniform(-1 / np.sqrt(fan), 1 / np.sqrt(fan))  # noqa: E731
        assert rule(parameter.shape)(values), f"{name} {parameter.shape}: {values.min()} .. {values.max()}"


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (
        {name: p.asnumpy() for name, p in build("vistr.masks=false", seed=seed).parameters_and_names()}
        for seed in (1, 1, 2)
    )
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["queries.weight"] != other["queries.weight"]).any()


def test_queries_start_at_their_anchors() -> None:
    network = build("vistr.query_anchors=[1,3]", "vistr.masks=false")
    anchors = anchor_boxes(1, 3)
    assert np.allclose(anchors[:, 0], [1 / 6, 1 / 2, 5 / 6]) and np.allclose(anchors[:, 1], 0.5)
    codes = network.queries.weight.asnumpy().reshape(4, 3, -1)
    assert np.array_equal(codes, anchor_codes(1, 3, num_frames=4, width=384))
    # A query has the code of the token at its anchor: the last row, column and frame of a grid count a full turn.
    grid = network.position(ms.ops.zeros((1, 4, 2, 6), ms.bool_)).asnumpy()[0]
    assert np.abs(codes[:, 1] - grid[:, 0, 2]).max() < 1e-4
    weight = network.decoder.layers[0].multihead_attn.in_proj_weight.asnumpy()
    assert np.array_equal(weight[:384], weight[384:768])
    assert np.allclose(1 / (1 + np.exp(-network.head.box_bias.asnumpy()[:, 0])), anchors, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["vistr.width=100"], "vistr.width is 100; it must be a multiple of 6"),
        (["vistr.query_anchors=[2,4]"], "rows \\* columns = vistr.num_queries, 3"),
        (["vistr.token_levels=4"], "at least one must be left"),
        (["vistr.mask_widths=[8]"], "it needs one for each of the 3 levels"),
    ],
)
def test_settings_that_do_not_fit_say_so(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(*settings)


def test_a_box_model_has_no_tracker() -> None:
    cfg = load_config("vistr", [*SMALL, "vistr.masks=false"])
    with pytest.raises(UserError, match="vistr.masks=true"):
        build_tracker(cfg, build("vistr.masks=false"))


def test_portions_divide_the_clip_where_they_can() -> None:
    assert frames_of_portion(36, 6) == 6
    assert frames_of_portion(36, 5) == 4
    assert frames_of_portion(5, 60) == 5
    assert frames_of_portion(37, 6) == 6  # a prime: the last portion is shorter
    assert frames_of_portion(36, 0) == 1
