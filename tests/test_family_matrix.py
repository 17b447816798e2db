"""The duties of every family, at sizes that no code expects: odd numbers of frames, queries and classes, a tall frame.

The families come from the registry, their small settings from ``tests/models/<family>/small.py``. With ``--sizes SEED``
the same checks run at other sizes and on other values.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.assembly.training import build_step
from mindvideo.models.registry import FAMILIES, card_of
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.training.checkpoint import collect_state, network_weights, restore_state, save_weights
from mindvideo.training.state_file import read_state, write_state
from mindvideo.training.train_step import TrainStep
from mindvideo.weights.loading import load_weights, weights_of
from tests.models.small_models import Model, Sizes, batch, model, new_model, tensors
from tests.parity.rounding import rounded_weights

# Of a tensor, against its largest value: two orders of the same float32 sums.
ROUNDING = 2e-4


@pytest.fixture(params=FAMILIES, scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[Model]:
    """One family after the other, so that no more than one family's graphs are held."""
    yield model(request.param, Sizes.drawn(request.config.getoption("--sizes")))
    gradient_function.cache_clear()
    training_step.cache_clear()
    model.cache_clear()
    gc.collect()


@functools.cache
def gradient_function(name: str, sizes: Sizes):
    own = model(name, sizes)
    own.training.set_train(True)
    return ms.value_and_grad(own.training, None, ms.ParameterTuple(own.weights().values()), has_aux=True)


def losses_and_gradients(own: Model, columns: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    (total, terms), gradients = gradient_function(own.name, own.sizes)(*tensors(columns))
    return np.append(terms.asnumpy(), total.asnumpy()), [gradient.asnumpy() for gradient in gradients]


def assert_same(got: list[np.ndarray], wanted: list[np.ndarray], *, rounding: float = ROUNDING) -> None:
    """Each array of ``got`` is the one of ``wanted``, up to that part of the largest value in it."""
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=rounding * max(1.0, np.abs(other).max()))


@contextlib.contextmanager
def operator_by_operator() -> Iterator[None]:
    """Nothing is compiled: for what a test asks once, compiling takes twenty times as long as running."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


def leaves(value: object) -> Iterator[np.ndarray]:
    """The tensors of a network's (named, nested) outputs."""
    if isinstance(value, ms.Tensor):
        yield value.asnumpy()
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)


def test_loss_is_finite_and_reaches_every_parameter(own):
    losses, gradients = losses_and_gradients(own, batch(own))
    assert np.isfinite(losses).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    dead = {place for place, gradient in zip(own.weights(), gradients) if not np.abs(gradient).max() > 0}
    assert dead == set()


def test_a_clip_without_objects_has_a_finite_loss_and_only_class_terms(own):
    losses, gradients = losses_and_gradients(own, batch(own, objects=(0, 0)))
    assert np.isfinite(losses).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    of_objects = [
        (term, value) for term, value in zip(own.training.term_names, losses)
        if any(kind in term for kind in ("bbox", "giou", "mask", "dice"))
    ]  # fmt: skip
    assert of_objects and all(value == 0 for _, value in of_objects), of_objects


def test_the_order_of_instances_and_of_clips_changes_no_loss(own):
    """Rows of the targets are a set; so are the clips of a batch."""
    columns = batch(own)
    losses, gradients = losses_and_gradients(own, columns)
    rows = np.roll(np.arange(own.sizes.N), 1)[::-1]  # rows of padding come between instances
    reordered = [column[::-1] for column in columns[:2]] + [column[::-1, rows] for column in columns[2:]]
    again, gradients_again = losses_and_gradients(own, [np.ascontiguousarray(column) for column in reordered])
    assert_same([again], [losses])
    assert_same(gradients_again, gradients, rounding=1e-3)


def test_what_lies_in_the_padding_changes_no_loss(own):
    """Pixels outside the valid area, and labels, boxes and masks of rows that do not exist."""
    columns = batch(own)
    losses, gradients = losses_and_gradients(own, columns)
    images, valid, labels, boxes, masks, present, exists = (column.copy() for column in columns)
    rng = np.random.default_rng(9)
    for b, (h, w) in enumerate(valid):
        images[b, :, h:] = rng.integers(0, 256, images[b, :, h:].shape)
        images[b, :, :, w:] = rng.integers(0, 256, images[b, :, :, w:].shape)
    labels[~exists] = 2
    boxes[~exists] = 0.4
    masks[~exists] = 1
    dirty = [images, valid, labels, boxes, masks, present, exists]
    again, gradients_again = losses_and_gradients(own, dirty)
    assert_same([again], [losses], rounding=1e-6)
    assert_same(gradients_again, gradients, rounding=1e-5)


@operator_by_operator()
def test_two_clips_in_a_batch_equal_two_batches_of_one(own):
    own.training.set_train(False)
    names = [parameter.name for parameter in own.network.get_parameters()]
    frames, padding = NormalizePixels()(*tensors(batch(own)[:2]))
    together = list(leaves(own.network(frames, padding)))
    for clip in range(2):
        single = list(leaves(own.network(frames[clip : clip + 1], padding[clip : clip + 1])))
        for both, one in zip(together, single, strict=True):
            axis = int(both.shape[0] == one.shape[0])  # outputs of all layers have the layer first
            assert_same([both.take([clip], axis=axis)], [one])
    assert [parameter.name for parameter in own.network.get_parameters()] == names


