"""Deformable attention and convolution beyond the golden numbers: arguments, types, sizes, modes of execution."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from mindvideo.errors import UserError
from mindvideo.ops import deform_conv2d, ms_deform_attn
from mindvideo.ops.ms_deform_attn_ref import ms_deform_attn_ref

SHAPES = ((4, 5), (2, 2))


def attention_inputs(N=2, Lq=5, M=2, D=3, P=3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    value = rng.standard_normal((N, 24, M, D)).astype(np.float32)
    locations = rng.random((N, Lq, M, 2, P, 2)).astype(np.float32)
    return [value, locations, rng.random((N, Lq, M, 2, P)).astype(np.float32)]


def attend(value, locations, weights):
    return ms_deform_attn(value, SHAPES, None, locations, weights)


def attend_ref(value, locations, weights):
    return ms_deform_attn_ref(value, SHAPES, (0, 20), locations, weights)


def total(value, locations, weights):
    return (attend(value, locations, weights) ** 2).sum()


def test_graph_and_step_by_step_agree():
    inputs = [Tensor(a) for a in attention_inputs()]
    np.testing.assert_array_equal(attend(*inputs).asnumpy(), ms.jit(attend)(*inputs).asnumpy())
    for ours, theirs in zip(ms.grad(total, (0, 1, 2))(*inputs), ms.jit(ms.grad(total, (0, 1, 2)))(*inputs)):
        np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind, tolerance", [(ms.float16, 5e-3), (ms.float64, 1e-6)])
def test_other_types_keep_their_type(kind, tolerance):
    value, locations, weights = (Tensor(a) for a in attention_inputs())
    output = attend(value.astype(kind), locations, weights)
    assert output.dtype == kind
    expected = attend_ref(value, locations, weights).asnumpy()
    np.testing.assert_allclose(output.astype(ms.float32).asnumpy(), expected, atol=tolerance)


@pytest.mark.parametrize("sizes", [{"N": 0}, {"Lq": 0}])
def test_empty_inputs_give_empty_outputs(sizes):
    inputs = attention_inputs(**sizes)
    output = attend(*(Tensor(a) for a in inputs))
    assert output.shape == (inputs[0].shape[0], inputs[1].shape[1], 6)


def test_wrong_arguments_are_named():
    value, locations, weights = (Tensor(a) for a in attention_inputs())
    with pytest.raises(UserError, match=r"make 24 pixels, value has 20"):
        attend(value[:, :20], locations, weights)
    with pytest.raises(UserError, match=r"attention_weights must be \(2, 5, 2, 2, 3\); got \(2, 5, 2, 2, 2\)"):
        attend(value, locations, weights[..., :2])
    with pytest.raises(UserError, match=r"level_start_index must be \[0, 20\]; got \[0, 10\]"):
        ms_deform_attn(value, SHAPES, (0, 10), locations, weights)
    with pytest.raises(UserError, match="expected value"):
        attend(value[0], locations, weights)
    with pytest.raises(UserError, match="make 24 pixels, value has 20"):
        ms.jit(attend)(value[:, :20], locations, weights)


def test_more_elements_than_int32_counts_are_refused():
    from mindvideo.ops.ms_deform_attn import check_arguments

    value, locations = (64, 2**20, 8, 32), (64, 10, 8, 1, 4, 2)
    with pytest.raises(UserError, match=r"value would have 17179869184 elements, more than 2\*\*31 - 1"):
        check_arguments(value, locations, locations[:5], ((1024, 1024),), (0,), ms.float32)


def test_memory_of_the_native_kernel_is_refused_in_words(capfd):
    """Levels that do not fit value, given as tensors that nobody can check while compiling, are not read."""
    from mindvideo.ops.backend import backend

    if backend() != "cpu":
        pytest.skip("needs the compiled CPU library")
    value, locations, weights = (Tensor(a) for a in attention_inputs())
    levels, starts = Tensor([[400, 500], [2, 2]], ms.int32), Tensor([0, 200000], ms.int32)
    with pytest.raises(RuntimeError):
        ms_deform_attn(value, levels, starts, locations, weights).asnumpy()
    assert "do not add up to the rows of value" in capfd.readouterr().err


@pytest.mark.parametrize("stride, padding, dilation, kernel", [(1, 0, 1, 3), (2, 1, 1, 3), (1, 2, 2, 3), (1, 0, 1, 1)])
def test_convolution_without_offsets_is_an_ordinary_one(stride, padding, dilation, kernel):
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((2, 3, 8, 9)).astype(np.float32))
    weight = Tensor(rng.standard_normal((5, 3, kernel, kernel)).astype(np.float32))
    expected = ms.ops.conv2d(x, weight, stride=stride, pad_mode="pad", padding=padding, dilation=dilation)
    offset = ms.ops.zeros((2, 2 * kernel * kernel, *expected.shape[2:]), ms.float32)
    output = deform_conv2d(x, offset, weight, stride, padding, dilation)
    np.testing.assert_allclose(output.asnumpy(), expected.asnumpy(), atol=1e-5)


def test_convolution_names_wrong_arguments():
    x, weight = ms.ops.zeros((1, 3, 8, 8), ms.float32), ms.ops.zeros((5, 3, 3, 3), ms.float32)
    with pytest.raises(UserError, match=r"offset must be \[1, 18, 8, 8\]; got \[1, 18, 6, 6\]"):
        deform_conv2d(x, ms.ops.zeros((1, 18, 6, 6), ms.float32), weight)
    with pytest.raises(UserError, match="x has 3 channels, weight is for 4"):
        deform_conv2d(x, ms.ops.zeros((1, 18, 8, 8), ms.float32), ms.ops.zeros((5, 4, 3, 3), ms.float32))
