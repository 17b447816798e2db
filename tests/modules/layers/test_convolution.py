"""Convolutions by the compiled library equal MindSpore's, with all that follows them, and can be differentiated."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.convolution import Conv2d, ConvolutionPass, DepthwiseConv2d
from mindvideo.ops.convolution import is_native_convolution

N, C, OUT = 2, 5, 7  # maps, their channels, those of the result


class Squares(nn.Cell):
    def __init__(self, convolve: Callable[..., ms.Tensor], *, relu: bool) -> None:
        super().__init__()
        self.convolve, self.relu = convolve, relu

    def construct(self, x, weight, scale=None, shift=None, residual=None):
        return ops.sum(self.convolve(x, weight, scale, shift, residual, self.relu) ** 2)


def numbers(*shape: int) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


# kernel, stride, padding, dilation, height, width
GEOMETRIES = [
    (1, 1, 0, 1, 9, 31),
    (3, 1, 1, 1, 6, 50),
    (3, 2, 1, 1, 7, 12),
    (7, 2, 3, 1, 20, 17),
    (3, 1, 2, 2, 8, 9),
    (4, 4, 0, 1, 8, 13),
]

needs_library = pytest.mark.skipif(
    not is_native_convolution((N, C, 8, 8), ms.float32, 1), reason="no library, or a processor without AVX2"
)


@needs_library
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("follow", ["nothing", "shift", "everything"])
def test_the_library_gives_what_mindspore_gives(geometry, follow):
    kernel, stride, padding, dilation, height, width = geometry
    convolve = ConvolutionPass(OUT, kernel, padding=padding, stride=stride, dilation=dilation)
    x, weight = numbers(N, C, height, width), numbers(OUT, C, kernel, kernel)
    follows = [None, None, None]
    if follow == "shift":
        follows = [None, numbers(OUT), None]
    if follow == "everything":
        follows = [numbers(OUT), numbers(OUT, 1).reshape(OUT), numbers(*convolve(x, weight).shape)]
    relu = follow == "everything"
    expected = convolve.by_mindspore(x, weight, *follows, relu).asnumpy()
    for training in (True, False):
        found = convolve.set_train(training)(x, weight, *follows, relu).asnumpy()
        assert found.shape == expected.shape and (found.min() == 0) == relu
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_are_those_of_mindspore(geometry, mode):
    ms.set_context(mode=mode)
    kernel, stride, padding, dilation, height, width = geometry
    convolve = ConvolutionPass(OUT, kernel, padding=padding, stride=stride, dilation=dilation)
    x, weight = numbers(N, C, height, width), numbers(OUT, C, kernel, kernel)
    given = [x, weight, numbers(OUT), numbers(OUT, 1).reshape(OUT), numbers(*convolve(x, weight).shape)]
    found = [
        [each.asnumpy() for each in ms.grad(Squares(route, relu=True).set_train(), (0, 1, 3, 4))(*given)]
        for route in (convolve, convolve.by_mindspore)
    ]
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(one).max())
        assert np.abs(one).max() > 0.01


def test_groups_and_half_types_go_to_the_operators_of_mindspore():
    assert not is_native_convolution((N, C, 8, 8), ms.float32, 2)
    assert not is_native_convolution((N, C, 8, 8), ms.float16, 1)
    assert not is_native_convolution((N, C, 0, 8), ms.float32, 1)


def test_the_layer_is_that_of_mindspore():
    ours = Conv2d(C, OUT, 3, padding=1, weight_init="ones", bias_init="zeros")
    theirs = nn.Conv2d(C, OUT, 3, pad_mode="pad", padding=1, has_bias=True, weight_init="ones", bias_init="zeros")
    assert [p.name for p in ours.get_parameters()] == [p.name for p in theirs.get_parameters()] == ["weight", "bias"]
    x = numbers(N, C, 9, 10)
    np.testing.assert_allclose(ours(x).asnumpy(), theirs(x).asnumpy(), rtol=1e-5, atol=1e-4)


class SquaresOf(nn.Cell):
    def __init__(self, layer: nn.Cell) -> None:
        super().__init__()
        self.layer = layer

    def construct(self, x):
        return ops.sum(self.layer(x) ** 2)


@pytest.mark.parametrize("kernel", [3, 7])
def test_channels_by_themselves_equal_those_of_mindspore(kernel):
    ours, theirs = (
        DepthwiseConv2d(C, kernel),
        nn.Conv2d(C, C, kernel, pad_mode="pad", padding=kernel // 2, group=C, has_bias=True),
    )
    for own, other in zip(ours.get_parameters(), theirs.get_parameters(), strict=True):
        assert own.name == other.name
        own.set_data(numbers(*other.shape))
        other.set_data(numbers(*other.shape))
    x = numbers(N, C, 9, 20)
    np.testing.assert_allclose(ours(x).asnumpy(), theirs(x).asnumpy(), rtol=1e-5, atol=1e-5)
    found = [ms.grad(SquaresOf(layer), 0, layer.trainable_params())(x) for layer in (ours, theirs)]
    for one, other in zip((found[0][0], *found[0][1]), (found[1][0], *found[1][1])):
        limit = 1e-5 * np.abs(other.asnumpy()).max()
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-5, atol=limit)
