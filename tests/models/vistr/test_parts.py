"""The parts of VisTR against numbers of the published code: positions, boxes, losses, matching, attention maps."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.cards.clips import clip_training
from mindvideo.modules.heads.attention_mask import AttentionMap
from mindvideo.modules.layers.position_encoding import SinePositions3d
from mindvideo.modules.losses.box import giou_loss_per_box
from mindvideo.modules.losses.classification import weighted_softmax_cross_entropy
from mindvideo.modules.losses.mask import dice_per_mask, focal_per_mask
from mindvideo.modules.values import Predictions, Targets
from mindvideo.ops import boxes
from mindvideo.ops.masks import resize_padding
from tests.parity.test_vistr_training import check_rows, matching
from tests.parity.vistr_case import Reference

ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("padded", [0, 7])
def test_unit_maps_have_a_mean_of_one_and_the_published_shape_of_weights(padded: int) -> None:
    rng = np.random.default_rng(0)
    queries, memory = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 16), (2, 16, 5, 6)))
    padding = np.zeros((2, 5, 6), bool)
    padding.reshape(2, -1)[:, 30 - padded :] = True
    plain, unit = (AttentionMap(width=16, heads=4, unit_mean=unit_mean) for unit_mean in (False, True))
    for own, other in zip(unit.get_parameters(), plain.get_parameters()):
        own.set_data(other)
    plain, unit = (cell(*map(ms.Tensor, (queries, memory, padding))).asnumpy() for cell in (plain, unit))
    np.testing.assert_allclose(unit.reshape(2, 3, -1).mean(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(unit, plain * (4 * 30), rtol=1e-5)


@pytest.fixture
def reference(golden: Path) -> Reference:
    return Reference(golden)


@pytest.fixture
def units(reference: Reference) -> dict:
    return reference.facts("units.json")


def differentiate(function, *arguments: np.ndarray):
    """Value and gradient with respect to the first argument, from a compiled graph."""
    value, gradient = ms.jit(ms.value_and_grad(function))(*(ms.Tensor(a) for a in arguments))
    return float(value), gradient.asnumpy()


def test_positions_of_padded_clips(reference: Reference, units: dict) -> None:
    facts, numbers = units["units"]["position_encoding"], reference.numbers("unit_position_encoding")
    shape = (facts["B"], facts["T"], facts["h"], facts["w"])
    padding = ms.Tensor(numbers["mask"].reshape(shape))
    for key in (name for name in numbers if name.startswith("pos_") and name.endswith("_shape")):
        features = int(key.split("_")[1])
        got = SinePositions3d(features=features)(padding).asnumpy().transpose(0, 1, 4, 2, 3)
        assert got.shape == tuple(numbers[key])
        stride = int(numbers[f"pos_{features}_stride"])
        assert np.abs(got.reshape(-1)[::stride] - numbers[f"pos_{features}"]).max() < 1e-6
    raw = SinePositions3d(features=8, normalize=False)(padding).asnumpy().transpose(0, 1, 4, 2, 3)
    assert np.abs(raw.reshape(-1) - numbers["pos_8_unnormalised"].reshape(-1)).max() < 1e-6


def test_padding_masks_resized(reference: Reference, units: dict) -> None:
    facts, numbers = units["units"]["position_encoding"], reference.numbers("unit_position_encoding")
    padding = np.ones((len(facts["mask_valid"]), *facts["mask_canvas"]), bool)
    for row, (height, width) in enumerate(facts["mask_valid"]):
        padding[row, :height, :width] = False
    sizes = [name for name in numbers if name.startswith("mask_")]
    assert sizes
    for name in sizes:
        height, width = map(int, name.removeprefix("mask_").split("x"))
        assert (resize_padding(ms.Tensor(padding), height, width).asnumpy() == numbers[name]).all(), name


def test_boxes(reference: Reference) -> None:
    numbers = reference.numbers("unit_boxes")
    a, b = (boxes.cxcywh_to_xyxy(ms.Tensor(numbers[f"{name}_cxcywh"])) for name in "ab")
    assert np.abs(a.asnumpy() - numbers["a_xyxy"]).max() < 1e-6
    assert np.abs(boxes.xyxy_to_cxcywh(a).asnumpy() - numbers["a_back"]).max() < 1e-6
    assert np.abs(boxes.pairwise_iou(a, b, eps=1e-6).asnumpy() - numbers["iou"]).max() < 1e-6
    assert np.abs(boxes.pairwise_giou(a, b, eps=1e-6).asnumpy() - numbers["giou"]).max() < 1e-6
    _, union = boxes.iou_and_union(a.expand_dims(1), b.expand_dims(0))
    assert np.abs(union.asnumpy() - numbers["union"]).max() < 1e-6


def test_paired_giou_and_its_gradient(reference: Reference) -> None:
    numbers = reference.numbers("unit_boxes")
    count = len(numbers["pair_giou_loss"])

    def loss(predicted, target):
        return giou_loss_per_box(predicted, target, eps=1e-6).sum()

    value, gradient = differentiate(loss, numbers["a_cxcywh"][:count], numbers["b_cxcywh"][:count])
    assert value == pytest.approx(numbers["pair_giou_loss"].sum(), rel=1e-6)
    assert np.abs(gradient - numbers["pair_giou_loss_grad"]).max() < 1e-5


def test_boxes_without_area_have_no_overlap_and_no_nan() -> None:
    empty = np.zeros((3, 4), np.float32)

    def loss(predicted, target):
        return giou_loss_per_box(predicted, target).sum()

    value, gradient = differentiate(loss, empty, empty)
    assert value == 3.0 and np.isfinite(gradient).all()


@pytest.mark.parametrize("count", [5, 12])
@pytest.mark.parametrize(("name", "per_mask"), [("dice", dice_per_mask), ("focal", focal_per_mask)])
def test_mask_losses(reference: Reference, count: int, name: str, per_mask) -> None:
    numbers = reference.numbers("unit_losses")

    def loss(logits, target):
        return per_mask(logits, target).sum() / count

    value, gradient = differentiate(loss, numbers["inputs"], numbers["targets"])
    assert value == pytest.approx(float(numbers[f"{name}_{count}"]), rel=1e-6)
    assert np.abs(gradient - numbers[f"{name}_{count}_grad"]).max() < 1e-7


def test_weighted_cross_entropy(reference: Reference) -> None:
    numbers = reference.numbers("unit_losses")
    weights = np.ones(numbers["ce_logits"].shape[-1], np.float32)
    weights[-1] = 0.1
    logits, targets = numbers["ce_logits"], numbers["ce_targets"].astype(np.int32).reshape(-1)
    value, gradient = differentiate(
        weighted_softmax_cross_entropy, logits.reshape(-1, logits.shape[-1]), targets, weights
    )
    gradient = gradient.reshape(logits.shape)
    assert value == pytest.approx(float(numbers["ce"]), rel=2e-6)
    assert np.abs(gradient - numbers["ce_grad"]).max() < 1e-6


@pytest.mark.parametrize(("behaviour", "validity"), [("released", "released"), ("validfix", "matched")])
def test_matcher(reference: Reference, units: dict, behaviour: str, validity: str) -> None:
    facts, numbers = units["units"]["matcher"], reference.numbers("unit_matcher")
    T, Q, seed, costs = facts["num_frames"], facts["slots"], units["input_seed"], facts["costs"]
    training = training_of(
        f"matcher.class_cost={costs['cost_class']}",
        f"matcher.box_cost={costs['cost_bbox']}",
        f"matcher.iou_cost={costs['cost_iou']}",
        f"matcher.validity={validity}",
    )
    for case, instances in facts["cases"].items():
        labels, target_boxes, valid = (numbers[f"{name}_{case}"] for name in ("labels", "boxes", "valid"))
        made = {name: reference.make_input(f"matcher/{case}/{name}", shape, seed, **limits) for name, shape, limits in (
            ("logits", facts["logits"][2], {}),
            ("c", facts["boxes"][1][2], facts["boxes"][1][3]),
            ("s", facts["boxes"][2][2], facts["boxes"][2][3]),
        )}  # fmt: skip
        predicted = np.concatenate([made["c"], made["s"]], axis=-1)
        rows = instances + 2  # two of padding
        labels, valid = padded(labels.reshape(-1, T), rows), padded(valid.reshape(-1, T), rows).astype(bool)
        assert (labels == labels.max(axis=1, keepdims=True, initial=0) * valid).all()
        predictions = Predictions(
            logits=ms.Tensor(made["logits"].reshape(1, 1, T, Q, -1).swapaxes(2, 3)),
            boxes=ms.Tensor(predicted.reshape(1, 1, T, Q, 4).swapaxes(2, 3)),
        )
        targets = Targets(
            labels=ms.Tensor(labels.max(axis=1).astype(np.int32)[None]),
            boxes=ms.Tensor(padded(target_boxes.reshape(-1, T, 4), rows)[None]),
            present=ms.Tensor(valid[None]),
            exists=ms.Tensor((np.arange(rows) < instances)[None]),
        )
        cost, query, supervised = matching(training, predictions, targets)
        assert np.abs(cost[0, :, :instances] - numbers[f"cost_{case}"]).max(initial=0) < 2e-6
        names = {"slot": "slot", "target": "target", "src_rows": f"{behaviour}_src", "tgt_rows": f"{behaviour}_tgt"}
        match = {key: numbers[f"{name}_{case}"].tolist() for key, name in names.items()}
        check_rows(query[0], supervised[0], match, T=T, Q=Q)


def training_of(*settings: str):
    """VisTR's matcher and criterion as the card builds them, around a network that does not matter here."""
    return clip_training(load_config("vistr", settings), nn.Identity(), nn.Identity(), decoder_layers=1)


