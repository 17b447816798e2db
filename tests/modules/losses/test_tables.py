"""The tables of costs and losses: settings, and rows of a user's own."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from scipy.optimize import linear_sum_assignment

from mindvideo.errors import UserError
from mindvideo.modules.losses import terms
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.matched import Matched
from mindvideo.modules.matching import costs
from mindvideo.modules.matching.matcher import CostTerm, Matcher
from mindvideo.modules.values import Predictions, Targets

ms.set_context(mode=ms.GRAPH_MODE)
D, B, Q, T, N, K = 2, 2, 5, 3, 4, 6


def predictions(seed: int = 0, *, classes_of: int = T) -> Predictions:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0.2, 0.4, (D, B, Q, T, 4)).astype(np.float32)
    logits = rng.standard_normal((D, B, Q, classes_of, K)).astype(np.float32)
    return Predictions(logits=ms.Tensor(logits), boxes=ms.Tensor(boxes))


def targets(seed: int = 1) -> Targets:
    rng = np.random.default_rng(seed)
    exists = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    present = rng.random((B, N, T)) < 0.7
    present[:, :, 0] |= ~present.any(axis=-1)
    return Targets(
        labels=ms.Tensor(rng.integers(1, K - 1, (B, N)).astype(np.int32) * exists),
        boxes=ms.Tensor(rng.uniform(0.2, 0.4, (B, N, T, 4)).astype(np.float32)),
        masks=ms.Tensor((rng.random((B, N, T, 8, 6)) < 0.3).astype(np.uint8)),
        present=ms.Tensor(present & exists[..., None]),
        exists=ms.Tensor(exists),
    )


def areas(given: Predictions, wanted: Targets, counted: ms.Tensor) -> ms.Tensor:
    """A cost of one's own: how far apart the areas of the boxes are, summed over the counted frames."""
    own = given["boxes"][..., 2] * given["boxes"][..., 3]  # [D, B, Q, T]
    other = wanted["boxes"][..., 2] * wanted["boxes"][..., 3] * counted  # [B, N, T]
    difference = ops.abs(own.expand_dims(3) * counted.expand_dims(1) - other.expand_dims(1))
    return difference.sum(-1)


def sharpness(m: Matched) -> ms.Tensor:
    """A loss of one's own: minus the largest logit of every query, summed."""
    return -ops.amax(m["logits"], -1).sum((1, 2, 3))


@pytest.mark.parametrize("frames", ["all", "present", "first"])
def test_a_cost_of_ones_own_is_a_row_more(frames: str):
    matcher = Matcher(terms=[CostTerm("areas", areas, 1.0)], frames=frames)
    given, wanted = predictions(), targets()
    own, other = (boxes.asnumpy()[..., 2] * boxes.asnumpy()[..., 3] for boxes in (given["boxes"], wanted["boxes"]))
    counts = np.ones((B, N, T)) if frames != "present" else wanted["present"].asnumpy().astype(float)
    if frames == "first":
        counts[..., 1:] = 0
    by_hand = (np.abs(own[:, :, :, None] - other[None, :, None]) * counts[None, :, None]).sum(-1)
    np.testing.assert_allclose(matcher.cost(given, wanted).asnumpy(), by_hand, atol=1e-6)
    query = matcher(given, wanted).asnumpy()
    exists = wanted["exists"].asnumpy()
    assert ((query >= 0) == exists[None]).all()
    for layer in range(D):
        for clip in range(B):
            cost = by_hand[layer, clip][:, exists[clip]]
            taken = query[layer, clip][exists[clip]]
            best = cost[linear_sum_assignment(cost)].sum()
            assert len(set(taken)) == len(taken)
            assert cost[taken, np.arange(len(taken))].sum() == pytest.approx(best, abs=1e-6)


def test_costs_of_one_class_a_clip_and_of_joint_boxes():
    given, wanted = predictions(classes_of=1), targets()
    counted = wanted["present"].astype(ms.float32)
    joint = costs.joint_euclidean_box(given, wanted, counted).asnumpy()
    difference = given["boxes"].asnumpy()[:, :, :, None] - wanted["boxes"].asnumpy()[None, :, None]
    by_hand = np.sqrt(((difference * counted.asnumpy()[None, :, None, :, :, None]) ** 2).sum((-1, -2)))
    np.testing.assert_allclose(joint, by_hand, atol=1e-6)
    of_clip = costs.focal_class(given, wanted, counted, of_clip=True).asnumpy()
    assert of_clip.shape == (D, B, Q, N)
    p = 1 / (1 + np.exp(-given["logits"].asnumpy()[:, :, :, 0].astype(np.float64)))
    cost = 0.25 * (1 - p) ** 2 * -np.log(p + 1e-8) - 0.75 * p**2 * -np.log(1 - p + 1e-8)
    labels = wanted["labels"].asnumpy()
    for clip in range(B):
        np.testing.assert_allclose(of_clip[:, clip], cost[:, clip][:, :, labels[clip]], atol=1e-5)


