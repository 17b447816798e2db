"""Dropout by the compiled library draws the masks that MindSpore's operators draw, and its gradient has the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, nn, ops

from mindvideo.modules.layers.dropout import Dropout, seed_dropout
from mindvideo.ops.elementwise import is_native_dropout

ROOT = Path(__file__).resolve().parents[3]
needs_library = pytest.mark.skipif(not is_native_dropout((3, 4), ms.float32), reason="no library")


class Twice(nn.Cell):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropout = Dropout(rate)

    def construct(self, x):
        return ops.cat((self.dropout(x, 0), self.dropout(x, 5)), 0)


def counted(network: nn.Cell, iteration: int) -> nn.Cell:
    seed_dropout(network, Parameter(ms.Tensor(iteration, ms.int32), name="iteration", requires_grad=False), seed=3)
    return network.set_train()


@needs_library
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("iteration", [0, 70_000])
def test_the_library_draws_the_same_masks(iteration, mode):
    ms.set_context(mode=mode)
    network = counted(Twice(0.3), iteration)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((3, 50, 70)).astype(np.float32))
    dropout, rows = network.dropout, 3 * 50
    kept = np.concatenate([dropout.keep(rows, 70, draw).asnumpy().reshape(x.shape) for draw in (0, 5)])
    assert 0.65 < kept.mean() < 0.75 and (kept[:3] != kept[3:]).any()
    factor = kept * np.float32(dropout.scale)
    np.testing.assert_array_equal(network(x).asnumpy(), np.concatenate([x.asnumpy()] * 2) * factor)
    slopes = ms.grad(network)(x).asnumpy()  # of the sum
    np.testing.assert_array_equal(slopes, factor[:3] + factor[3:])


GROWTH = """
import resource, mindspore as ms, numpy as np
from tests.modules.layers.test_dropout import Twice, counted
network, x = counted(Twice(0.3), 1), ms.Tensor(np.ones((20_000, 1_000), np.float32))
ms.grad(network)(x[:2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ms.grad(network)(x).asnumpy()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / x.nbytes)
"""


@needs_library
def test_no_mask_is_kept():
    """Memory in units of x: 7, where MindSpore's operators on bits, which keep indices, come to 12."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(done.stdout) < 9.5


def test_nothing_is_dropped_in_evaluation_or_at_rate_0():
    x = ms.Tensor(np.ones((4, 6), np.float32))
    np.testing.assert_array_equal(Dropout(0.5).set_train(False)(x).asnumpy(), 1)
    np.testing.assert_array_equal(Dropout(0.0).set_train()(x).asnumpy(), 1)


def test_half_types_are_dropped_by_mindspore():
    x = ms.Tensor(np.ones((40, 60)), ms.float16)
    found = Dropout(0.5).set_train()(x).asnumpy()
    assert set(np.unique(found)) == {0, 2} and 0.4 < (found == 2).mean() < 0.6
