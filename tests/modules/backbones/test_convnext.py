"""ConvNeXt against plain NumPy, its weights under torchvision's names, and its levels."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters

from mindvideo.modules.backbones.catalogue import build_convnext
from mindvideo.modules.backbones.convnext import ConvNeXt
from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.rules import plan_loading

DEPTHS, WIDTHS = (2, 1, 1, 1), (6, 8, 10, 12)


def tiny(**options) -> ConvNeXt:
    network = ConvNeXt(depths=DEPTHS, widths=WIDTHS, **options)
    rng = np.random.default_rng(1)
    for parameter in network.get_parameters():  # every weight counts: none stays at zero, one or a millionth
        parameter.set_data(ms.Tensor(rng.standard_normal(parameter.shape).astype(np.float32) * 0.4))
    network.set_train(False)
    return network


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def layer_norm(x: np.ndarray, weights: dict, name: str) -> np.ndarray:
    """x [N, H, W, C]"""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def shrink(x: np.ndarray, weights: dict, name: str, stride: int) -> np.ndarray:
    """x [N, H, W, C]; each square of stride x stride cells becomes one, after padding with zeros."""
    N, H, W, C = x.shape
    x = np.pad(x, ((0, 0), (0, -H % stride), (0, -W % stride), (0, 0)))
    H, W = x.shape[1] // stride, x.shape[2] // stride
    squares = x.reshape(N, H, stride, W, stride, C).transpose(0, 1, 3, 5, 2, 4).reshape(N, H, W, -1)
    kernel = weights[f"{name}.weight"]
    return squares @ kernel.reshape(len(kernel), -1).T + weights[f"{name}.bias"]


def depthwise(x: np.ndarray, weights: dict, name: str) -> np.ndarray:
    """x [N, H, W, C], kernel [C, 1, 7, 7], zeros around the map."""
    N, H, W, C = x.shape
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    kernel = weights[f"{name}.weight"]
    y = np.zeros_like(x) + weights[f"{name}.bias"]
    for row in range(7):
        for column in range(7):
            y += padded[:, row : row + H, column : column + W] * kernel[:, 0, row, column]
    return y


def block(x: np.ndarray, weights: dict, name: str) -> np.ndarray:
    y = layer_norm(depthwise(x, weights, f"{name}.block.0"), weights, f"{name}.block.2")
    y = y @ weights[f"{name}.block.3.weight"].T + weights[f"{name}.block.3.bias"]
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    y = y @ weights[f"{name}.block.5.weight"].T + weights[f"{name}.block.5.bias"]
    return x + y * weights[f"{name}.layer_scale"][:, 0, 0]


def by_hand(frames: np.ndarray, weights: dict) -> list[np.ndarray]:
    """In float64: the four maps."""
    x = layer_norm(shrink(frames.transpose(0, 2, 3, 1), weights, "features.0.0", 4), weights, "features.0.1")
    maps = []
    for stage, depth in enumerate(DEPTHS):
        if stage:
            x = layer_norm(x, weights, f"features.{2 * stage}.0")
            x = shrink(x, weights, f"features.{2 * stage}.1", 2)
        for number in range(depth):
            x = block(x, weights, f"features.{2 * stage + 1}.{number}")
        maps.append(layer_norm(x, weights, f"norm{stage}").transpose(0, 3, 1, 2))
    return maps


@pytest.mark.parametrize("size", [(32, 64), (37, 50)])
def test_maps_equal_plain_numpy(size: tuple[int, int]):
    network = tiny()
    frames = draw(2, 3, *size)
    weights = {name: p.asnumpy().astype(np.float64) for name, p in network.parameters_and_names()}
    for got, wanted in zip(network(ms.Tensor(frames)), by_hand(frames.astype(np.float64), weights), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_levels_channels_and_strides():
    network = tiny(out_levels=(0, 2))
    maps = network(ms.Tensor(draw(1, 3, 33, 40)))
    assert network.channels == (6, 10) and network.strides == (4, 16)
    assert [m.shape for m in maps] == [(1, 6, 9, 10), (1, 10, 3, 3)]
    names = [name for name, _ in network.parameters_and_names()]
    assert not any(name.startswith(("features.6", "features.7", "norm1", "norm3")) for name in names), "unused parts"


@pytest.mark.usefixtures("compiled")
def test_drop_path_drops_in_training_only():
    network = tiny(drop_path=0.9)
    frames = ms.Tensor(draw(4, 3, 32, 32))
    still = network(frames)[-1].asnumpy()
    network.set_train(True)
    assert np.abs(network(frames)[-1].asnumpy() - still).max() > 1e-3


def torchvision_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's convnext_tiny file."""
    widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)
    shapes = {"features.0.0.weight": (96, 3, 4, 4), "features.0.0.bias": (96,)}
    shapes |= {"features.0.1.weight": (96,), "features.0.1.bias": (96,)}
    for stage, (C, depth) in enumerate(zip(widths, depths)):
        if stage:
            before = widths[stage - 1]
            place = f"features.{2 * stage}"
            shapes |= {f"{place}.0.weight": (before,), f"{place}.0.bias": (before,)}
            shapes |= {f"{place}.1.weight": (C, before, 2, 2), f"{place}.1.bias": (C,)}
        for number in range(depth):
            place = f"features.{2 * stage + 1}.{number}"
            shapes |= {f"{place}.layer_scale": (C, 1, 1)}
            shapes |= {f"{place}.block.0.weight": (C, 1, 7, 7), f"{place}.block.0.bias": (C,)}
            shapes |= {f"{place}.block.2.weight": (C,), f"{place}.block.2.bias": (C,)}
            shapes |= {f"{place}.block.3.weight": (4 * C, C), f"{place}.block.3.bias": (4 * C,)}
            shapes |= {f"{place}.block.5.weight": (C, 4 * C), f"{place}.block.5.bias": (C,)}
    return shapes


def test_weights_under_torchvisions_names():
    with no_init_parameters():
        parameters = {f"backbone.{name}": p.shape for name, p in build_convnext("convnext_t").parameters_and_names()}
    shapes = torchvision_shapes()
    classifier = ["classifier.0.weight", "classifier.0.bias", "classifier.2.weight", "classifier.2.bias"]
    plan = plan_loading(imagenet_table("backbone."), [*shapes, *classifier], list(parameters))
    assert plan.is_complete, plan
    links = {link.parameter: link.source for link in plan.links}
    assert links == {f"backbone.{name}": name for name in shapes}
    assert all(tuple(parameters[f"backbone.{name}"]) == shape for name, shape in shapes.items())
    left = set(parameters) - set(links)
    assert left == {f"backbone.norm{level}.{kind}" for level in range(4) for kind in ("weight", "bias")}
    wrong = plan_loading(imagenet_table("backbone."), [*shapes, "features.1.3.block.1.weight"], list(parameters))
    assert not wrong.is_complete, "a name that torchvision does not have is refused"
