"""LayerNorm and GroupNorm equal MindSpore's own layers, values and gradients, in a compiled graph."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from mindvideo.errors import UserError
from mindvideo.modules.layers.norm import GroupNorm, LayerNorm
from mindvideo.ops.normalization_ref import group_norm_ref, layer_norm_ref


def gradients(function, inputs: list[Tensor], weights) -> list[np.ndarray]:
    """Output, gradients of the inputs, gradients of the parameters."""

    def loss(*inputs):
        output = function(*inputs)
        return (output * output * output).sum(), output

    step = ms.jit(ms.value_and_grad(loss, tuple(range(len(inputs))), weights, has_aux=True))
    (_, output), (of_inputs, of_weights) = step(*inputs)
    of_inputs = of_inputs if isinstance(of_inputs, tuple) else (of_inputs,)
    return [a.asnumpy() for a in (output, *of_inputs, *of_weights)]


def randomise(layer: nn.Cell) -> None:
    rng = np.random.default_rng(5)
    for parameter in layer.trainable_params():
        parameter.set_data(Tensor(rng.standard_normal(parameter.shape).astype(np.float32)))


def close(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize("residual", [False, True])
def test_layer_norm(residual):
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((3, 7, 33)).astype(np.float32) + 2) for _ in range(1 + residual)]
    ours, theirs = LayerNorm(33), nn.LayerNorm((33,), epsilon=1e-5)
    randomise(ours), randomise(theirs)

    def summed(*inputs):
        return theirs(inputs[0] + inputs[1] if len(inputs) > 1 else inputs[0])

    expected = gradients(summed, inputs, theirs.trainable_params())
    close(gradients(ours, inputs, ours.trainable_params()), expected)

    def twin(*inputs):
        total = inputs[0] + inputs[1] if len(inputs) > 1 else inputs[0]
        return layer_norm_ref(total, ours.weight, ours.bias, 1e-5)

    close(gradients(twin, inputs, ours.trainable_params()), expected)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (1, 12, 3, 4, 5)])
def test_group_norm(relu, shape):
    x = [Tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32) + 1)]
    ours, theirs = GroupNorm(4, 12, relu=relu), nn.GroupNorm(4, 12)
    randomise(ours), randomise(theirs)

    def four_axes(x):
        output = theirs(x.reshape(shape[0], 12, shape[2], -1)).reshape(shape)
        return ops.relu(output) if relu else output

    expected = gradients(four_axes, x, theirs.trainable_params())
    close(gradients(ours, x, ours.trainable_params()), expected)

    def twin(x):
        output = group_norm_ref(x, 4, ours.weight, ours.bias, 1e-5)
        return ops.relu(output) if relu else output

    close(gradients(twin, x, ours.trainable_params()), expected)


def test_names_and_wrong_groups():
    assert [p.name for p in LayerNorm(8).get_parameters()] == ["weight", "bias"]
    assert [p.name for p in GroupNorm(2, 8).get_parameters()] == ["weight", "bias"]
    with pytest.raises(UserError, match="8 channels cannot be split into 3 equal groups"):
        GroupNorm(3, 8)
