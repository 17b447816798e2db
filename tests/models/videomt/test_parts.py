"""Parts of VidEoMT that no stored numbers cover: the gated feed-forward, the stem, the draws, the matcher's edges."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.errors import UserError
from mindvideo.models.videomt import card
from mindvideo.modules.layers.draws import UniformDraws
from mindvideo.modules.layers.dropout import seed_dropout
from mindvideo.modules.layers.feed_forward import SwigluFeedForward
from mindvideo.modules.layers.patches import ConvolutionStem, sine_grid
from mindvideo.modules.losses.point_sampling import MaskPoints, sample_maps
from mindvideo.modules.matching.first_appearance import FirstAppearanceMatcher


def test_swiglu_is_the_gated_product():
    layer = SwigluFeedForward(width=12, hidden=48)
    x = np.random.default_rng(0).standard_normal((2, 3, 12)).astype(np.float32)
    w1, b1, w2, b2 = (p.asnumpy() for p in (layer.fc1.weight, layer.fc1.bias, layer.fc2.weight, layer.fc2.bias))
    assert w1.shape == (64, 12) and w2.shape == (12, 32)  # 48 * 2 / 3 = 32
    both = x @ w1.T + b1
    gate, value = both[..., :32], both[..., 32:]
    expected = (gate / (1.0 + np.exp(-gate)) * value) @ w2.T + b2
    np.testing.assert_allclose(layer(ms.Tensor(x)).asnumpy(), expected, atol=1e-5)


def test_the_stem_sees_every_patch_where_it_is():
    stem = ConvolutionStem(width=16, patch_size=8)
    frame = np.zeros((1, 3, 64, 96), np.float32)
    before = stem(ms.Tensor(frame)).asnumpy()
    assert before.shape == (1, 8 * 12, 16)
    frame[:, :, 24:32, 40:48] = 3.0  # patch (3, 5)
    changed = np.abs(stem(ms.Tensor(frame)).asnumpy() - before).max(-1)[0].reshape(8, 12) > 1e-6
    # Group norms see the whole frame, so only what lies far from the change is told from what does.
    rows, columns = np.nonzero(np.abs(stem_without_norms(stem, frame) - stem_without_norms(stem, 0 * frame)) > 1e-6)
    assert changed[3, 5] and rows.min() >= 3 and rows.max() <= 4 and columns.min() >= 5 and columns.max() <= 6


def stem_without_norms(stem: ConvolutionStem, frame: np.ndarray) -> np.ndarray:
    """The largest value of each cell [rows, columns] after the convolutions only."""
    maps = ms.Tensor(frame)
    for convolution in stem.convolutions:
        maps = convolution(maps)
    return maps.asnumpy()[0].max(0)


def test_sine_codes_tell_cells_apart():
    codes = sine_grid(8, 12, 128)
    assert codes.shape == (96, 128) and np.abs(codes).max() <= 1.0
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=-1) + 10.0 * np.eye(96)
    assert distances.min() > 0.1


def test_draws_are_uniform_and_follow_the_iteration():
    draws = UniformDraws()
    first = draws(2000, 2).asnumpy()
    assert first.min() >= 0.0 and first.max() < 1.0
    assert abs(first.mean() - 0.5) < 0.02 and abs(first.std() - 12**-0.5) < 0.02
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.08
    np.testing.assert_array_equal(first, draws(2000, 2).asnumpy())
    assert (draws(2000, 2, 1).asnumpy() != first).mean() > 0.99
    iteration = ms.Parameter(ms.Tensor(0, ms.int32), name="iteration", requires_grad=False)
    assert seed_dropout(draws, iteration, seed=1) == 1
    one = draws(50, 2).asnumpy()
    ms.ops.assign(iteration, ms.Tensor(1, ms.int32))
    assert (draws(50, 2).asnumpy() != one).all()


def test_uncertain_points_lie_where_the_mask_changes_sign():
    maps = np.tile(np.linspace(-4.0, 4.0, 32, dtype=np.float32), (1, 32, 1))
    points = MaskPoints(num_points=100)
    chosen = points.uncertain(ms.Tensor(maps), 0)
    assert chosen.shape == (1, 100, 2)
    certainty = np.abs(sample_maps(ms.Tensor(maps), chosen).asnumpy()[0])
    assert certainty[:75].max() < 1.6 < certainty[75:].max()  # a quarter of 300 candidates, then any


def matched(*, present: list, exists: list, costs: np.ndarray) -> list[int]:
    """The matcher's answer of one clip where masks and classes say that query q costs ``costs`` [T, Q, N]."""
    T, Q, N = costs.shape

    class Fixed(FirstAppearanceMatcher):
        def cost(self, *inputs):  # noqa: ARG002
            return ms.Tensor(costs[None, None].astype(np.float32))

    shown, rows = ms.Tensor(np.array([present], bool)), ms.Tensor(np.array([exists], bool))
    targets = {"labels": ms.Tensor(np.zeros((1, N), np.int32)), "present": shown, "exists": rows}
    logits = ms.Tensor(np.zeros((1, 1, Q, T, 3), np.float32))
    matcher = Fixed(class_weight=1.0, mask_weight=1.0, dice_weight=1.0)
    return matcher(logits, None, None, targets).asnumpy()[0, 0].tolist()


def test_an_instance_is_matched_where_it_appears_first():
    costs = np.ones((2, 3, 2))
    costs[0, 2, 0] = costs[1, 2, 1] = 0.0  # both would like query 2
    costs[1, 1, 1], costs[0, 0, 0] = 0.5, 0.8
    assert matched(present=[[1, 1], [0, 1]], exists=[1, 1], costs=costs) == [2, 1]
    # The other way round in time: the second instance chooses first.
    assert matched(present=[[0, 1], [1, 1]], exists=[1, 1], costs=costs[::-1]) == [0, 2]


def test_what_the_matcher_leaves_out():
    costs = np.zeros((2, 2, 3))
    assert matched(present=[[1, 0], [0, 0], [0, 1]], exists=[1, 1, 0], costs=costs)[1:] == [-1, -1]
    # More instances than queries: nobody gets a query that is taken.
    found = matched(present=[[1, 1], [1, 1], [0, 1]], exists=[1, 1, 1], costs=costs)
    assert sorted(found) == [-1, 0, 1] and found[2] == -1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.buckets=[[60, 96]]"], "multiples of videomt.patch_size"),
        (["videomt.query_blocks=6"], "at least one block"),
        (["videomt.heads=5"], "multiple of 4"),
        (["videomt.table_size=[60, 96]"], "table_size"),
        (["videomt.patch_size=12", "videomt.table_size=[60, 96]", "data.buckets=[[60, 96]]"], "power of 2"),
    ],
)
def test_settings_that_contradict_each_other_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        card.build_network(load_config("videomt_toy", overrides))
