"""What every family must do, at sizes that no code expects: T=3, an odd number of queries, 7 classes, a tall frame."""

from __future__ import annotations

import dataclasses
import functools
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo import load_config
from mindvideo.assembly.training import build_step
from mindvideo.models.registry import FAMILIES, card_of
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.training.checkpoint import collect_state, network_weights, restore_state, save_weights
from mindvideo.training.state_file import read_state, write_state
from mindvideo.training.train_step import TrainStep
from mindvideo.weights.loading import load_weights, weights_of

T, Q, K, N = 3, 5, 7, 4
HEIGHT, WIDTH = 72, 40
SMALL = {
    "vistr": {
        "vistr.num_queries": Q, "vistr.query_anchors": [], "vistr.width": 24, "vistr.hidden": 20,
        "vistr.encoder_layers": 1, "vistr.decoder_layers": 2,
        "vistr.mask_channels": 8,
    },
    "defvistr": {
        "defvistr.num_queries": Q, "defvistr.query_anchors": [],
        "defvistr.width": 24, "defvistr.encoder_hidden": 20, "defvistr.decoder_hidden": 20,
        "defvistr.encoder_layers": 1, "defvistr.decoder_layers": 2, "defvistr.mask_channels": 8,
        "defvistr.decoder": "dense", "defvistr.tokens_per_query": 3,
    },
    "instanceformer": {
        "instanceformer.num_queries": Q, "instanceformer.width": 32,
        "instanceformer.hidden": 20, "instanceformer.encoder_layers": 1, "instanceformer.decoder_layers": 2,
        "instanceformer.memory_frames": 3, "instanceformer.memory_tokens": 2,
        "instanceformer.contrastive_weight": 0.5, "instanceformer.match_on": "first_frame",
        "instanceformer.reference_propagation": "multiply",
    },
    "seqformer": {
        "seqformer.num_queries": Q, "seqformer.width": 32,
        "seqformer.hidden": 20, "seqformer.encoder_layers": 1, "seqformer.decoder_layers": 2,
        "seqformer.absent_boxes": True,
    },
}  # fmt: skip
COMMON = {
    "data.num_frames": T, "data.num_classes": K, "data.max_instances": N,
    "backbone.widths": [8, 16, 16, 24], "optimizer.clip_norm": 0,
}  # fmt: skip


@dataclasses.dataclass
class Model:
    """One family, small: its network, its training graph, and a step that gives losses and gradients."""

    name: str
    cfg: object
    network: nn.Cell
    training: nn.Cell

    def weights(self) -> dict[str, ms.Parameter]:
        return {place: p for place, p in self.network.parameters_and_names() if p.requires_grad}


@functools.cache
def model(name: str) -> Model:
    return new_model(name)


def new_model(name: str, **own: object) -> Model:
    """``own``: keys of the family's section."""
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(3)
    values = {**COMMON, f"{name}.dropout": 0.1, **SMALL[name]} | {f"{name}.{key}": value for key, value in own.items()}
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    cfg = load_config(f"{name}_toy", overrides)
    network = card_of(name).build_network(cfg)
    rng = np.random.default_rng(1)
    for parameter in network.trainable_params():  # away from the zeros that some layers start with
        noise = 0.02 * rng.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    return Model(name, cfg, network, card_of(name).build_training(cfg, network, nn.Identity()))


