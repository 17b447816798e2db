"""SeqFormer's training step against the original's: matching, losses, predictions, gradients, one optimiser step.

The case with the most clips is compiled, the others run operator by operator.
"""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.masks.lazy import ClipMasks
from mindvideo.models.cards.sequences import sequence_matcher
from mindvideo.models.seqformer import card
from mindvideo.modules.values import Predictions, Targets
from mindvideo.training.parameter_groups import assign_parameters
from tests.modes import mode
from tests.parity.seqformer_golden import Case, assert_close, fill_network, padded_input

VALUE_TOLERANCE = 2e-5
MASK_TOLERANCE = 2e-4
GRADIENT_TOLERANCE = 2e-4
# Its gradient is zero but for rounding: the softmax over frames does not see a shift.
SHIFT = "time_attention_weights.bias"


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names_in(Path(metafunc.config.getoption("--golden")) / "mssts" / "r50_tiny"))


def names_in(folder: Path) -> list[str]:
    return sorted(path.stem.removesuffix("_targets") for path in folder.glob("*_targets.npz"))


def largest_batch(folder: Path) -> str:
    return max(names_in(folder), key=lambda name: len(json.loads((folder / f"{name}.json").read_text())["make_input"]))


class Batch:
    """The columns that the training graph takes, with float frames in place of bytes."""

    def __init__(self, case: Case, mask_stride: int) -> None:
        facts = case.facts
        targets = np.load(case.folder / f"{case.name}_targets.npz")
        sources = facts["make_input"]
        valid = np.asarray(facts["valid"]).reshape(-1, 2)
        B, T, (H, W) = len(sources), facts["frames"], facts["canvas"]
        inputs = [padded_input(case, source, (H, W), size) for source, size in zip(sources, valid)]
        self.frames, self.padding = (np.concatenate(part) for part in zip(*inputs))
        self.sizes = valid.astype(np.int32)
        N = max(len(targets[f"{b}.labels"]) for b in range(B))
        self.labels, self.exists = np.zeros((B, N), np.int32), np.zeros((B, N), bool)
        self.boxes, self.present = np.zeros((B, N, T, 4), np.float32), np.zeros((B, N, T), bool)
        masks = np.zeros((B, N, T, H, W), np.uint8)
        for b in range(B):
            n = len(targets[f"{b}.labels"])
            shape = facts["target_tensors"][f"{b}.masks"]["packbits_of_shape"]
            pixels = np.unpackbits(targets[f"{b}.masks"])[: np.prod(shape)].reshape(n, T, *shape[1:])
            masks[b, :n, :, : shape[1], : shape[2]] = pixels
            self.labels[b, :n], self.exists[b, :n] = targets[f"{b}.labels"], True
            self.boxes[b, :n] = targets[f"{b}.boxes"].reshape(n, T, 4)
            self.present[b, :n] = targets[f"{b}.valid"].reshape(n, T) > 0
        sampled = ClipMasks.of_pixels(masks.reshape(B * N, T, H, W)).sampled(mask_stride)
        self.masks = np.ascontiguousarray(sampled.reshape(B, N, T, *sampled.shape[2:]))

    def tensors(self, *names: str) -> list[ms.Tensor]:
        return [ms.Tensor(getattr(self, name)) for name in names]


class WholeStep(nn.Cell):
    """Total loss, with terms and predictions beside it."""

    def __init__(self, training: nn.Cell) -> None:
        super().__init__()
        self.training_cell = training

    def construct(self, frames, padding, sizes, labels, boxes, masks, present, exists):
        targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        clip = self.training_cell.predict(frames, padding, sizes, targets)
        total, terms = self.training_cell.losses(clip, targets)
        predictions = clip["predictions"]
        return total, terms, predictions["logits"], predictions["boxes"], clip["masks"], clip["query"]


class SameCount(nn.Cell):
    def construct(self, count):
        return count


def test_training_step_equals_the_original(golden, name):
    case = Case(golden / "mssts" / "r50_tiny", name)
    cfg = case.config()
    network = card.build_network(cfg)
    names = fill_network(case, network, cfg)
    training = card.build_training(cfg, network, SameCount())
    step = WholeStep(training)
    step.set_train(True)
    parameters = [(names[place.partition("network.")[2]], p) for place, p in trainable(step)]
    batch = Batch(case, card.FAMILY.mask_stride(cfg))
    columns = ("frames", "padding", "sizes", "labels", "boxes", "masks", "present", "exists")
    with mode(compiled=name == largest_batch(case.folder)):
        run = ms.value_and_grad(step, grad_position=None, weights=[p for _, p in parameters], has_aux=True)
        (total, terms, logits, boxes, masks, query), gradients = run(*batch.tensors(*columns))
    check_matching(case, query.asnumpy())
    check_losses(case, training.term_names, float(total), terms.asnumpy())
    check_predictions(case, *(part.asnumpy() for part in (logits, boxes, masks, query)))
    check_gradients(case, {source: g.asnumpy() for (source, _), g in zip(parameters, gradients)})


def trainable(cell: nn.Cell):
    return [(place, p) for place, p in cell.parameters_and_names() if p.requires_grad]


def check_matching(case: Case, matched: np.ndarray) -> None:
    for layer, clips in enumerate(case.facts["indices"]):
        for b, (queries, instances) in enumerate(clips):
            expected = np.full(matched.shape[-1], -1)
            expected[instances] = queries
            np.testing.assert_array_equal(matched[layer, b], expected)


