"""Attention by blocks: the same numbers and gradients as with all weights at once, dropout included."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.attention import MOST_BLOCKS, MultiHeadAttention, _AttentionCore, rows_of_block
from mindvideo.modules.layers.dropout import seed_dropout

ms.set_context(mode=ms.GRAPH_MODE)
B, R, S, C, M = 2, 13, 19, 12, 3


def inputs(rows: int = R) -> list[ms.Tensor]:
    rng = np.random.default_rng(0)
    padding = np.zeros((B, S), bool)
    padding[1, 11:] = True
    shapes = [(B, rows, C), (B, S, C), (B, S, C)]
    return [ms.Tensor(rng.standard_normal(shape).astype(np.float32)) for shape in shapes] + [ms.Tensor(padding)]


def attention(block_elements: int) -> MultiHeadAttention:
    layer = MultiHeadAttention(width=C, heads=M, block_elements=block_elements)
    rng = np.random.default_rng(1)
    for parameter in layer.get_parameters():
        parameter.set_data(ms.Tensor(rng.standard_normal(parameter.shape).astype(np.float32) * 0.4))
    return layer


def by_hand(layer: MultiHeadAttention, query, key, value, padding) -> np.ndarray:
    """In float64, one head after the other."""
    weight, bias = (p.asnumpy().astype(np.float64) for p in (layer.in_proj_weight, layer.in_proj_bias))
    q, k, v = (
        x.asnumpy() @ weight[i * C : (i + 1) * C].T + bias[i * C : (i + 1) * C]
        for i, x in enumerate((query, key, value))
    )
    heads = []
    for head in range(M):
        part = slice(head * C // M, (head + 1) * C // M)
        logits = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(C // M)
        logits = np.where(padding.asnumpy()[:, None], -np.inf, logits)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ v[..., part])
    out = np.concatenate(heads, axis=-1)
    return out @ layer.out_proj.weight.asnumpy().astype(np.float64).T + layer.out_proj.bias.asnumpy()


def squared(layer: MultiHeadAttention):
    def loss(query, key, value, padding):
        out = layer(query, key, value, padding)
        return (out * out).sum(), out

    weights = ms.ParameterTuple(layer.trainable_params())
    return ms.jit(ms.value_and_grad(loss, (0, 1, 2), weights, has_aux=True))


@pytest.mark.parametrize("block_elements", [1 << 20, 5 * B * M * S, 1])
def test_values_and_gradients_do_not_depend_on_the_blocks(block_elements: int) -> None:
    tensors = inputs()
    layer = attention(block_elements)
    (_, out), (of_inputs, of_weights) = squared(layer)(*tensors)
    assert np.abs(out.asnumpy() - by_hand(layer, *tensors)).max() < 1e-5
    (_, _), (wanted_inputs, wanted_weights) = squared(attention(1 << 20))(*tensors)
    for got, wanted in zip((*of_inputs, *of_weights), (*wanted_inputs, *wanted_weights)):
        assert np.abs(got.asnumpy() - wanted.asnumpy()).max() < 1e-5 * max(1.0, np.abs(wanted.asnumpy()).max())


def test_a_gradient_is_the_slope() -> None:
    """The hand-written backward pass against differences of the float64 formula."""
    tensors = inputs()
    layer = attention(1)
    (_, _), (of_inputs, _) = squared(layer)(*tensors)
    direction = np.random.default_rng(2).standard_normal(tensors[1].shape)
    values = []
    for step in (1e-4, -1e-4):
        moved = ms.Tensor(tensors[1].asnumpy().astype(np.float64) + step * direction)
        values.append((by_hand(layer, tensors[0], moved, tensors[2], tensors[3]) ** 2).sum())
    slope = (values[0] - values[1]) / 2e-4
    assert (of_inputs[1].asnumpy() * direction).sum() == pytest.approx(slope, rel=1e-4)


class Unwritten(nn.Cell):
    """Only the forward pass of the core by blocks of ``step`` rows, so that MindSpore derives the gradient."""

    def __init__(self, core: _AttentionCore, step: int) -> None:
        super().__init__()
        self.core, self.step = core, step

    def construct(self, q, k, v, bias):
        blocks = []
        for start in range(0, R, self.step):
            weights = self.core.weights(q[:, :, start : start + self.step], k, bias)
            blocks.append(self.core.times(self.core.dropout(weights, start), v))
        return ops.cat(blocks, 2)


@pytest.mark.parametrize("block_elements", [1 << 20, 5 * B * M * S])
def test_dropout_drops_the_same_weights_in_both_passes(block_elements: int) -> None:
    core = _AttentionCore(dropout=0.4, block_elements=block_elements)
    core.set_train(True)
    rng = np.random.default_rng(3)
    q, k, v = (ms.Tensor(rng.standard_normal((B, M, n, 4)).astype(np.float32)) for n in (R, S, S))
    bias = ops.zeros((1, 1, 1, 1), ms.float32)
    derived = Unwritten(core, rows_of_block(R, S, B * M, block_elements))
    derived.set_train(True)

    def written(q, k, v):
        out = core(q, k, v, bias)[0]
        return (out * out).sum(), out

    def unwritten(q, k, v):
        out = derived(q, k, v, bias)
        return (out * out).sum(), out

    results = [ms.jit(ms.value_and_grad(f, (0, 1, 2), has_aux=True))(q, k, v) for f in (written, unwritten)]
    assert np.abs(results[0][0][1].asnumpy() - results[1][0][1].asnumpy()).max() < 1e-6
    for got, wanted in zip(results[0][1], results[1][1]):
        assert np.abs(got.asnumpy() - wanted.asnumpy()).max() < 1e-4
    core.set_train(False)
    assert np.abs(core(q, k, v, bias)[0].asnumpy() - results[0][0][1].asnumpy()).max() > 0.01


def test_blocks_cover_the_rows_and_stay_below_the_limit() -> None:
    for rows, columns, lanes, limit in ((6120, 6120, 8, 1 << 24), (360, 6120, 8, 1 << 24), (5, 7, 3, 1)):
        step = rows_of_block(rows, columns, lanes, limit)
        assert 1 <= step <= rows
        assert step == 1 or step * columns * lanes <= limit
    long_clip = 46512  # 72 frames of 19 x 34 tokens: larger blocks, so that the graph still compiles
    assert -(-long_clip // rows_of_block(long_clip, long_clip, 8, 1 << 24)) <= MOST_BLOCKS


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of the 5 heads"):
        MultiHeadAttention(width=12, heads=5)


class Step(nn.Cell):
    """A pass with gradients whose dropout follows a number of steps, as a training step's does."""

    def __init__(self, *, block_elements: int, keeps_weights: bool) -> None:
        super().__init__()
        self.layer = MultiHeadAttention(width=C, heads=M, dropout=0.4, block_elements=block_elements)
        self.layer.core.keeps_weights = keeps_weights
        rng = np.random.default_rng(1)
        for parameter in self.layer.get_parameters():
            parameter.set_data(ms.Tensor(rng.standard_normal(parameter.shape).astype(np.float32) * 0.4))
        self.iteration = ms.Parameter(ms.Tensor(3, ms.int32), name="iteration", requires_grad=False)
        seed_dropout(self.layer, self.iteration, seed=1)
        self.set_train(True)
        self.loss = SumOfSquares(self.layer)
        self.differentiate = ops.value_and_grad(self.loss, (0, 1, 2), ms.ParameterTuple(self.layer.trainable_params()))

    def construct(self, query, key, value, padding):
        return self.differentiate(query, key, value, padding)


class SumOfSquares(nn.Cell):
    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, query, key, value, padding):
        return ops.square(self.layer(query, key, value, padding)).sum()


@pytest.mark.parametrize("block_elements", [1 << 20, 5 * B * M * S])
def test_a_step_with_dropout_is_that_of_its_operators_whatever_is_kept(block_elements: int) -> None:
    """Published clips take several blocks; a graph that reads the number of the step inside them did not compile."""
    found = []
    for compiled, keeps_weights in ((False, True), (True, True), (True, False)):
        ms.set_context(mode=ms.GRAPH_MODE if compiled else ms.PYNATIVE_MODE)
        value, gradients = Step(block_elements=block_elements, keeps_weights=keeps_weights)(*inputs())
        found.append([value.asnumpy(), *(each.asnumpy() for group in gradients for each in group)])
    ms.set_context(mode=ms.GRAPH_MODE)
    by_operators, *compiled_ones = found
    for one in compiled_ones:
        for got, wanted in zip(one, by_operators, strict=True):
            assert np.abs(got - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())
