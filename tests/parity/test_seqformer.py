"""SeqFormer's forward pass against the original's, step by step, in both codes that compute it."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np

from mindvideo.models.seqformer import card
from tests.parity.seqformer_golden import Case, assert_close, fill_network, padded_input

TOLERANCE = 2e-5
MASK_TOLERANCE = 2e-4  # logits next to the padding hang on the sine of three million (see the golden data's README)


def pytest_generate_tests(metafunc):
    if "case_name" in metafunc.fixturenames:
        root = Path(metafunc.config.getoption("--golden")) / "mssts"
        metafunc.parametrize("case_name", sorted(path.parent.name for path in root.glob("*/model.npz")))


def test_every_step_of_the_forward_pass(golden, case_name):
    case = Case(golden / "mssts" / case_name, "model")
    cfg = case.config()
    ms.set_context(mode=ms.GRAPH_MODE)
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    network.set_train(False)
    frames, padding = padded_input(case, case.facts["make_input"], case.facts["canvas"], case.facts["valid"])
    frames, padding = ms.Tensor(frames), ms.Tensor(padding)
    contents, boxes, references, features = network.decode(frames, padding)
    assert_close(ms.ops.stack(contents).asnumpy(), case, "hs", TOLERANCE)
    assert_close(features.asnumpy(), case, "mask_feats", MASK_TOLERANCE)
    logits = np.stack([head(content).asnumpy() for head, content in zip(network.class_embed, contents)])
    assert_close(logits, case, "logits", TOLERANCE)
    assert_close(ms.ops.stack(boxes).asnumpy(), case, "inter_references", TOLERANCE)
    assert_close(references[0].asnumpy(), case, "init_reference", TOLERANCE)
    logits, boxes, masks = (output.asnumpy() for output in network(frames, padding))
    assert_close(logits, case, "pred_logits", TOLERANCE)
    assert_close(boxes, case, "pred_boxes", TOLERANCE)
    assert_close(masks.swapaxes(1, 2), case, "pred_masks", MASK_TOLERANCE)
