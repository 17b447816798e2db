"""VidEoMT's forward pass against the original's, from the embedded patches to the masks, through the whole clip.

Operator by operator: the graph that users run is compiled in ``test_videomt_units.py``.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.models.videomt.network import Trace
from tests.parity.videomt_golden import Case, assert_close, filled_network

NAMES = tuple(Trace.__annotations__)
TOLERANCE = 2e-5
MASK_TOLERANCE = 1e-4
pytestmark = pytest.mark.usefixtures("operator_by_operator")


def pytest_generate_tests(metafunc):
    if "clip" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden")) / "videomt"
        names = sorted(f"{path.parent.name}/{path.stem}" for path in folder.glob("*/online_*.npz"))
        metafunc.parametrize("clip", names)


class Traced(nn.Cell):
    """The columns of a Trace, in their order: a compiled Cell gives no dict."""

    def __init__(self, network) -> None:
        super().__init__()
        self.network = network

    def construct(self, frames, query):
        trace = self.network.trace(frames, query)
        values = ()
        for name in NAMES:
            values += (trace[name],)
        return values


def named(values) -> Trace:
    return Trace(zip(NAMES, values, strict=True))


def test_clip_equals_the_original(golden, clip):
    case = Case(golden / "videomt", clip)
    network, _ = filled_network(case, case.config())
    frames = case.frames()
    cell = Traced(network)
    cell.set_train(False)
    check_trace(case, named(cell(ms.Tensor(frames), network.first_query(len(frames)))))


def check_trace(case: Case, trace) -> None:
    arrays = case.arrays
    stages = {"embeddings": trace["embeddings"], "query_in": trace["query_in"], "normed": trace["normed"]}
    blocks = (*trace["frame_blocks"], *trace["query_blocks"])
    stages |= {f"block{number}": tokens for number, tokens in enumerate(blocks)}
    stages |= {
        "query_out": trace["query_blocks"][-1][:, :, : trace["query_in"].shape[2]],
        "mask_embed": trace["mask_vectors"],
    }
    compared = 0
    for stage, tokens in stages.items():
        if stage in arrays:
            assert_close(tokens.asnumpy(), arrays, stage, TOLERANCE)
            compared += 1
    assert compared >= 8
    for number, maps in enumerate(trace["features"]):
        assert_close(maps.asnumpy().transpose(0, 1, 4, 2, 3), arrays, f"upscale{number}", TOLERANCE)
    logits, masks = trace["logits"].asnumpy(), trace["masks"].asnumpy()
    assert_close(logits[-1].swapaxes(1, 2), arrays, "logits", TOLERANCE)
    masks = masks.swapaxes(1, 2)
    assert_close(masks, arrays, "masks", MASK_TOLERANCE)
    if "mask_qmean" in arrays:
        each = masks.reshape(*masks.shape[:3], -1)
        scale = np.abs(masks).max()
        np.testing.assert_allclose(each.mean(-1), arrays["mask_qmean"], atol=MASK_TOLERANCE * scale)
        np.testing.assert_allclose(each.std(-1, ddof=1), arrays["mask_qstd"], atol=MASK_TOLERANCE * scale)


@pytest.mark.parametrize("name", ["tiny/online_nonsquare", "tiny/online_dinov3_normq"])
def test_frame_by_frame_equals_the_clip(golden, name):
    case = Case(golden / "videomt", name)
    network, _ = filled_network(case, case.config())
    frames = case.frames()
    query = network.first_query(len(frames))
    cell = Traced(network)
    cell.set_train(False)
    for t in range(frames.shape[1]):
        trace = named(cell(ms.Tensor(np.ascontiguousarray(frames[:, t : t + 1])), query))
        query = trace["next_query"]
        logits = trace["logits"].asnumpy()[-1, :, :, 0]
        expected = case.arrays["logits"][:, t]
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE * np.abs(expected).max())
