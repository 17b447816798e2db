"""GMP-VIS on samples of two clips: the matching loss by itself reaches everything before it, and its truth is right."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter

from mindvideo.models.gmpvis.training import targets_of_clips
from mindvideo.modules.layers.dropout import seed_dropout
from mindvideo.modules.layers.ramp import Ramp
from tests.models.small_models import Model, Sizes, batch, new_model, tensors

SIZES = Sizes(T=2, Q=4, K=5, N=3, height=64, width=64)


@pytest.fixture(scope="module")
def own() -> Model:
    return new_model("gmpvis", SIZES, second_class_weight=0.0, encoder_layers=1, decoder_layers=1)


def two_clips(own: Model) -> list[np.ndarray]:
    """The columns of a batch of one sample whose second clip shows other noise, and the second instance not at all."""
    first, second = batch(own, objects=(3,), seed=0), batch(own, objects=(3,), seed=1)
    images, valid, labels, boxes, masks, present, exists = first
    second[5][0, 1] = False
    joined = [np.concatenate([first[column], second[column]], axis=axis) for column, axis in ((0, 1), (3, 2), (4, 2))]
    images, boxes, masks = joined
    return [images, valid, labels, boxes, masks, np.concatenate([present, second[5]], axis=2), exists]


def test_the_matching_loss_by_itself_reaches_backbone_embedding_and_matcher(own: Model) -> None:
    training = own.training
    training.criterion.weights = ms.Tensor([float(name == "loss_match") for name in training.term_names], ms.float32)
    training.set_train(True)
    weights = own.weights()
    ms.set_context(mode=ms.PYNATIVE_MODE)  # asked once: not worth a compilation
    function = ms.value_and_grad(training, None, ms.ParameterTuple(weights.values()), has_aux=True)
    (total, terms), gradients = function(*tensors(two_clips(own)))
    ms.set_context(mode=ms.GRAPH_MODE)
    assert float(total) > 0
    assert float(total) == pytest.approx(float(terms.asnumpy()[training.term_names.index("loss_match")]))
    largest = {place: np.abs(gradient.asnumpy()).max() for place, gradient in zip(weights, gradients)}
    # Two nodes whose affinity to each other is clipped at 0 on all channels would give none.
    for part in ("backbone.", "encoder.", "decoder.", "queries.", "node_embedding.", "graph_matcher."):
        assert max(value for place, value in largest.items() if place.startswith(part)) > 1e-9, part
    assert all(value == 0 for place, value in largest.items() if place.startswith(("head.", "mask_branch.")))


def test_each_clip_has_the_instances_that_it_shows(own: Model) -> None:
    _, _, labels, boxes, masks, present, exists = (ms.Tensor(column) for column in two_clips(own))
    given = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
    found = targets_of_clips(given, 2)
    assert found["exists"].asnumpy().tolist() == [[True, True, True], [True, False, True]]
    assert found["labels"].shape == (2, 3) and found["masks"].shape[:3] == (2, 3, 2)
    np.testing.assert_array_equal(found["boxes"].asnumpy()[1], boxes.asnumpy()[0, :, 2:])


def one_hot(queries: list[int]) -> np.ndarray:
    """[N, Q], a row of zeros for -1."""
    return np.array([np.arange(SIZES.Q) == query for query in queries], np.float32)


@pytest.mark.parametrize(
    ("second_present", "expected"),
    [([True, True, True], [3, -1, 0, 2]), ([True, True, False], [3, -1, -1, 2]), ([False] * 3, [-1] * 4)],
)
def test_the_truth_joins_the_queries_of_an_instance_in_both_clips(own: Model, second_present, expected) -> None:
    rng = np.random.default_rng(0)
    nodes = ms.Tensor(rng.standard_normal((2, SIZES.Q, SIZES.T, 12)).astype(np.float32))
    logits = ms.Tensor(rng.standard_normal((2, SIZES.Q, SIZES.T, SIZES.K + 1)).astype(np.float32))
    rows = ms.Tensor(np.stack([one_hot([3, 0, 2]), one_hot([2, 3, 0])]))
    present = np.ones((2, 3, SIZES.T), bool)
    present[1] = np.array(second_present)[:, None]
    found = own.training.match(nodes, logits, rows, ms.Tensor(present), 2)
    assert found["truth"].asnumpy().tolist() == [expected]
    np.testing.assert_allclose(np.exp(found["log_assignment"].asnumpy()).sum(-1), 1.0, rtol=1e-5)


def test_the_halves_of_a_clip_and_a_clip_of_one_frame(own: Model) -> None:
    rng = np.random.default_rng(0)
    nodes = ms.Tensor(rng.standard_normal((1, SIZES.Q, 2, 12)).astype(np.float32))
    logits = ms.Tensor(rng.standard_normal((1, SIZES.Q, 2, SIZES.K + 1)).astype(np.float32))
    rows, present = ms.Tensor(one_hot([3, 0, 2])[None]), np.ones((1, 3, 2), bool)
    present[0, 1, 1] = False  # not in the second half
    found = own.training.match(nodes, logits, rows, ms.Tensor(present), 1)
    assert found["truth"].asnumpy().tolist() == [[-1, -1, 2, 3]]
    own.training.num_frames = 1
    try:
        found = own.training.match(nodes[:, :, :1], logits[:, :, :1], rows, ms.Tensor(present[:, :, :1]), 1)
    finally:
        own.training.num_frames = SIZES.T
    assert found["truth"].asnumpy().tolist() == [[-1] * 4]


def test_the_ramp_follows_the_steps_of_a_run() -> None:
    ramp = Ramp(start=50.0, end=1000.0, steps=10)
    steps = Parameter(ms.Tensor(0, ms.int32), name="iteration")
    assert seed_dropout(ramp, steps, seed=0) == 1
    for done, expected in ((0, 50.0), (5, (50.0 * 1000.0) ** 0.5), (10, 1000.0), (25, 1000.0)):
        steps.set_data(ms.Tensor(done, ms.int32))
        assert float(ramp()) == pytest.approx(expected, rel=1e-5)