def criterion(**settings) -> Criterion:
    table = [
        LossTerm("loss_ce", terms.focal_classes, 2.0),
        LossTerm("loss_bbox", terms.l1_boxes, 5.0),
        LossTerm("sharpness", sharpness, 0.5, layers="last", per="none"),
        LossTerm("loss_mask", terms.focal_masks, 1.0, layers="last", per="instance", options={"empty_frames": True}),
    ]
    return Criterion(terms=table, num_layers=D, reduce_count=nn.Identity(), **settings)


def test_a_loss_of_ones_own_and_the_names_weights_and_divisors():
    given, wanted = predictions(), targets()
    query = Matcher(terms=[CostTerm("box", costs.l1_box, 1.0)])(given, wanted)
    masks = ms.Tensor(np.random.default_rng(3).standard_normal((1, B, N, T, 4, 3)).astype(np.float32))
    own = criterion()
    total, values = own(given, wanted, query, masks)
    assert own.term_names == ("loss_ce", "loss_bbox", "sharpness", "loss_mask", "loss_ce_0", "loss_bbox_0")
    found = dict(zip(own.term_names, values.asnumpy()))
    instances, exists = wanted["exists"].asnumpy().sum(), wanted["exists"].asnumpy()
    boxes, target, matched = given["boxes"].asnumpy(), wanted["boxes"].asnumpy(), query.asnumpy()
    present = wanted["present"].asnumpy()
    for layer, name in ((0, "loss_bbox_0"), (1, "loss_bbox")):
        by_hand = sum(
            np.abs(boxes[layer, b, matched[layer, b, n]] - target[b, n]).sum(-1)[present[b, n]].sum()
            for b in range(B)
            for n in np.flatnonzero(exists[b])
        )
        assert found[name] == pytest.approx(by_hand / (instances * T), rel=1e-5)
    assert found["sharpness"] == pytest.approx(-given["logits"].asnumpy()[-1].max(-1).sum(), rel=1e-5)
    weights = dict(zip(own.term_names, (2.0, 5.0, 0.5, 1.0, 2.0, 5.0)))
    assert float(total) == pytest.approx(sum(found[name] * weights[name] for name in found), rel=1e-5)


def test_where_a_query_is_supervised():
    given, wanted = predictions(), targets()
    query = Matcher(terms=[CostTerm("box", costs.l1_box, 1.0)])(given, wanted)
    taken = (query >= 0).astype(ms.float32)
    present, exists = wanted["present"].asnumpy(), wanted["exists"].asnumpy()
    answers = {
        name: criterion(supervised=name).supervised_frames(query, taken, wanted).asnumpy()
        for name in ("present", "all", "released")
    }
    assert (answers["present"] == np.broadcast_to(present, (D, B, N, T))).all()
    assert (answers["all"] == np.broadcast_to(exists[..., None], (D, B, N, T))).all()
    for layer in range(D):
        for clip in range(B):
            order = sorted(np.flatnonzero(exists[clip]), key=lambda n: int(query.asnumpy()[layer, clip, n]))
            for rank, instance in enumerate(order):
                assert (answers["released"][layer, clip, instance] == present[clip, rank]).all()


def test_masks_are_compared_at_the_pixels_of_the_targets():
    given, wanted = predictions(), targets()
    query = Matcher(terms=[CostTerm("box", costs.l1_box, 1.0)])(given, wanted)
    masks = ms.Tensor(np.random.default_rng(3).standard_normal((1, B, N, T, 4, 3)).astype(np.float32))
    _, last = criterion(mask_stride=2).line_up(given, wanted, query, masks, None)
    pooled = wanted["masks"].asnumpy().reshape(B, N, T, 4, 2, 3, 2).astype(np.float32).mean((4, 6))
    np.testing.assert_allclose(last["target_masks"].asnumpy(), pooled, atol=1e-6)
    np.testing.assert_array_equal(last["masks"].asnumpy(), masks.asnumpy())
    _, last = criterion().line_up(given, wanted, query, masks, None)
    assert last["masks"].shape == (1, B, N, T, 8, 6)


def test_settings_that_do_not_exist_say_so():
    with pytest.raises(UserError, match="choose one of all, present, first"):
        Matcher(terms=[], frames="some")
    with pytest.raises(UserError, match="loss term x"):
        Criterion(terms=[LossTerm("x", sharpness, 1.0, per="pixel")], num_layers=1, reduce_count=nn.Identity())
    with pytest.raises(UserError, match="supervised is one of"):
        criterion(supervised="never")
