"""Which implementation runs where: every published configuration on every device, and the calls with a faked device."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.ops import auto_generate

from mindvideo import load_config
from mindvideo.ops import backend, normalization
from mindvideo.ops.ms_deform_attn_ref import ms_deform_attn_ref
from mindvideo.ops.selection import NATIVE_TYPES, implementation

# The package's names are the functions.
ms_deform_attn = importlib.import_module("mindvideo.ops.ms_deform_attn")
deform_conv = importlib.import_module("mindvideo.ops.deform_conv")
CONFIGS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[2] / "config").glob("[!_]*/*.yaml")
    if "toy" not in path.stem
)
HALF = ("float16", "bfloat16")


def attention_sizes(name: str) -> list[tuple[int, int, int]]:
    """(L, Lq, D) of the deformable attention of a configuration: encoder, then decoder; none in some families."""
    cfg = load_config(name)
    if cfg.family == "defvistr":
        own = cfg.defvistr
        levels = cfg.data.num_frames * own.token_levels + 1
        return [(levels, cfg.data.num_frames * 170, own.width // own.heads)]
    if cfg.family in ("instanceformer", "seqformer"):
        own = cfg[cfg.family]
        levels = len(own.backbone_levels) + own.extra_levels
        return [(levels, queries, own.width // own.heads) for queries in (4820, own.num_queries)]
    return []


@pytest.mark.parametrize("name", CONFIGS)
def test_every_published_configuration_on_every_device(name):
    sizes = attention_sizes(name)
    for size in sizes:
        for dtype in ("float32", *HALF):
            assert implementation("cuda", "ms_deform_attn", dtype, size) == "native"
        # The networks give it float32; half values are widened before they are looked at.
        fits = size[0] <= 16
        assert implementation("ascend", "ms_deform_attn", "float32", size) == ("ascend" if fits else "reference")
    assert any(size[0] == 37 for size in sizes) == (load_config(name).family == "defvistr")
    for operator in ("layer_norm", "group_norm"):
        assert [implementation("cuda", operator, dtype) for dtype in ("float32", *HALF)] == ["native"] * 3
        assert [implementation("cpu", operator, dtype) for dtype in ("float32", *HALF)] == [
            "native",
            *["reference"] * 2,
        ]
        assert implementation("ascend", operator, "float32") == "reference"
    assert implementation("cuda", "deform_conv2d", "float32") == "native"


def test_the_limits_of_the_ascend_primitive():
    taken = {size: implementation("ascend", "ms_deform_attn", "float32", size) == "ascend" for size in LIMITS}
    assert taken == LIMITS


LIMITS = {
    (16, 32, 32): True,
    (17, 32, 32): False,
    (4, 31, 32): False,  # the last block of a long row of queries may be shorter than the others
    (4, 300, 48): True,
    (4, 300, 30): False,
}


def test_the_ascend_primitive_takes_our_arguments_in_this_order():
    call = inspect.signature(auto_generate.MultiScaleDeformableAttn.__call__)
    assert list(call.parameters) == ["self", "value", "shape", "offset", "locations", "weight"]
    gradient = inspect.signature(auto_generate.MultiScaleDeformableAttnGrad.__call__)
    assert list(gradient.parameters)[:4] == ["self", "value", "shape", "offset"]


@pytest.fixture
def on_device(monkeypatch):
    """Pretend that a backend was chosen; native operators become a record of what they were given."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    calls = []

    def pretend(name: str) -> list:
        monkeypatch.setattr(backend, "backend", lambda: name)
        return calls

    def attention(value, shapes, starts, locations, weights):
        calls.append([str(t.dtype) for t in (value, shapes, starts, locations, weights)])
        levels = tuple(tuple(row) for row in shapes.asnumpy().tolist())
        wide = value.astype(ms.float32)
        return ms_deform_attn_ref(wide, levels, tuple(starts.asnumpy().tolist()), locations, weights).astype(
            value.dtype
        )

    def norm(x, *others):
        calls.append([str(t.dtype) for t in (x, *others)])
        return x

    monkeypatch.setattr(ms_deform_attn, "_forward_op", lambda: attention)
    monkeypatch.setattr(ms_deform_attn, "_ascend_op", lambda: attention)
    monkeypatch.setattr(normalization, "_residual_layer_norm_op", lambda: norm)
    monkeypatch.setattr(normalization, "_group_norm_op", lambda: norm)
    monkeypatch.setattr(deform_conv, "_forward_op", lambda: norm)
    yield pretend
    ms.set_context(mode=ms.GRAPH_MODE)


