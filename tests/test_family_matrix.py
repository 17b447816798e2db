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
from mindvideo.weights.loading import load_weights

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
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(3)
    overrides = [f"{key}={json.dumps(value)}" for key, value in {**COMMON, **SMALL[name]}.items()]
    cfg = load_config(f"{name}_toy", overrides)
    network = card_of(name).build_network(cfg)
    rng = np.random.default_rng(1)
    for parameter in network.trainable_params():  # away from the zeros that some layers start with
        noise = 0.02 * rng.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    return Model(name, cfg, network, card_of(name).build_training(cfg, network, nn.Identity()))


def batch(name: str, *, objects: tuple[int, ...] = (3, 2), seed: int = 0) -> list[ms.Tensor]:
    """The columns of a ClipBatch of a family without the ids: clips with that many objects, the second one smaller."""
    rng = np.random.default_rng(seed)
    B = len(objects)
    sizes = np.array([(HEIGHT, WIDTH), (HEIGHT - 12, WIDTH - 8)][:B], np.int32)
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
        for both, single in zip(together, alone):
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
    own = model(name)
    step = build_step(own.cfg, own.network, own.training, 100, card_of(name).parameter_groups(own.cfg))
    step.set_train(True)
    inputs = [*batch(name), ms.Tensor(np.zeros((2, 2), np.int64))]
    losses = [float(step(*inputs)[0].asnumpy()[0]) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0], losses
