"""InstanceFormer frame by frame against the original's online pass: from the backbone's maps to the masks."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo.models.instanceformer import card
from mindvideo.models.instanceformer.inference import InstanceFormerStep
from mindvideo.models.instanceformer.network import InstanceFormer
from mindvideo.modules.layers.pixels import NormalizePixels
from tests.parity.instanceformer_golden import Case, assert_close, fill_network

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


class OpenedStep(nn.Cell):
    """The step that inference runs, with the values between its parts beside its results."""

    def __init__(self, network: InstanceFormer) -> None:
        super().__init__()
        self.network = network
        self.step = InstanceFormerStep(network=network, pixels=NormalizePixels())

    def construct(self, frames, padding, size, content, reference, frames_seen, memory=None):
        network = self.network
        state = (content, reference, frames_seen)
        if memory is not None:
            state += (memory,)
        predictions, masks, next_state = self.step.frame(frames, padding, size, state)
        maps = network.backbone(frames[:, 0])
        projected, _ = network.projection(maps, padding[:, 0])
        spatial_shapes, ratios, flat_padding, tokens, features = network.encode(frames, padding)
        values = network.values_of_frames(tokens, flat_padding, 1)
        decoded, _ = network.decode(values[0], spatial_shapes, ratios, state)
        recalled = () if memory is None else network.recall(memory, frames_seen)[:2]
        inside = (ratios, tokens, features, decoded[0], decoded[1], network.controller(decoded[0][-1]), recalled)
        return predictions, masks, next_state, maps, projected, inside


def test_online_pass_equals_the_original(golden, name):
    folder, stem = name.split("/")
    case = Case(golden / "instanceformer" / folder, stem)
    cfg = case.config()
    ms.set_context(mode=ms.GRAPH_MODE)
    network = card.build_network(cfg)
    fill_network(case, network, cfg)
    step = OpenedStep(network)
    step.set_train(False)
    frames, padding, size = inputs_of(case)
    state = step.step.initial_state()
    earlier = []
    for t in range(case.facts["frames"]):
        inputs = (ms.Tensor(frames[None, t : t + 1]), ms.Tensor(padding[None, None]), ms.Tensor(size[None]))
        predictions, masks, state, maps, projected, inside = step(*inputs, *state)
        earlier.append(([m.asnumpy() for m in maps], [m.asnumpy() for m in projected]))
        check_frame(case, t, [p.asnumpy()[0] for p in predictions], masks.asnumpy()[0], inside)
    check_maps(case, earlier)


def inputs_of(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    facts, source = case.facts["input"], case.facts["input"]["make_input"]
    (H, W), (h, w) = facts["canvas_hw"], facts["valid_hw"]
    frames = np.zeros((case.facts["frames"], 3, H, W), np.float32)
    frames[:, :, :h, :w] = case.make_input(source["name"], source["shape"], source["seed"])
    padding = np.ones((H, W), bool)
    padding[:h, :w] = False
    return frames, padding, np.asarray([facts["orig_h"], facts["orig_w"]], np.int32)


def check_maps(case: Case, earlier) -> None:
    """The backbone's maps (the coarse three; the first is never used) and the projected levels, of all frames."""
    for level in range(len(earlier[0][0])):
        stacked = np.concatenate([maps[level] for maps, _ in earlier])
        assert_close(stacked, case.arrays, f"backbone{level + 1}", TOLERANCE)
    for level in range(len(earlier[0][1])):
        stacked = np.concatenate([projected[level] for _, projected in earlier])
        assert_close(stacked, case.arrays, f"proj{level}", TOLERANCE)


def check_frame(case: Case, t: int, predictions, masks: np.ndarray, inside) -> None:
    arrays, L = case.arrays, case.facts["args"]["dec_layers"]
    logits, boxes, _, _, first_reference, _ = predictions
    ratios, tokens, features, contents, refined, parameters, recalled = inside
    assert_close(ratios.asnumpy()[0], arrays, f"f{t}_valid_ratios", 0.0)
    assert_close(tokens.asnumpy()[0], arrays, f"f{t}_memory", PADDED_TOLERANCE)
    assert_close(features.asnumpy()[0, 0], arrays, f"f{t}_mask_feat", PADDED_TOLERANCE)
    assert_close(np.concatenate([c.asnumpy() for c in contents]), arrays, f"f{t}_hs", TOLERANCE)
    assert_close(first_reference, arrays, f"f{t}_init_ref", TOLERANCE)
    refined = np.concatenate([r.asnumpy() for r in refined])
    if refined.shape != arrays[f"f{t}_inter_ref"].shape:  # some layers of the full model, every fifth query
        refined = refined[[0, 2, L - 2, L - 1], ::5]
    assert_close(refined, arrays, f"f{t}_inter_ref", TOLERANCE)
    assert_close(parameters.asnumpy()[0], arrays, f"f{t}_mask_params", TOLERANCE)
    np.testing.assert_allclose(logits, arrays["pred_logits"][t], atol=TOLERANCE * np.abs(logits).max())
    np.testing.assert_allclose(boxes, arrays["pred_boxes"][t], atol=TOLERANCE)
    assert_close(masks, arrays, f"f{t}_masks", MASK_TOLERANCE)
    Q = len(masks)
    assert_close(masks.reshape(Q, -1).mean(1), arrays, f"f{t}_mask_qmean", MASK_TOLERANCE)
    assert_close(masks.reshape(Q, -1).std(1, ddof=1), arrays, f"f{t}_mask_qstd", MASK_TOLERANCE)
    if t and recalled:
        check_memory(case, t, *(part.asnumpy()[0] for part in recalled))


def check_memory(case: Case, t: int, keys: np.ndarray, values: np.ndarray) -> None:
    """Projected tokens and their positions of the earlier frames; within a frame the original's order is random."""
    arrays, M = case.arrays, case.facts["memory_token"]
    C = values.shape[-1]
    ours = np.concatenate([values, keys - values], -1)[: t * M]
    stride = int(arrays[f"f{t}_mem_token_stride"])
    for frame in range(t):
        order = arrays["perm"][frame]
        ours[frame * M : (frame + 1) * M] = ours[frame * M : (frame + 1) * M][order]
    for part, name in ((ours[:, :C], "mem_token"), (ours[:, C:], "mem_pos")):
        expected = arrays[f"f{t}_{name}"]
        got = part.reshape(-1)[::stride]
        assert np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max(), f"f{t}_{name}"
