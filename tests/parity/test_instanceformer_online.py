"""InstanceFormer frame by frame against the original's online pass: from the backbone's maps to the masks.

Operator by operator: the graph that users run is compiled in ``test_instanceformer_inference.py``.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.models.instanceformer import card
from mindvideo.models.instanceformer.inference import FrameGraph, InstanceFormerStep
from mindvideo.modules.layers.pixels import NormalizePixels
from tests.parity.instanceformer_golden import Case, fill_network, row_of
from tests.parity.rounding import Row, assert_same_up_to_rounding, beyond, rounded_weights

# Of a case whose own rounding is larger, a few times that (tests/parity/rounding.py).
TOLERANCE = 3e-5
# Padded cells: the position code of a column without a valid pixel is the sine of three million, and the masks next to
# the padding read those cells.
PADDED_TOLERANCE = 3e-4
MASK_TOLERANCE = 3e-4


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden")) / "instanceformer"
        names = sorted(f"{path.parent.name}/{path.stem}" for path in folder.glob("*/online_*.npz"))
        metafunc.parametrize("name", names)


class OpenedFrame(nn.Cell):
    """The graph that inference runs on a frame, with the values between its parts beside its results."""

    def __init__(self, graph: FrameGraph) -> None:
        super().__init__()
        self.graph, self.network = graph, graph.network

    def construct(self, frames, padding, size, content, reference, frames_seen, memory=None):
        network = self.network
        state = {"content": content, "reference": reference, "frames_seen": frames_seen, "memory": memory}
        frame = self.graph.frame(frames, padding, size, state)
        encoded, prediction, following = frame["encoded"], frame["prediction"], frame["following"]
        decoding = prediction["decoding"]
        maps = network.backbone(frames[:, 0])
        projected, _ = network.projection(maps, padding[:, 0])
        inside = (encoded["valid_ratios"], encoded["tokens"], encoded["mask_features"])
        inside += (decoding["content"], decoding["boxes"], prediction["reference"])
        inside += (network.controller(decoding["content"][-1]),)
        outputs = (prediction["logits"][-1], decoding["boxes"][-1], frame["mask_logits"])
        columns = (following["content"], following["reference"], following["frames_seen"])
        if memory is None:
            return outputs, columns, maps, projected, inside, ()
        recalled = network.recall(state)
        columns += (following["memory"],)
        return outputs, columns, maps, projected, inside, (recalled["keys"], recalled["values"])


class Inside(NamedTuple):
    """The inside of a frame, as an OpenedFrame gives it, on the host."""

    valid_ratios: np.ndarray
    tokens: np.ndarray
    mask_features: np.ndarray
    content: np.ndarray
    boxes: np.ndarray
    reference: np.ndarray
    mask_parameters: np.ndarray


@pytest.mark.usefixtures("operator_by_operator")
def test_online_pass_equals_the_original(golden, name):
    folder, stem = name.split("/")
    case = Case(golden / "instanceformer" / folder, stem)
    cfg = case.config()
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    step = InstanceFormerStep(network=network, pixels=NormalizePixels())
    opened = OpenedFrame(step.graph)
    opened.set_train(False)

    def again(draw: int):
        with rounded_weights(network, draw):
            return rows_of(case, step, opened)

    assert_same_up_to_rounding(rows_of(case, step, opened), again)


def rows_of(case: Case, step: InstanceFormerStep, opened: OpenedFrame) -> dict[str, Row]:
    """All that the frames of the clip give, beside the original's."""
    frames, padding, size = inputs_of(case)
    state = [part for part in step.initial_state() if part is not None]
    rows, earlier = {}, []
    for t in range(case.facts["frames"]):
        inputs = (ms.Tensor(frames[None, t : t + 1]), ms.Tensor(padding[None, None]), ms.Tensor(size[None]))
        outputs, state, maps, projected, inside, recalled = opened(*inputs, *state)
        earlier.append(([m.asnumpy() for m in maps], [m.asnumpy() for m in projected]))
        inside = Inside(*(part.asnumpy() for part in inside))
        rows |= frame_rows(case, t, *(part.asnumpy()[0] for part in outputs), inside)
        if t and recalled:
            rows |= memory_rows(case, t, *(part.asnumpy()[0] for part in recalled))
    return rows | map_rows(case, earlier)


