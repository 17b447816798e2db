"""Swin where the golden data does not show it: small maps, drop path, gradients, levels."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.models.cards.backbone import backbone_of
from mindvideo.modules.backbones.catalogue import BACKBONES, SWINS, build_swin
from mindvideo.modules.backbones.swin import Swin, SwinBlock
from mindvideo.modules.layers.window_attention import cells_apart, join_windows, roll, split_windows


def tiny(**options) -> Swin:
    return Swin(embed=8, depths=(2, 1, 1, 2), heads=(2, 2, 4, 4), window=3, **options)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_windows_are_split_and_joined():
    x = draw(2, 6, 9, 4)
    windows = split_windows(ms.Tensor(x), 3)
    assert windows.shape == (12, 9, 4)
    np.testing.assert_array_equal(windows.asnumpy()[1].reshape(3, 3, 4), x[0, :3, 3:6])
    np.testing.assert_array_equal(join_windows(windows, 3, 6, 9).asnumpy(), x)


@pytest.mark.parametrize("shift", [1, 3, -3, 9])
def test_roll(shift: int):
    x = draw(1, 6, 9, 2)
    np.testing.assert_array_equal(roll(ms.Tensor(x), shift).asnumpy(), np.roll(x, (-shift, -shift), (1, 2)))


def test_cells_that_the_shift_brought_together_stay_apart():
    """Against a direct computation: shift a map of region numbers, cut it, compare pairs."""
    height, width, window, shift = 8, 12, 4, 2
    label = np.zeros((height, width), int)
    for row, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
        for column, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            label[rows, columns] = 3 * row + column
    expected = []
    for top in range(0, height, window):
        for left in range(0, width, window):
            cells = label[top : top + window, left : left + window].reshape(-1)
            expected.append(np.where(cells[:, None] == cells[None, :], 0.0, -100.0))
    np.testing.assert_array_equal(cells_apart(height, width, window, shift).asnumpy(), np.stack(expected))


def test_maps_smaller_than_a_window_and_levels():
    network = tiny(out_levels=(1, 3))
    network.set_train(False)
    maps = network(ms.Tensor(draw(2, 3, 21, 34)))
    assert network.channels == (16, 64) and network.strides == (8, 32)
    assert [m.shape for m in maps] == [(2, 16, 3, 5), (2, 64, 1, 2)]
    assert all(np.isfinite(m.asnumpy()).all() for m in maps)


@pytest.mark.usefixtures("compiled")
def test_every_parameter_gets_a_gradient():
    network = tiny(drop_path=0.3)
    network.set_train(True)

    def loss(x):
        return sum([(m * m * m).mean() for m in network(x)])

    _, gradients = ms.value_and_grad(loss, None, network.trainable_params())(ms.Tensor(draw(2, 3, 40, 52)))
    for parameter, gradient in zip(network.trainable_params(), gradients):
        assert np.abs(gradient.asnumpy()).max() > 0, parameter.name


def test_drop_path_grows_with_depth_and_is_off_in_evaluation():
    rates = [block.drop_path.rate for stage in tiny(drop_path=0.7).layers for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.7, 6))
    block, x = SwinBlock(channels=8, heads=2, window=3, shift=1, drop_path=0.7), ms.Tensor(draw(16, 5, 7, 8))
    block.set_train(False)
    evaluated = block(x).asnumpy()
    np.testing.assert_array_equal(block(x).asnumpy(), evaluated)
    block.set_train(True)
    unchanged = np.abs(block(x).asnumpy() - x.asnumpy()).max((1, 2, 3)) == 0.0
    assert 0 < unchanged.sum() < 16  # clips that lost both branches, and clips that kept one
    assert (np.abs(evaluated - x.asnumpy()).max((1, 2, 3)) > 0).all()


def test_catalogue_sizes():
    with ms.nn.utils.no_init_parameters():
        counted = {name: sum(p.size for p in build_swin(name).get_parameters()) for name in SWINS}
    published = {"swin_t_p4w7": 27_520_698, "swin_s_p4w7": 48_838_602, "swin_b_p4w7": 86_745_016}
    assert counted.items() >= {**published, "swin_l_p4w12": 195_201_204}.items()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_configured_name_builds(name: str):
    # The published recipe sets two keys of a ResNet, which other backbones do not have.
    others = [] if name.startswith("resn") else ["backbone.norm=null", "backbone.trainable_stages=null"]
    cfg = load_config("vistr", [f"backbone.name={name}", *others])
    with ms.nn.utils.no_init_parameters():
        network = backbone_of(cfg, out_levels=(1, 2, 3))
    assert len(network.channels) == 3 and len(network.strides) == 3
