"""The ResNets where the golden data does not show them: folding, norms, freezing, sizes and the small ones."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.modules.backbones.catalogue import BACKBONES, RESNETS, build_backbone, build_resnet
from mindvideo.modules.backbones.group_norm import GroupNormAfterConv
from mindvideo.modules.layers.batch_norm import BatchNorm
from mindvideo.modules.layers.convolution import Convolution
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def randomise(norm: nn.Cell) -> None:
    for index, name in enumerate(("weight", "bias", "running_mean", "running_var")):
        values = draw(*getattr(norm, name).shape, seed=index)
        getattr(norm, name).set_data(ms.Tensor(np.abs(values) + 0.5 if name == "running_var" else values))


class Normed(nn.Cell):
    """A convolution and its norm; ``folds`` says which of the two ways."""

    def __init__(self, norm: nn.Cell, *, folds: bool, groups: int = 1) -> None:
        super().__init__()
        self.conv, self.norm, self.folds = Convolution(6, 8, 3, stride=2, groups=groups), norm, folds
        self.conv.weight.set_data(ms.Tensor(draw(8, 6 // groups, 3, 3)))

    def construct(self, x):
        return self.norm.after(self.conv, x) if self.folds else self.norm(self.conv(x))


def value_and_gradients(cell: nn.Cell, x: np.ndarray) -> list[np.ndarray]:
    sign = ms.Tensor(draw(2, 8, 4, 5, seed=9))

    def loss(x):
        out = cell(x)
        return (out * sign).sum(), out

    (_, out), (by_x, by_weights) = ms.value_and_grad(loss, 0, cell.trainable_params(), has_aux=True)(ms.Tensor(x))
    return [out.asnumpy(), by_x.asnumpy(), *(gradient.asnumpy() for gradient in by_weights)]


@pytest.mark.parametrize("groups", [1, 2])
def test_folding_changes_neither_values_nor_gradients(groups: int):
    results = []
    for folds in (False, True):
        cell = Normed(FrozenBatchNorm(8), folds=folds, groups=groups)
        randomise(cell.norm)
        assert [p.name for p in cell.trainable_params()] == ["conv.weight"]
        results.append(value_and_gradients(cell, draw(2, 6, 7, 9)))
    for plain, folded in zip(*results):
        np.testing.assert_allclose(folded, plain, rtol=1e-5, atol=1e-5 * np.abs(plain).max())


def test_frozen_norm_formula():
    norm = FrozenBatchNorm(8, eps=1e-3)
    randomise(norm)
    x = draw(2, 8, 3, 4)
    weight, bias, mean, variance = (p.asnumpy()[:, None, None] for p in norm.get_parameters())
    expected = (x - mean) / np.sqrt(variance + 1e-3) * weight + bias
    np.testing.assert_allclose(norm(ms.Tensor(x)).asnumpy(), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_learns_statistics_and_uses_them():
    norm = BatchNorm(8)
    x = draw(4, 8, 5, 6) * 3 + 2
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    norm.set_train(True)
    found = norm(ms.Tensor(x)).asnumpy()
    expected = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(norm.running_mean.asnumpy(), 0.1 * mean, rtol=1e-4)
    assert np.all(np.abs(norm.running_var.asnumpy() - (0.9 + 0.1 * variance)) < 0.02 * variance)
    cell = Normed(norm, folds=True)
    cell.set_train(False)
    before = norm.running_mean.asnumpy().copy()
    plain = Normed(norm, folds=False)
    plain.set_train(False)
    x = ms.Tensor(draw(2, 6, 7, 9))
    np.testing.assert_allclose(cell(x).asnumpy(), plain(x).asnumpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(norm.running_mean.asnumpy(), before)


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (32, 4), (48, 4), (96, 8), (256, 32)])
def test_group_norm_sizes(channels: int, groups: int):
    assert GroupNormAfterConv(channels).groups == groups


NAMES_OF_RESNET18 = {
    "conv1.weight",
    "layer1.0.conv1.weight",
    "layer2.0.downsample.0.weight",
    "layer4.1.bn2.running_var",
}


def test_resnet18_has_torchvision_s_names():
    network = build_backbone("resnet18")
    names = {p.name for p in network.get_parameters()}
    assert names >= NAMES_OF_RESNET18 and "layer1.0.downsample.0.weight" not in names
    convolutions = [p for p in network.get_parameters() if p.ndim == 4]
    assert len(convolutions) == 20 and sum(p.size for p in convolutions) == 11_166_912


@pytest.mark.parametrize(("trainable", "first"), [(0, None), (1, "layer4"), (3, "layer2"), (4, "layer1"), (5, "conv1")])
def test_frozen_stages(trainable: int, first: str | None):
    network = build_backbone("resnet18", trainable_stages=trainable)
    names = [p.name for p in network.trainable_params()]
    assert (names[0].split(".")[0] if names else None) == first
    order = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert {name.split(".")[0] for name in names} == set(order[len(order) - trainable :])


@pytest.mark.parametrize("norm", ["frozen", "batch", "group"])
@pytest.mark.parametrize("first_stride", [2, 4])
def test_small_network_maps_and_gradients(norm: str, first_stride: int):
    """Odd sizes, every norm, both kinds of stem: the announced sizes, and a gradient everywhere."""
    network = build_resnet(
        "resnet_small",
        norm=norm,
        trainable_stages=5,
        out_levels=(1, 3),
        stem_pool=first_stride == 4,
        widths=(8, 16, 24, 32),
    )
    network.set_train(True)
    assert network.channels == (16, 32) and network.strides == (first_stride * 2, first_stride * 8)

    def loss(x):
        maps = network(x)
        return sum([(m * m).mean() for m in maps]), maps

    x = ms.Tensor(draw(2, 3, 37, 50))
    (_, maps), gradients = ms.value_and_grad(loss, None, network.trainable_params(), has_aux=True)(x)
    for found, channels, stride in zip(maps, network.channels, network.strides):
        assert found.shape == (2, channels, -(-37 // stride), -(-50 // stride))
    for parameter, gradient in zip(network.trainable_params(), gradients):
        assert np.abs(gradient.asnumpy()).max() > 0, parameter.name


def test_dilated_last_stage_keeps_the_size():
    network = build_resnet("resnet18", dilate_last=True, out_levels=(2, 3))
    coarse, last = network(ms.Tensor(draw(1, 3, 64, 96)))
    assert network.strides == (16, 16) and coarse.shape[2:] == last.shape[2:] == (4, 6)


@pytest.mark.parametrize("levels", [(), (1, 0), (0, 0), (4,)])
def test_levels_are_checked(levels: tuple):
    with pytest.raises(ValueError, match="out_levels"):
        build_backbone("resnet_small", out_levels=levels)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="resnet50.*swin_t_p4w7"):
        build_backbone("resnet51")
    assert set(RESNETS) < set(BACKBONES)