def check_losses(case: Case, term_names, total: float, terms: np.ndarray) -> None:
    logged_only = ("class_error", "cardinality_error")
    expected = {key: value for key, value in case.facts["losses"].items() if not key.startswith(logged_only)}
    assert set(term_names) == set(expected)
    for name, value in zip(term_names, terms):
        assert value == pytest.approx(expected[name], rel=VALUE_TOLERANCE), name
    assert total == pytest.approx(case.facts["total"], rel=VALUE_TOLERANCE)


def check_predictions(case: Case, logits, boxes, masks, matched) -> None:
    """logits [D, B, Q, 1, K] and boxes [D, B, Q, T, 4] of all queries, masks [D, B, N, T, h, w] of the matched."""
    D, B = matched.shape[:2]
    assert_close(logits[-1], case, "pred_logits", VALUE_TOLERANCE)
    for layer in range(D):
        assert_close(logits[layer], case, f"matcher_in.pred_logits.{layer}", VALUE_TOLERANCE)
        for b in range(B):
            in_order = np.argsort(np.where(matched[layer, b] < 0, np.iinfo(np.int32).max, matched[layer, b]))
            in_order = in_order[: (matched[layer, b] >= 0).sum()]
            prefix = "" if layer == D - 1 else f"aux{layer}."
            key = next(key for key in (f"{prefix}pred_masks.clip{b}", f"{prefix}pred_masks") if key in case.arrays)
            assert_close(masks[layer, b, in_order], case, key, MASK_TOLERANCE)
    numbers, whole = case.stored("pred_boxes")
    assert whole["flat_stride"] == 1
    every_box = numbers.reshape(whole["shape"])  # [B, T, Q, 4]
    for b in range(B):
        for n in np.flatnonzero(matched[-1, b] >= 0):
            q = matched[-1, b, n]
            np.testing.assert_allclose(boxes[-1, b, q], every_box[b, :, q], atol=VALUE_TOLERANCE)


def check_gradients(case: Case, gradients: dict[str, np.ndarray]) -> None:
    facts = case.facts
    unused = {name for name, norm in facts["grad_norm"].items() if norm is None}
    squares = 0.0
    for name, gradient in gradients.items():
        norm = np.linalg.norm(gradient.astype(np.float64))
        squares += norm**2
        assert name not in unused
        if name.endswith(SHIFT):
            assert norm < 1e-4, name
            continue
        choices = (facts["grad_norm_float64"][name], facts["grad_norm"][name])
        assert any(norm == pytest.approx(choice, rel=GRADIENT_TOLERANCE) for choice in choices), (name, norm, choices)
    missing = {canonical(name) for name, norm in facts["grad_norm"].items() if norm is not None} - set(gradients)
    assert not missing
    assert np.sqrt(squares) == pytest.approx(facts["total_grad_norm_before_clip"], rel=GRADIENT_TOLERANCE)
    stored = [key for key in case.arrays.files if key.startswith("grad.")]
    assert stored
    for key in stored:
        assert_close(gradients[canonical(key.removeprefix("grad."))], case, key, 5 * GRADIENT_TOLERANCE)


def canonical(name: str) -> str:
    return name.replace("detr.transformer.decoder.bbox_embed.", "detr.bbox_embed.")


def test_matching_costs_equal_the_originals(golden, name):
    case = Case(golden / "mssts" / "r50_tiny", name)
    args, batch = case.facts["args"], Batch(case, 1)
    matcher = sequence_matcher(case.config(), "seqformer")
    logits, boxes = (
        np.stack([whole_of(case, f"matcher_in.{part}.{layer}") for layer in range(args["dec_layers"])])
        for part in ("pred_logits", "pred_boxes")
    )
    labels, target_boxes, present, exists = batch.tensors("labels", "boxes", "present", "exists")
    targets = Targets(labels=labels, boxes=target_boxes, present=present, exists=exists)
    predictions = Predictions(logits=ms.Tensor(logits[:, :, :, None]), boxes=ms.Tensor(boxes.swapaxes(2, 3)))
    cost = matcher.cost(predictions, targets).asnumpy()
    for layer in range(cost.shape[0]):
        expected = whole_of(case, f"cost.total.{layer}")  # [B, Q, all instances]
        counts = batch.exists.sum(1)
        starts = np.cumsum(counts) - counts
        for b in range(len(counts)):
            theirs = expected.reshape(-1, *expected.shape[-2:])[b][:, starts[b] : starts[b] + counts[b]]
            np.testing.assert_allclose(cost[layer, b, :, : counts[b]], theirs, atol=2e-5, rtol=2e-5)


def whole_of(case: Case, name: str) -> np.ndarray:
    numbers, whole = case.stored(name)
    assert whole["flat_stride"] == 1
    return numbers.reshape(whole["shape"])


def test_learning_rates_equal_the_originals(golden, name):
    """The backbone, and what decides where attention looks, learn ten times more slowly."""
    case = Case(golden / "mssts" / "r50_tiny", name)
    cfg = case.config()
    network = card.build_network(cfg)
    published = fill_network(case, network, cfg)
    groups = assign_parameters(network.trainable_params(), card.FAMILY.parameter_groups(cfg))
    rates = {published[p.name]: group.learning_rate for group in groups for p in group.parameters}
    expected = {canonical(source): case.facts["group_lr"][group] for source, group in case.facts["lr_group"].items()}
    unused = set(case.facts["unused_parameters"])
    assert {source: rate for source, rate in expected.items() if source not in unused} == rates
    assert {group.weight_decay for group in groups} == {case.facts["optimizer"]["weight_decay"]}
