"""Deformable attention as a layer: many queries in blocks, with the numbers of all at once."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from mindvideo.modules.layers import deform_attention
from mindvideo.modules.layers.deform_attention import DeformableAttention

SHAPES = ((5, 7), (3, 4))
TOKENS, QUERIES, CHANNELS = 47, 10, 16


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_blocks_of_queries_change_nothing(mode, monkeypatch):
    ms.set_context(mode=mode)
    random = np.random.default_rng(0)
    query, source, padding = (
        ms.Tensor(random.standard_normal((2, QUERIES, CHANNELS)).astype(np.float32)),
        ms.Tensor(random.standard_normal((2, TOKENS, CHANNELS)).astype(np.float32)),
        ms.Tensor(random.random((2, TOKENS)) < 0.2),
    )
    reference = ms.Tensor(random.random((2, QUERIES, 2, 2)).astype(np.float32))
    whole, parts = (DeformableAttention(width=CHANNELS, num_levels=2, heads=4, num_points=3) for _ in range(2))
    for parameter, other in zip(whole.get_parameters(), parts.get_parameters()):
        values = random.standard_normal(parameter.shape).astype(np.float32) * 0.3
        parameter.set_data(ms.Tensor(values))
        other.set_data(ms.Tensor(values))
    expected = whole(query, reference, source, SHAPES, padding).asnumpy()
    samples_of_a_query = 2 * 4 * 2 * 3
    monkeypatch.setattr(deform_attention, "BLOCK_SAMPLES", 4 * samples_of_a_query)  # blocks of 4, 4 and 2 queries
    assert deform_attention.rows_of_block(samples_of_a_query, QUERIES) == 4
    found = parts(query, reference, source, SHAPES, padding).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(expected).max() > 0.1
