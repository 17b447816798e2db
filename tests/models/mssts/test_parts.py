"""MS-STS VIS: what its parts add, and that they add nothing before they have learnt or where they are switched off."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.models.cards.sequence_portions import number_with_graph
from mindvideo.models.mssts.training import softplus
from mindvideo.models.mssts.weights import mssts_tables
from mindvideo.models.registry import card_of
from mindvideo.modules.heads.patch_discriminator import PatchDiscriminator
from mindvideo.modules.layers.temporal_attention import TemporalAttention
from mindvideo.modules.transformers.split_attention import SplitAttention, interpolation
from mindvideo.training.checkpoint import network_weights, save_weights
from mindvideo.weights.loading import load_weights
from mindvideo.weights.rules import best_plan
from tests.models.small_models import Model, Sizes, batch, new_model, tensors

SIZES = Sizes(T=3, Q=4, K=5, N=3, height=48, width=40)
OFF = {"split_attention": False, "temporal_attention": False, "adversarial": False}
SHAPES = ((4, 3), (2, 2), (1, 1))


def filled(network: nn.Cell, seed: int = 0, scale: float = 0.3) -> nn.Cell:
    """Away from the zeros that some layers start with."""
    rng = np.random.default_rng(seed)
    for parameter in network.trainable_params():
        noise = scale * rng.standard_normal(parameter.shape)
        parameter.set_data(ms.Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    return network


def random(*shape: int, seed: int = 1) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def seqformer() -> Model:
    return new_model("seqformer", SIZES)


def trained(own: Model, columns: list[ms.Tensor]) -> list[np.ndarray]:
    """Total, terms and every gradient."""
    own.training.set_train(True)
    function = ms.value_and_grad(own.training, None, ms.ParameterTuple(own.weights().values()), has_aux=True)
    (total, terms), gradients = function(*columns)
    return [total.asnumpy(), terms.asnumpy(), *(gradient.asnumpy() for gradient in gradients)]


@pytest.mark.usefixtures("operator_by_operator")
def test_with_every_part_switched_off_it_is_seqformer_to_the_bit(seqformer: Model) -> None:
    off = new_model("mssts", SIZES, **OFF)
    ms.set_context(mode=ms.PYNATIVE_MODE)  # the model set the other
    names = list(seqformer.network.parameters_and_names())
    for (place, ours), (name, theirs) in zip(off.network.parameters_and_names(), names, strict=True):
        assert place == name
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())
    columns = tensors(batch(seqformer))
    assert off.training.term_names == seqformer.training.term_names
    got, wanted = trained(off, columns), trained(seqformer, columns)
    for one, other in zip(got[:2], wanted[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(got[2:], wanted[2:], strict=True):  # summed in the order in which they arrive
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * max(1.0, np.abs(other).max()))


@pytest.mark.usefixtures("operator_by_operator")
def test_a_checkpoint_of_seqformer_starts_with_unchanged_outputs(seqformer: Model, tmp_path: Path) -> None:
    save_weights(tmp_path / "seqformer.ckpt", network_weights(seqformer.network))
    own = new_model("mssts", SIZES)
    ms.set_context(mode=ms.PYNATIVE_MODE)  # the model set the other
    network = card_of("mssts").build_network(own.cfg)
    loaded = load_weights(network, tmp_path / "seqformer.ckpt", rules=mssts_tables(), start_of_training=True)
    assert {name.split(".")[3] for name in loaded.fresh} == {"split_attention", "temp_attn_box"}
    frames, padding = own.training.pixels(*tensors(batch(own)[:2]))
    for each in (network, seqformer.network):
        each.set_train(False)
    before = [output.asnumpy() for output in seqformer.network(frames, padding)]
    for got, wanted in zip(network(frames, padding), before, strict=True):
        np.testing.assert_array_equal(got.asnumpy(), wanted)
    load_weights(own.network, tmp_path / "seqformer.ckpt", rules=mssts_tables(), start_of_training=True)
    filled(own.network, scale=0.02)  # an own test of the comparison: with other weights the outputs are others
    own.network.set_train(False)
    assert np.abs(own.network(frames, padding)[0].asnumpy() - before[0]).max() > 0


def test_a_file_of_the_public_code_loads_but_for_what_it_never_called(golden: Path) -> None:
    rows = json.loads((golden / "mssts" / "r50_tiny" / "manifest.json").read_text())
    names = [row[0] for row in (rows if isinstance(rows, list) else rows["state_dict"])]
    own = new_model("mssts", SIZES, encoder_layers=2, decoder_layers=2, extra_levels=1)
    places = [name for name, _ in own.network.parameters_and_names() if not name.startswith("backbone.")]
    detector = [name for name in names if ".backbone." not in name]
    plan = best_plan(mssts_tables(), detector, places)
    assert plan.is_complete and plan.table.name == "public_mssts"
    assert plan.dropped == [name for name in detector if "temp_attn_box" in name] != []
    assert {name.split(".")[3] for name in plan.fresh} == {"split_attention", "temp_attn_box"}
    plain = [name for name in detector if "temp_attn_box" not in name]
    assert best_plan(mssts_tables(), plain, places).table.name == "published"


@pytest.mark.usefixtures("operator_by_operator")
@pytest.mark.parametrize("T", [1, 5])
def test_a_window_frame_by_frame_equals_the_whole_network(T: int) -> None:
    """Five frames are filled up to six for the graphs in which frames meet."""
    own = new_model("mssts", Sizes(T=T, Q=4, K=5, N=3), window_frames=6)
    filled(own.network, scale=0.05)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    runner = card_of("mssts").build_tracker(own.cfg, own.network).windows.runner
    frames = np.random.default_rng(0).integers(0, 256, (T, 56, 40, 3)).astype(np.uint8)
    prediction = runner([runner._portioned.encode(frame) for frame in frames])
    sizes = ms.Tensor(np.array([frames.shape[1:3]], np.int32))
    probabilities, _, masks = (output.asnumpy() for output in runner._whole(ms.Tensor(frames[None]), sizes))
    order = np.argsort(probabilities.max(-1))  # the runner has an order of its own
    own_order = np.argsort(prediction.probabilities[:, 0].max(-1))
    assert len(order) == len(own_order)
    np.testing.assert_allclose(prediction.probabilities[own_order, 0], probabilities[order], atol=1e-5)
    np.testing.assert_allclose(prediction.mask_logits[own_order], masks[order], atol=2e-4 * np.abs(masks).max())


def test_few_graphs_serve_all_lengths() -> None:
    counts = [number_with_graph(T, 36) for T in range(1, 37)]
    assert sorted(set(counts)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36]
    assert all(T <= count <= 1.5 * T for T, count in enumerate(counts, start=1))
    assert number_with_graph(40, 36) == 40


@pytest.mark.usefixtures("operator_by_operator")
def test_states_that_fill_a_clip_up_change_nothing() -> None:
    network = filled(SplitAttention(width=8, inner=8, heads=2, dropout=0.0))
    states, padding = random(2, 17, 5, 8), ms.Tensor(np.zeros((2, 17), bool))
    absent = ms.Tensor(np.arange(5)[None] >= 3)
    got = network.meet(states, SHAPES, padding, absent)[:, :, :3]
    wanted = network.meet(states[:, :, :3], SHAPES, padding)
    np.testing.assert_allclose(got.asnumpy(), wanted.asnumpy(), atol=1e-5)


def test_maps_are_enlarged_as_bilinear_interpolation_does() -> None:
    maps = random(1, 1, 3, 5)
    wanted = ops.interpolate(maps, size=(6, 9), mode="bilinear", align_corners=False).asnumpy()[0, 0]
    got = interpolation(3, 6).asnumpy() @ maps.asnumpy()[0, 0] @ interpolation(5, 9).asnumpy().T
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert interpolation(1, 4).asnumpy().tolist() == [[1.0]] * 4


class SplitLoss(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.part = filled(SplitAttention(width=8, inner=4, heads=2, dropout=0.0))
        self.padding = ms.Tensor(np.arange(17)[None].repeat(6, 0) % 6 == 5)

    def construct(self, tokens):
        return ops.sin(self.part(tokens, 0.5 * tokens, 2, SHAPES, self.padding)).sum()


class TemporalLoss(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.part = filled(TemporalAttention(width=8, heads=2, starts_at_zero=True))

    def construct(self, states):
        return ops.sin(self.part(states)).sum()


class DiscriminatorLoss(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.part = filled(PatchDiscriminator(width=8), scale=0.1)
        self.mask, self.features = random(2, 1, 6, 5), (random(2, 8, 3, 3, seed=2), random(2, 8, 2, 2, seed=3))

    def construct(self, fine):
        one, other = self.part(fine[:, :3], (fine, *self.features), self.mask, self.mask * fine[:, :1])
        return (softplus(one) + ops.sin(other)).sum()


@pytest.mark.usefixtures("operator_by_operator")
@pytest.mark.parametrize(
    ("loss", "shape"),
    [(SplitLoss, (6, 17, 8)), (TemporalLoss, (5, 4, 8)), (DiscriminatorLoss, (2, 8, 6, 5))],
    ids=["split attention", "temporal attention", "discriminator"],
)
def test_gradients_are_the_slopes(loss: type[nn.Cell], shape: tuple[int, ...]) -> None:
    """Along random directions of all weights and inputs together, which see every gradient."""
    ms.set_seed(0)
    cell, given = loss(), random(*shape)
    weights = list(cell.trainable_params())
    _, (of_input, of_weights) = ms.value_and_grad(cell, 0, ms.ParameterTuple(weights))(given)
    gradients = [of_input.asnumpy(), *(gradient.asnumpy() for gradient in of_weights)]
    start = [given.asnumpy(), *(weight.asnumpy().copy() for weight in weights)]
    rng = np.random.default_rng(4)
    for _ in range(3):
        direction = [rng.standard_normal(value.shape).astype(np.float32) for value in start]
        values = []
        for step in (2e-5, -2e-5):  # short: maxima and leaky units have kinks
            moved = [value + np.float32(step) * way for value, way in zip(start, direction)]
            for weight, value in zip(weights, moved[1:]):
                weight.set_data(ms.Tensor(value))
            values.append(float(cell(ms.Tensor(moved[0]))))
        slope = (values[0] - values[1]) / 4e-5
        wanted = sum(float((gradient * way).sum()) for gradient, way in zip(gradients, direction))
        size = np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
        assert slope == pytest.approx(wanted, abs=0.02 * size)


@pytest.mark.usefixtures("operator_by_operator")
def test_a_clip_of_one_frame_with_maps_of_one_cell_has_finite_losses() -> None:
    own = new_model("mssts", Sizes(T=2, Q=4, K=5, N=3, height=32, width=32))
    images, _, labels, boxes, masks, present, exists = batch(own, objects=(2,))
    one = [images[:, :1, :8, :8], np.array([[8, 8]], np.int32), labels, boxes[:, :, :1], masks[:, :, :1, :2, :2]]
    columns = [*one, np.ones_like(present[:, :, :1]), exists]
    ms.set_context(mode=ms.PYNATIVE_MODE)
    own.training.set_train(True)
    total, terms = own.training(*tensors(columns))
    assert np.isfinite(total.asnumpy()) and np.isfinite(terms.asnumpy()).all()


def test_softplus_of_a_discriminator_that_is_sure() -> None:
    logits = ms.Tensor(np.array([-1e4, -40, 0, 40, 1e4], np.float32))

    def summed(x):
        return softplus(x).sum()

    value, slope = ms.value_and_grad(summed)(logits)
    assert float(value) == pytest.approx(40 + 1e4 + np.log(2), rel=1e-6)
    np.testing.assert_allclose(slope.asnumpy(), [0, 0, 0.5, 1, 1], atol=1e-6)
