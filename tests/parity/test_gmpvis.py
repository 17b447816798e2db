"""GMP-VIS's network against the published code, and its procedure on a video of one clip.

The small case is compiled, the full-sized one runs operator by operator.
"""

from __future__ import annotations

import functools
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.masks.rle import decode_mask
from mindvideo.models.cards.linking import linking_of
from mindvideo.modules.heads.pyramid_classifier import grid_maxima
from tests.modes import mode
from tests.parity.gmpvis_case import Model, Reference, flat_queries

# As VisTR's: of a result, this many times what float32 rounding changes in the original; of a stage in between, this
# part of the tensor's standard deviation. The attention maps come from logits in the hundreds.
RESULT_TOLERANCE = 4
STAGE_TOLERANCE = 2e-4
ATTENTION_TOLERANCE = 1e-3


class Stages(nn.Cell):
    """The network with everything that the goldens hold, through its own parts."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, frames, padding):
        network = self.network
        maps = network.features(frames)
        fine, coarse = maps[: network.num_fine_levels][::-1], maps[network.num_fine_levels :]
        tokens = network.tokenize(coarse, frames.shape[0], padding)
        encoded = network.encoder.states(tokens["content"], tokens["position"], tokens["padding"])
        memory = network.encoder.collect(encoded)
        content, query_position = network.queries(frames.shape[0])
        decoded = network.decoder.states(content, query_position, memory, tokens["position"], tokens["padding"])
        states = network.decoder.collect(decoded)
        clip = network.answer(states, memory, tokens["padding"], coarse[0], fine)
        masks = network.mask_branch.trace(clip["queries"], clip["scene"])
        second = network.second_classes(masks["logits"])
        values = (tokens["content"], tokens["position"], encoded[0], memory, decoded[0], states)
        of_masks = (masks["attention"], masks["stages"][-1])
        return maps, values, of_masks, (clip["logits"], clip["boxes"], masks["logits"], clip["nodes"], second)


@functools.cache
def outputs(root: Path, name: str):
    """(model, numbers, what the network gives)."""
    reference = Reference(root)
    model = Model(reference, name)
    frames, padding = reference.frames(model.facts["config"])
    stages = Stages(model.network)
    stages.set_train(False)
    with mode(compiled=name == "r50_tiny"):
        return model, reference.numbers(name), stages(ms.Tensor(frames), ms.Tensor(padding))


@pytest.fixture(params=["r50_tiny", "r50_full"])
def case(request: pytest.FixtureRequest, golden: Path):
    model, numbers, found = outputs(golden, request.param)
    return model.facts, numbers, found


def difference(facts: dict, numbers, name: str, got: np.ndarray) -> float:
    tensor = facts["tensors"][name]
    assert list(got.shape) == tensor["shape"], name
    return float(np.abs(got.reshape(-1)[:: tensor["flat_stride"]] - numbers[name]).max())


def test_stages(case) -> None:
    facts, numbers, (maps, values, of_masks, _) = case
    content, position, encoder_layer0, memory, decoder_layer0, states = (value.asnumpy() for value in values)
    h, w = maps[-1].shape[2:]
    T, C = facts["config"]["num_frames"], content.shape[2]
    attention, mask_maps = (value.asnumpy() for value in of_masks)
    stages = {f"backbone.layer{level + 1}": value.asnumpy() for level, value in enumerate(maps)} | {
        "pos_last": position.reshape(1, T, h, w, C).transpose(0, 1, 4, 2, 3),
        "input_proj": content.reshape(T, h, w, C).transpose(0, 3, 1, 2),
        "encoder_layer0": encoder_layer0.swapaxes(0, 1),
        "memory": memory.reshape(1, T, h * w, C).transpose(0, 3, 1, 2),
        "decoder_layer0": decoder_layer0.swapaxes(0, 1),
        "hs": states,
        "mask_head_all_calls": mask_maps.reshape(T, -1, *mask_maps.shape[1:]),
    }
    for name, got in stages.items():
        assert difference(facts, numbers, name, got) <= STAGE_TOLERANCE * facts["tensors"][name]["std"], name
    name = "bbox_attention_all_calls"
    assert difference(facts, numbers, name, attention[:, None]) <= ATTENTION_TOLERANCE * facts["tensors"][name]["std"]


def test_results(case) -> None:
    facts, numbers, (*_, results) = case
    logits, boxes, masks, nodes, second = (value.asnumpy() for value in results)
    found = {
        "pred_logits": logits[-1],
        "pred_boxes": boxes[-1],
        "pred_masks": masks,
        "pred_ins": nodes,
        "pred_logits2": second,
    }
    for name, got in found.items():
        allowed = RESULT_TOLERANCE * facts["float32_vs_float64_max_abs"][name]
        assert difference(facts, numbers, name, flat_queries(got)) <= allowed, name
    grid = flat_queries(grid_maxima(ms.Tensor(masks)).asnumpy())
    allowed = RESULT_TOLERANCE * facts["float32_vs_float64_max_abs"]["pred_masks"]
    assert difference(facts, numbers, "spp", grid) <= allowed


def test_a_video_of_one_clip_is_read_as_the_published_script_reads_it(golden: Path) -> None:
    """Scores, categories and masks of ten frames, from the network's outputs: no linking takes place."""
    model, _, found = outputs(golden, "r50_full")
    wanted = Reference(golden).numbers("r50_full_postprocess")
    logits, _, masks, nodes, _ = (value.asnumpy() for value in found[-1])
    exponentials = np.exp(logits[-1, 0] - logits[-1, 0].max(-1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(-1, keepdims=True))[..., :-1]
    length, size = int(wanted["video_length"]), tuple(wanted["out_size"].tolist())

    def runner(clip):
        assert len(clip) == model.cfg.data.num_frames
        return ClipPrediction(probabilities, masks[0], nodes[0])

    tracker = WindowTracker(
        runner=runner,
        num_frames=model.cfg.data.num_frames,
        prepare=lambda frame: frame,
        rule=VoteByFrame(),
        **linking_of(model.cfg, graph=lambda *_: pytest.fail("one window is not linked")),
    )
    tracker.begin(size=size, num_frames=length, video_id=1)
    for _ in range(length):
        tracker.feed(np.zeros((8, 8, 3), np.uint8))
    video = tracker.finish()
    np.testing.assert_allclose(video.scores, wanted["score"], rtol=2e-5)
    np.testing.assert_array_equal(video.labels, wanted["category"])
    area = np.array([[decode_mask(mask).sum() for mask in track] for track in video.segmentations])
    by_frame = wanted["mask_area"]  # [T, N]
    np.testing.assert_allclose(area, by_frame.T, atol=2)  # a pixel's logit may lie within rounding of 0