@operator_by_operator()
def test_a_rounding_of_the_weights_stays_a_rounding(own):
    """In place of float64, for which MindSpore has no convolution on a CPU: no part of a network magnifies rounding."""
    own.training.set_train(False)
    frames, padding = NormalizePixels()(*tensors(batch(own)[:2]))
    before = list(leaves(own.network(frames, padding)))
    with rounded_weights(own.network, 0):
        after = list(leaves(own.network(frames, padding)))
    assert_same(after, before)
    assert any((one != other).any() for one, other in zip(after, before, strict=True))


def test_saved_weights_load_to_the_same_bits(own, tmp_path):
    before = {place: p.asnumpy().copy() for place, p in own.network.parameters_and_names()}
    path = tmp_path / "weights.ckpt"
    ms.save_checkpoint([{"name": place, "data": ms.Tensor(value)} for place, value in before.items()], str(path))
    for _, parameter in own.network.parameters_and_names():
        parameter.set_data(ms.Tensor(np.full(parameter.shape, 7), parameter.dtype))
    load_weights(own.network, path, rules=card_of(own.name).weight_rules(own.cfg))
    for place, parameter in own.network.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), before[place], err_msg=place)


def test_a_few_steps_lower_the_loss(own):
    trained, step = training_step(own.name, own.sizes)
    losses = steps_of(step, trained, 8)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0], losses


@functools.cache
def training_step(name: str, sizes: Sizes) -> tuple[Model, TrainStep]:
    """A model with dropout and its step: one graph for all tests that train."""
    trained = new_model(name, sizes, dropout=0.1)
    return trained, new_step(trained)


def new_step(own: Model) -> TrainStep:
    step = build_step(own.cfg, own.network, own.training, 100, card_of(own.name).parameter_groups(own.cfg))
    return step.set_train(True)


def steps_of(step: TrainStep, own: Model, count: int) -> list[float]:
    """The total loss of each step."""
    inputs = [*tensors(batch(own)), ms.Tensor(np.zeros((2, 2), np.int64))]
    return [float(step(*inputs)[0].asnumpy()[0]) for _ in range(count)]


def results_of(own: Model, network: nn.Cell) -> list[dict]:
    """The result of the family's tracker on a video of noise."""
    size = own.sizes.height, own.sizes.width
    tracker = card_of(own.name).build_tracker(own.cfg, network)
    tracker.begin(size=size, num_frames=own.sizes.T, video_id=1)
    for frame in np.random.default_rng(5).integers(0, 256, (own.sizes.T, *size, 3), np.uint8):
        tracker.feed(frame)
    return tracker.finish().to_results()


def test_evaluation_between_steps_leaves_files_that_load_and_resume(own, tmp_path):
    """Train, evaluate, save, go on; resume and load: the same numbers bit for bit, dropout included."""
    own, step = training_step(own.name, own.sizes)
    steps_of(step, own, 1)
    seen = results_of(own, own.network)
    step.set_train(True)
    save_weights(tmp_path / "last.ckpt", network_weights(own.network))
    write_state(tmp_path / "1.state", collect_state(step), {})
    went_on = steps_of(step, own, 2)

    state, _ = read_state(tmp_path / "1.state")
    restore_state(step, state, source=tmp_path / "1.state")
    assert steps_of(step, own, 2) == went_on
    other = new_model(own.name, own.sizes, dropout=0.1)
    restore_state(new_step(other), state, source=tmp_path / "1.state")  # names and shapes of a new process
    fresh = card_of(own.name).build_network(own.cfg)
    load_weights(fresh, tmp_path / "last.ckpt", rules=card_of(own.name).weight_rules(own.cfg))
    for (place, loaded), (_, restored) in zip(fresh.parameters_and_names(), weights_of(other.network).items()):
        np.testing.assert_array_equal(loaded.asnumpy(), restored.asnumpy(), err_msg=place)
    assert seen and results_of(own, fresh) == seen


def test_files_that_hold_the_counter_of_steps_under_a_place_still_load(own, tmp_path):
    """As runs that evaluated with dropout used to write them."""
    new = new_model(own.name, own.sizes, dropout=0.1)
    step = new_step(new)
    weights, state = network_weights(new.network), dict(collect_state(step))
    weights["encoder.layers.0.dropout.iteration"] = np.asarray(7, np.int32)
    state["network.encoder.layers.0.dropout.iteration"] = np.full_like(state.pop("iteration"), 7)
    save_weights(tmp_path / "last.ckpt", weights)
    load_weights(new.network, tmp_path / "last.ckpt", rules=card_of(own.name).weight_rules(new.cfg))
    restore_state(step, state, source=tmp_path / "1.state")
    assert int(step.iteration.asnumpy()) == 7


@pytest.mark.parametrize(("clips", "decoder_layers"), [(1, 2), (3, 1)])
def test_any_number_of_clips_and_decoder_layers(own, clips, decoder_layers):
    """Losses only. One clip, where shapes with an axis of 1 invite mistakes, as a graph."""
    new = new_model(own.name, own.sizes, decoder_layers=decoder_layers)
    new.training.set_train(True)
    with contextlib.nullcontext() if clips == 1 else operator_by_operator():
        total, terms = new.training(*tensors(batch(new, objects=(3, 2, 0)[:clips])))
    assert np.isfinite(total.asnumpy()) and np.isfinite(terms.asnumpy()).all()


def test_the_training_graph_names_its_terms_once(own):
    assert isinstance(own.training, nn.Cell)
    assert len(set(own.training.term_names)) == len(own.training.term_names) > 3