def batch(name: str, *, objects: tuple[int, ...] = (3, 2), seed: int = 0) -> list[ms.Tensor]:
    """The columns of a ClipBatch of a family without the ids: clips with that many objects, the later ones smaller."""
    rng = np.random.default_rng(seed)
    B = len(objects)
    sizes = np.array([(HEIGHT, WIDTH), (HEIGHT - 12, WIDTH - 8), (HEIGHT - 30, WIDTH)][:B], np.int32)
    images = np.zeros((B, T, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.zeros((B, N, T, HEIGHT, WIDTH), np.uint8)
    boxes = np.zeros((B, N, T, 4), np.float32)
    labels = np.zeros((B, N), np.int32)
    exists = np.arange(N)[None] < np.array(objects)[:, None]
    for b, (h, w) in enumerate(sizes):
        images[b, :, :h, :w] = rng.integers(0, 256, (T, h, w, 3))
        for n in range(objects[b]):
            labels[b, n] = rng.integers(1, K - 1)
            for t in range(T):
                y, x = rng.integers(0, h - 20), rng.integers(0, w - 16)
                masks[b, n, t, y : y + 20, x : x + 16] = 1
                boxes[b, n, t] = (x + 8) / w, (y + 10) / h, 16 / w, 20 / h
    present = np.broadcast_to(exists[..., None], (B, N, T)).copy()
    present[0, 0, 1] = False  # one instance leaves for a frame
    stride = card_of(name).mask_stride(model(name).cfg)
    masks = np.ascontiguousarray(masks[..., stride // 2 :: stride, stride // 2 :: stride])
    return [ms.Tensor(a) for a in (images, sizes, labels, boxes, masks, present, exists)]


@functools.cache
def gradient_function(name: str):
    own = model(name)
    own.training.set_train(True)
    return ms.value_and_grad(own.training, None, ms.ParameterTuple(own.weights().values()), has_aux=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_is_finite_and_reaches_every_parameter(name):
    own = model(name)
    (total, terms), gradients = gradient_function(name)(*batch(name))
    assert np.isfinite(total.asnumpy()) and np.isfinite(terms.asnumpy()).all()
    dead = {place for place, g in zip(own.weights(), gradients) if not np.abs(g.asnumpy()).max() > 0}
    assert dead == set()
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_clip_without_objects_has_a_finite_loss_and_only_class_terms(name):
    own = model(name)
    (total, terms), gradients = gradient_function(name)(*batch(name, objects=(0, 0)))
    assert np.isfinite(total.asnumpy())
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
    of_objects = [
        (term, value) for term, value in zip(own.training.term_names, terms.asnumpy())
        if any(kind in term for kind in ("bbox", "giou", "mask", "dice"))
    ]  # fmt: skip
    assert of_objects and all(value == 0 for _, value in of_objects), of_objects


@pytest.mark.parametrize("name", FAMILIES)
def test_two_clips_in_a_batch_equal_two_batches_of_one(name):
    own = model(name)
    own.training.set_train(False)
    pixels = NormalizePixels()
    frames, padding = pixels(*batch(name)[:2])
    together = own.network(frames, padding)
    for clip in range(2):
        alone = own.network(frames[clip : clip + 1], padding[clip : clip + 1])
        for both, single in zip(together, alone, strict=True):
            axis = int(both.shape[0] == single.shape[0])  # outputs of all layers have the layer first
            both = both.asnumpy().take([clip], axis=axis)
            np.testing.assert_allclose(both, single.asnumpy(), rtol=0, atol=2e-4 * max(1.0, np.abs(both).max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_weights_load_to_the_same_bits(name, tmp_path):
    own = model(name)
    before = {place: p.asnumpy().copy() for place, p in own.network.parameters_and_names()}
    path = tmp_path / "weights.ckpt"
    ms.save_checkpoint([{"name": place, "data": ms.Tensor(value)} for place, value in before.items()], str(path))
    for _, parameter in own.network.parameters_and_names():
        parameter.set_data(ms.Tensor(np.full(parameter.shape, 7), parameter.dtype))
    load_weights(own.network, path, rules=card_of(name).weight_rules(own.cfg))
    for place, parameter in own.network.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), before[place], err_msg=place)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_steps_lower_the_loss(name):
    losses = steps_of(training_step(name), name, 8)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0], losses


@functools.cache
def training_step(name: str) -> TrainStep:
    return new_step(model(name))


def new_step(own: Model) -> TrainStep:
    step = build_step(own.cfg, own.network, own.training, 100, card_of(own.name).parameter_groups(own.cfg))
    return step.set_train(True)


def steps_of(step: TrainStep, name: str, count: int) -> list[float]:
    """The total loss of each step."""
    inputs = [*batch(name), ms.Tensor(np.zeros((2, 2), np.int64))]
    return [float(step(*inputs)[0].asnumpy()[0]) for _ in range(count)]


def results_of(cfg, network: nn.Cell) -> list[dict]:
    """What the family's tracker makes of a video of noise."""
    tracker = card_of(cfg.family).build_tracker(cfg, network)
    tracker.begin(size=(HEIGHT, WIDTH), num_frames=T, video_id=1)
    for frame in np.random.default_rng(5).integers(0, 256, (T, HEIGHT, WIDTH, 3), np.uint8):
        tracker.feed(frame)
    return tracker.finish().to_results()


@pytest.mark.parametrize("name", FAMILIES)
def test_evaluation_between_steps_leaves_files_that_load_and_resume(name, tmp_path):
    """Train, evaluate, save, go on; resume and load: the same numbers bit for bit, dropout included."""
    own, step = model(name), training_step(name)
    steps_of(step, name, 1)
    seen = results_of(own.cfg, own.network)
    step.set_train(True)
    save_weights(tmp_path / "last.ckpt", network_weights(own.network))
    write_state(tmp_path / "1.state", collect_state(step), {})
    went_on = steps_of(step, name, 2)

    state, _ = read_state(tmp_path / "1.state")
    restore_state(step, state, source=tmp_path / "1.state")
    assert steps_of(step, name, 2) == went_on
    other = new_model(name)
    restore_state(new_step(other), state, source=tmp_path / "1.state")  # names and shapes of a new process
    fresh = card_of(name).build_network(own.cfg)
    load_weights(fresh, tmp_path / "last.ckpt", rules=card_of(name).weight_rules(own.cfg))
    for (place, loaded), (_, restored) in zip(fresh.parameters_and_names(), weights_of(other.network).items()):
        np.testing.assert_array_equal(loaded.asnumpy(), restored.asnumpy(), err_msg=place)
    assert seen and results_of(own.cfg, fresh) == seen


@pytest.mark.parametrize("name", FAMILIES)
def test_files_that_hold_the_counter_of_steps_under_a_place_still_load(name, tmp_path):
    """As runs that evaluated with dropout used to write them."""
    own = new_model(name)
    step = new_step(own)
    weights, state = network_weights(own.network), dict(collect_state(step))
    weights["encoder.layers.0.dropout.iteration"] = np.asarray(7, np.int32)
    state["network.encoder.layers.0.dropout.iteration"] = np.full_like(state.pop("iteration"), 7)
    save_weights(tmp_path / "last.ckpt", weights)
    load_weights(own.network, tmp_path / "last.ckpt", rules=card_of(name).weight_rules(own.cfg))
    restore_state(step, state, source=tmp_path / "1.state")
    assert int(step.iteration.asnumpy()) == 7


@pytest.mark.parametrize(("clips", "decoder_layers"), [(1, 2), (3, 1)])
@pytest.mark.parametrize("name", FAMILIES)
def test_any_number_of_clips_and_decoder_layers(name, clips, decoder_layers):
    own = new_model(name, decoder_layers=decoder_layers)
    own.training.set_train(True)
    gradient = ms.value_and_grad(own.training, None, ms.ParameterTuple(own.weights().values()), has_aux=True)
    (total, terms), gradients = gradient(*batch(name, objects=(3, 2, 0)[:clips]))
    assert np.isfinite(total.asnumpy()) and np.isfinite(terms.asnumpy()).all()
    assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