def inputs(L: int, Lq: int, dtype) -> list:
    rng = np.random.default_rng(0)
    value = Tensor(rng.standard_normal((1, 4 * L, 2, 8)).astype(np.float32)).astype(dtype)
    locations = Tensor(rng.random((1, Lq, 2, L, 2, 2)).astype(np.float32)).astype(dtype)
    weights = Tensor(rng.random((1, Lq, 2, L, 2)).astype(np.float32)).astype(dtype)
    return [value, ((2, 2),) * L, None, locations, weights]


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
def test_calls_of_deformable_attention(on_device, dtype):
    calls = on_device("cuda")
    result = ms_deform_attn.ms_deform_attn(*inputs(4, 40, dtype))
    assert result.dtype == dtype and result.shape == (1, 40, 16)
    assert calls == [[str(dtype), "Int32", "Int32", "Float32", "Float32"]]
    calls = on_device("ascend")
    calls.clear()
    ms_deform_attn.ms_deform_attn(*inputs(4, 40, dtype))
    assert calls == [["Float32", "Int32", "Int32", "Float32", "Float32"]]
    calls.clear()
    for L, Lq in ((17, 40), (4, 31)):  # beyond the primitive's limits: the twin, with the same numbers
        expected = ms_deform_attn_ref(
            *(t.astype(ms.float32) if isinstance(t, Tensor) else t for t in twin(L, Lq, dtype))
        )
        found = ms_deform_attn.ms_deform_attn(*inputs(L, Lq, dtype))
        np.testing.assert_allclose(found.asnumpy(), expected.astype(dtype).asnumpy(), rtol=1e-5, atol=1e-5)
    assert calls == []


def twin(L: int, Lq: int, dtype) -> list:
    value, shapes, _, locations, weights = inputs(L, Lq, dtype)
    return [value, shapes, tuple(4 * level for level in range(L)), locations, weights]


def test_calls_of_the_other_operators(on_device):
    x = Tensor(np.ones((2, 8, 3, 3), np.float32))
    vector, offset, weight = (Tensor(np.ones(s, np.float32)) for s in ((8,), (2, 18, 3, 3), (8, 8, 3, 3)))
    calls = on_device("cuda")
    for dtype in ("Float32", "Float16"):
        half = x.astype(getattr(ms, dtype.lower()))
        normalization.group_norm(half, 2, vector, vector, 1e-5)
        tokens = half.reshape(2, 9, 8)
        normalization.layer_norm(tokens, vector.astype(tokens.dtype), vector, 1e-5, tokens)
        deform_conv.deform_conv2d(half, offset, weight)
        assert calls == [
            [dtype, "Float32", "Float32", "Float32"],
            [dtype, dtype, dtype, dtype, "Float32"],
            ["Float32", "Float32", "Float32", "Int32"],
        ]
        calls.clear()
    calls = on_device("ascend")
    normalization.group_norm(x, 2, vector, vector, 1e-5)
    normalization.layer_norm(x, Tensor(np.ones(3, np.float32)), Tensor(np.ones(3, np.float32)), 1e-5, x)
    deform_conv.deform_conv2d(x, offset, weight)
    assert calls == []


def test_every_operator_has_its_row():
    assert set(NATIVE_TYPES["cpu"]) == set(NATIVE_TYPES["cuda"])