def inputs_of(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    facts, source = case.facts["input"], case.facts["input"]["make_input"]
    (H, W), (h, w) = facts["canvas_hw"], facts["valid_hw"]
    frames = np.zeros((case.facts["frames"], 3, H, W), np.float32)
    frames[:, :, :h, :w] = case.make_input(source["name"], source["shape"], source["seed"])
    padding = np.ones((H, W), bool)
    padding[:h, :w] = False
    return frames, padding, np.asarray([facts["orig_h"], facts["orig_w"]], np.int32)


def map_rows(case: Case, earlier) -> dict[str, Row]:
    """The backbone's maps (the coarse three; the first is never used) and the projected levels, of all frames."""
    rows = {}
    for part, names in enumerate(("backbone{}", "proj{}")):
        for level in range(len(earlier[0][part])):
            name = names.format(level + 1 if part == 0 else level)
            stacked = np.concatenate([maps[part][level] for maps in earlier])
            rows[name] = row_of(stacked, case.arrays, name, TOLERANCE)
    return rows


def frame_rows(case: Case, t: int, logits, boxes, masks, inside: Inside) -> dict[str, Row]:
    arrays, D, Q = case.arrays, case.facts["args"]["dec_layers"], len(masks)
    refined = inside.boxes[:, 0]
    if refined.shape != arrays[f"f{t}_inter_ref"].shape:  # some layers of the full model, every fifth query
        refined = refined[[0, 2, D - 2, D - 1], ::5]
    flat = masks.reshape(Q, -1)
    values = {
        "valid_ratios": (inside.valid_ratios[0], 0.0),
        "memory": (inside.tokens[0], PADDED_TOLERANCE),
        "mask_feat": (inside.mask_features[0, 0], PADDED_TOLERANCE),
        "hs": (inside.content[:, 0], TOLERANCE),
        "init_ref": (inside.reference[0], TOLERANCE),
        "inter_ref": (refined, TOLERANCE),
        "mask_params": (inside.mask_parameters[0], TOLERANCE),
        "masks": (masks, MASK_TOLERANCE),
        "mask_qmean": (flat.mean(1), MASK_TOLERANCE),
        "mask_qstd": (flat.std(1, ddof=1), MASK_TOLERANCE),
    }
    rows = {f"f{t}_{name}": row_of(ours, arrays, f"f{t}_{name}", most) for name, (ours, most) in values.items()}
    logit_scale = float(np.abs(logits).max())
    rows[f"f{t}_logits"] = Row(logits, arrays["pred_logits"][t], TOLERANCE, logit_scale)
    rows[f"f{t}_boxes"] = Row(boxes, arrays["pred_boxes"][t], TOLERANCE)
    return rows


def memory_rows(case: Case, t: int, keys: np.ndarray, values: np.ndarray) -> dict[str, Row]:
    """Projected tokens and their positions of the remembered frames, at most as many as the memory keeps.

    Within a frame the original's order is random; it is stored.
    """
    arrays, per_frame, kept = case.arrays, case.facts["memory_token"], min(t, case.facts["memory_support"] - 1)
    C = values.shape[-1]
    ours = np.concatenate([values, keys - values], -1)[: kept * per_frame].reshape(kept, per_frame, 2 * C)
    ours = np.concatenate([ours[place][arrays["perm"][t - kept + place]] for place in range(kept)])
    stride = int(arrays[f"f{t}_mem_token_stride"])
    rows = {}
    for part, name in ((ours[:, :C], f"f{t}_mem_token"), (ours[:, C:], f"f{t}_mem_pos")):
        rows[name] = Row(part.reshape(-1)[::stride], arrays[name], TOLERANCE, float(np.abs(arrays[name]).max()))
    return rows


def test_memory_is_compared_in_clips_longer_than_it():
    """Frame 3 of a clip whose memory keeps two frames: tokens of frames 1 and 2, each in its own stored order."""
    rng = np.random.default_rng(0)
    tokens, C = rng.normal(size=(4, 2, 6)).astype(np.float32), 3  # [T, tokens a frame, value and position]
    perm = np.asarray([[0, 1], [1, 0], [0, 1], [1, 0]])
    stored = np.concatenate([tokens[1][perm[1]], tokens[2][perm[2]]])
    case = SimpleNamespace(
        facts={"memory_token": 2, "memory_support": 3},
        arrays={"perm": perm, "f3_mem_token_stride": 1, "f3_mem_token": stored[:, :C].reshape(-1)}
        | {"f3_mem_pos": stored[:, C:].reshape(-1)},
    )
    ours = np.concatenate([tokens[1], tokens[2]])
    assert not beyond(memory_rows(case, 3, ours[:, :C] + ours[:, C:], ours[:, :C]))
    assert beyond(memory_rows(case, 3, ours[::-1, :C] + ours[::-1, C:], ours[::-1, :C]))
