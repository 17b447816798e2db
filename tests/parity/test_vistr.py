"""VisTR against the published code: every stage's values for every case, and what inference runs on a clip.

The smallest case with masks is compiled, and so is what inference runs; the others run operator by operator.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.models.vistr import card
from tests.modes import mode
from tests.parity.rounding import Row, assert_same_up_to_rounding, rounded_weights
from tests.parity.vistr_case import Model, Reference, case_names, flat_queries

# Of a result: this many times the distance that float32 rounding puts between the original and its own float64.
# Of a stage in between: this part of the tensor's standard deviation.
RESULT_TOLERANCE = 4
STAGE_TOLERANCE = 2e-4
# The attention maps come from logits in the hundreds, whose rounding the softmax shows (3.4e-5 of 1 in the full model).
ATTENTION_TOLERANCE = 1e-3
GROUP_NORMS = 4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        root = Path(metafunc.config.getoption("--golden"))
        metafunc.parametrize("case", case_names(root, "*.manifest.json"))


def smallest_with_masks(reference: Reference) -> str:
    """By the number of weights."""
    names = case_names(reference.folder.parent, "*.manifest.json")
    facts = {name: reference.facts(f"{name}.manifest.json") for name in names}
    return min((n for n in names if facts[n]["config"]["masks"]), key=lambda n: len(facts[n]["state_dict"]))


class Stages(nn.Cell):
    """The network with everything that the goldens hold as results: what its parts give, by name."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, frames, padding):
        network = self.network
        maps = network.features(frames)
        coarse_maps = maps[network.num_fine_levels :]
        trace = network.trace(coarse_maps, frames.shape[0], padding)
        padding = trace["tokens"]["padding"]
        clip = network.answer(trace["states"], trace["memory"], padding, coarse_maps[0], network.fine_maps(maps))
        tokens = trace["tokens"]
        values = (tokens["content"], tokens["position"], trace["encoded"][0], trace["memory"], trace["decoded"][0])
        results = (trace["states"], clip["logits"], clip["boxes"])
        if network.mask_branch is None:
            return maps, values, results, ()
        masks = network.mask_branch.trace(clip["queries"], clip["scene"])
        return maps, values, results, (masks["attention"], masks["stages"], masks["logits"])


class Check:
    """Compares with the stored part of a tensor."""

    def __init__(self, facts: dict, numbers) -> None:
        self.facts, self.numbers = facts, numbers

    def __call__(self, name: str, got, *, tolerance: float | None = None, rectified: bool = False) -> None:
        facts = self.facts["tensors"][name]
        got = got.asnumpy() if isinstance(got, ms.Tensor) else got
        assert list(got.shape) == facts["shape"], f"{name}: {list(got.shape)} against {facts['shape']}"
        wanted = self.numbers[name].reshape(-1).astype(np.float32)
        if rectified:
            wanted = np.maximum(wanted, 0)
        error = np.abs(got.reshape(-1)[:: facts["flat_stride"]] - wanted).max()
        allowed = tolerance if tolerance is not None else STAGE_TOLERANCE * facts["std"]
        assert error <= allowed, f"{name}: differs by {error:.2e}, allowed {allowed:.2e}"

    def result(self, name: str, got: np.ndarray) -> Row:
        """Of the network; what it may differ by is decided by all results together."""
        facts = self.facts["tensors"][name]
        assert list(got.shape) == facts["shape"], f"{name}: {list(got.shape)} against {facts['shape']}"
        rounding = self.facts["float32_vs_float64_max_abs"]["pred_" + name.split("_")[1]]
        ours, theirs = got.reshape(-1)[:: facts["flat_stride"]], self.numbers[name].reshape(-1).astype(np.float32)
        return Row(ours, theirs, RESULT_TOLERANCE * rounding)


def results_of(check: Check, logits: np.ndarray, boxes: np.ndarray, masks: np.ndarray | None) -> dict[str, Row]:
    """logits and boxes [D,B,Q,T,...], masks [B,Q,T,h,w]; the last layer's are the prediction."""
    rows = {}
    for layer, (own_logits, own_boxes) in enumerate(zip(logits, boxes, strict=True)):
        kinds = (
            ("pred_logits", "pred_boxes") if layer == len(logits) - 1 else (f"aux_logits_{layer}", f"aux_boxes_{layer}")
        )
        rows |= {kind: check.result(kind, flat_queries(own)) for kind, own in zip(kinds, (own_logits, own_boxes))}
    return rows if masks is None else rows | {"pred_masks": check.result("pred_masks", flat_queries(masks))}