def padded(values: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((rows - len(values), *values.shape[1:]), values.dtype)])


@pytest.mark.parametrize("tag", ["official", "small"])
def test_attention_map_and_its_gradients(reference: Reference, units: dict, tag: str) -> None:
    facts, numbers = units["units"]["attention_map"], reference.numbers("unit_attention_map")
    width, heads = facts[tag]["dim"], facts[tag]["heads"]
    cell = AttentionMap(width=width, heads=heads)
    for name, parameter in cell.parameters_and_names():
        value = reference.fill(name, parameter.shape, units["fill_seed"])
        parameter.set_data(ms.Tensor(value * np.float32(facts["scale"]["weight"] if "weight" in name else 1)))
    B, Q, h, w = (facts[key] for key in ("B", "Q", "h", "w"))
    padding = np.ones((B, h, w), bool)
    for clip, (height, columns) in enumerate(facts["valid"]):
        padding[clip, :height, :columns] = False
    shapes = {"q": (B, Q, width), "k": (B, width, h, w), "go": (B, Q, heads, h, w)}
    q, k, go = (
        ms.Tensor(reference.make_input(f"mhmap/{tag}/{name}", shape, units["input_seed"]))
        for name, shape in shapes.items()
    )
    mask = ms.Tensor(padding)

    def weighted(q, k):
        maps = cell(q, k, mask)
        return (maps * go).sum(), maps

    weights = ms.ParameterTuple(cell.trainable_params())
    (_, maps), ((grad_q, grad_k), of_weights) = ms.jit(ms.value_and_grad(weighted, (0, 1), weights, has_aux=True))(q, k)
    assert np.abs(maps.asnumpy() - numbers[f"{tag}_out"]).max() < 1e-6
    for name, got in (("grad_q", grad_q), ("grad_k", grad_k)):
        wanted = numbers[f"{tag}_{name}"]
        assert np.abs(got.asnumpy() - wanted).max() < 2e-5 * max(1.0, np.abs(wanted).max())
    for parameter, gradient in zip(weights, of_weights):
        wanted = float(numbers[f"{tag}_gradnorm_{parameter.name}"])
        assert np.linalg.norm(gradient.asnumpy().astype(np.float64)) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    sums = maps.asnumpy().sum(axis=(2, 3, 4))
    assert np.abs(sums - 1).max() < 1e-5, "a query's maps sum to 1 over all heads together"


def test_identity_is_left_alone() -> None:
    """A cost that is wrong by its sign would give the far slot."""
    near = np.array([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]], np.float32)
    predicted = near[::-1].reshape(1, 1, 2, 1, 4).copy()
    predictions = Predictions(logits=ms.Tensor(np.zeros((1, 1, 2, 1, 3), np.float32)), boxes=ms.Tensor(predicted))
    targets = Targets(
        labels=ms.Tensor(np.ones((1, 2), np.int32)),
        boxes=ms.Tensor(near.reshape(1, 2, 1, 4)),
        present=ms.Tensor(np.ones((1, 2, 1), bool)),
        exists=ms.Tensor(np.ones((1, 2), bool)),
    )
    _, query, supervised = matching(training_of(), predictions, targets)
    assert query.tolist() == [[1, 0]]
    assert supervised.all()
