"""SeqFormer's forward pass against the original's, step by step, in both codes that compute it.

Operator by operator: the graphs that users run are compiled in ``test_seqformer_inference.py``.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.models.seqformer import card
from tests.parity.seqformer_golden import Case, assert_close, fill_network, padded_input

TOLERANCE = 2e-5
MASK_TOLERANCE = 2e-4  # logits next to the padding hang on the sine of three million (see the golden data's README)


class Steps(nn.Cell):
    """Values on the network's way, as one graph: content, mask features, boxes, points."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)

    def construct(self, frames, padding):
        encoded = self.network.encode(frames, padding)
        decoding = self.network.decode(encoded)
        return decoding["content"], encoded["mask_features"], decoding["boxes"], decoding["points"]


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        root = Path(metafunc.config.getoption("--golden")) / "mssts"
        metafunc.parametrize("case_name", sorted(path.parent.name for path in root.glob("*/model.npz")))


@pytest.mark.usefixtures("operator_by_operator")
def test_every_step_of_the_forward_pass(golden, case_name):
    case = Case(golden / "mssts" / case_name, "model")
    cfg = case.config()
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    network.set_train(False)
    frames, padding = padded_input(case, case.facts["make_input"], case.facts["canvas"], case.facts["valid"])
    frames, padding = ms.Tensor(frames), ms.Tensor(padding)
    content, mask_features, boxes, points = Steps(network)(frames, padding)
    assert_close(content.asnumpy(), case, "hs", TOLERANCE)
    assert_close(mask_features.asnumpy(), case, "mask_feats", MASK_TOLERANCE)
    assert_close(frames_first(boxes), case, "inter_references", TOLERANCE)
    assert_close(frames_first(points)[0], case, "init_reference", TOLERANCE)
    predictions = dict(zip(("logits", "boxes", "masks"), network(frames, padding), strict=True))
    assert_close(predictions["logits"].asnumpy(), case, "logits", TOLERANCE)
    assert_close(predictions["logits"].asnumpy()[-1], case, "pred_logits", TOLERANCE)
    assert_close(frames_first(predictions["boxes"])[-1], case, "pred_boxes", TOLERANCE)
    assert_close(predictions["masks"].asnumpy(), case, "pred_masks", MASK_TOLERANCE)


def frames_first(of_queries: ms.Tensor) -> np.ndarray:
    """[D, B, Q, T, X] -> [D, B, T, Q, X], as the original has it."""
    return of_queries.asnumpy().swapaxes(2, 3)