def test_values(case: str, golden: Path) -> None:
    reference = Reference(golden)
    facts = reference.facts(f"{case}.manifest.json")
    model = Model(reference, facts, facts["state_dict"])
    frames, padding = reference.frames(facts["images"])
    stages = Stages(model.network)
    stages.set_train(False)
    given = ms.Tensor(frames), ms.Tensor(padding)
    with mode(compiled=case == smallest_with_masks(reference)):
        maps, values, results, masks = stages(*given)
    check = Check(facts, reference.numbers(case))
    B, T = frames.shape[:2]

    for level, values_of_map in zip(range(5 - len(maps), 5), maps):
        check(f"backbone.layer{level}", values_of_map)
    content, position, encoder_layer0, memory, decoder_layer0 = (value.asnumpy() for value in values)
    states = results[0].asnumpy()
    h, w = maps[-1].shape[2:]
    C = content.shape[2]
    check("pos_last", position.reshape(B, T, h, w, C).transpose(0, 1, 4, 2, 3))
    check("input_proj", content.reshape(B * T, h, w, C).transpose(0, 3, 1, 2))
    check("encoder_layer0", encoder_layer0.swapaxes(0, 1))
    check("memory", memory.reshape(B, T, h * w, C).transpose(0, 3, 1, 2))
    check("decoder_layer0", decoder_layer0.swapaxes(0, 1))
    check("hs", states)
    if masks:
        attention, mask_stages, mask_logits = masks
        check_mask_stages(check, attention.asnumpy(), mask_stages, B, T)
        assert B == 1
        check("insmask_head", mask_logits.asnumpy()[0][:, None, None])

    def rows(results: tuple, masks: tuple) -> dict[str, Row]:
        _, logits, boxes = (value.asnumpy() for value in results)
        return results_of(check, logits, boxes, masks[-1].asnumpy() if masks else None)

    def again(draw: int) -> dict[str, Row]:
        with rounded_weights(model.network, draw):
            return rows(*stages(*given)[2:])

    assert_same_up_to_rounding(rows(results, masks), again)


def check_mask_stages(check: Check, attention: np.ndarray, stages: tuple, B: int, T: int) -> None:
    def by_frame(maps):
        """[B*T*Q,C,H,W] -> [T,B*Q,C,H,W]"""
        maps = maps.asnumpy()
        return maps.reshape(B, T, -1, *maps.shape[1:]).swapaxes(0, 1).reshape(T, -1, *maps.shape[1:])

    attention = attention.reshape(B, T, *attention.shape[1:]).swapaxes(0, 1)
    tolerance = ATTENTION_TOLERANCE * check.facts["tensors"]["bbox_attention"]["std"]
    check("bbox_attention", attention, tolerance=tolerance)
    for number in range(GROUP_NORMS):
        check(f"mask_head.gn{number + 1}", by_frame(stages[number]), rectified=True)
    for name, maps in zip(("mask_head.conv_offset", "mask_head.dcn", "mask_head"), stages[GROUP_NORMS:]):
        check(name, by_frame(maps))


@pytest.mark.parametrize(
    "maps_per_portion", [7, pytest.param(1, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.slow)]
)
def test_a_clip_in_portions_is_the_clip_as_a_whole(golden: Path, maps_per_portion: int) -> None:
    """Inference bounds the memory by portions; the numbers are those of the whole network."""
    reference = Reference(golden)
    facts = reference.facts("r50_tiny.manifest.json")
    model = Model(reference, facts, facts["state_dict"])
    frames, _ = reference.frames(facts["images"])
    with model.cfg.unlocked():
        model.cfg.vistr.maps_per_portion = maps_per_portion
    before = {name: p.asnumpy() for name, p in model.network.parameters_and_names()}
    model.network.set_train(False)
    with mode(compiled=False):
        whole = model.network(ms.Tensor(frames))
    in_portions = card.portioned(model.cfg, model.network)(ms.Tensor(frames))
    assert all((p.asnumpy() == before[name]).all() for name, p in model.network.parameters_and_names())
    for name, a, b in zip(("pred_logits", "pred_boxes", "pred_masks"), whole, in_portions, strict=True):
        error = float(ops.abs(a - b).max())
        assert error <= RESULT_TOLERANCE * facts["float32_vs_float64_max_abs"][name], name


def test_backbone_and_padding_masks(golden: Path) -> None:
    """The nearest resize of the padding to every level, as the network does it for its tokens."""
    from mindvideo.ops.masks import resize_padding

    reference = Reference(golden)
    for case in case_names(golden, "*.manifest.json"):
        facts, numbers = reference.facts(f"{case}.manifest.json"), reference.numbers(case)
        _, padding = reference.frames(facts["images"])
        padding = ms.Tensor(padding.reshape(-1, *padding.shape[2:]))
        for name, tensor in facts["tensors"].items():
            if name.endswith(".mask"):
                got = resize_padding(padding, *tensor["shape"][1:]).asnumpy()
                assert (got.reshape(-1)[:: tensor["flat_stride"]] == numbers[name].astype(bool)).all(), (case, name)
