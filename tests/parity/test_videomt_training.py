"""VidEoMT's training step against the original's: matching, chosen points, losses, gradients.

The random points are the original's own, replayed; for the final prediction the choice among its candidates is ours.
The case with the most clips is compiled, the others run operator by operator.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.models.videomt import card
from mindvideo.modules.layers.rotary import RotaryPositions
from mindvideo.modules.losses.point_sampling import MaskPoints, sample_channels
from tests.modes import mode
from tests.parity.videomt_golden import Case, assert_close, filled_network

# float32 on both sides; the original's own float32 and float64 differ by up to 8e-8 (totals) and 7e-7 (gradients).
VALUE_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-4
COST_TOLERANCE = 2e-5


def pytest_generate_tests(metafunc):
    if "clip" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden")) / "videomt" / "tiny"
        names = sorted(path.stem for path in folder.glob("train_*.npz"))
        clips = {name: len(Case(folder.parent, f"tiny/{name}").facts["clips"]) for name in names}
        compiled = max(names, key=clips.get)
        metafunc.parametrize(("clip", "compiled"), [(name, name == compiled) for name in names], ids=names)


class ReplayedPoints(MaskPoints):
    """The original's draws. Rows are [B, N, T], as the training lays them out; stored are (clip, frame, pair)."""

    def __init__(self, case: Case, stages: list[str], B: int, N: int, T: int) -> None:
        super().__init__(num_points=case.facts["points"])
        self.case, self.names, self.shape = case, stages, (B, N, T)
        self.in_matching = ms.Tensor(np.stack([self.of_matching(stage) for stage in stages]))
        self.in_losses = ms.Tensor(np.stack([self.of_rows(stage, "points") for stage in stages]))
        self.candidates, self.rest = (ms.Tensor(self.of_rows("final", part)) for part in ("candidates", "rest"))
        self.last = len(stages) - 1

    def of_matching(self, stage: str) -> np.ndarray:
        """[B, T, P, 2]; frames on which no instance appears first have no draws."""
        B, _, T = self.shape
        points = np.full((B, T, self.num_points, 2), 0.5, np.float32)
        for b in range(B):
            for t in range(T):
                name = match_points_name(self.case, stage, b, t)
                if name in self.case.arrays:
                    points[b, t] = self.case.arrays[name]
        return points

    def of_rows(self, stage: str, part: str) -> np.ndarray:
        """[B * N * T, ..., 2]."""
        B, N, T = self.shape
        if f"{stage}_{part}" not in self.case.arrays:
            return np.full((B * N * T, self.num_points, 2), 0.5, np.float32)  # a stage without a weight
        stored = self.case.arrays[f"{stage}_{part}"]
        rows = np.full((B, N, T, *stored.shape[1:]), 0.5, np.float32)
        place = 0
        for b, pairs in enumerate(self.case.facts["matcher"][stage]):
            for t in range(T):
                for n in pairs["target"]:
                    rows[b, n, t] = stored[place]
                    place += 1
        assert place == len(stored)
        return rows.reshape(B * N * T, *stored.shape[1:])

    def uniform(self, num_stages, B, T):  # noqa: ARG002
        return self.in_matching

    def uncertain(self, maps, stage):
        if stage == self.last:
            return self.choose(maps, self.candidates, self.rest)
        return self.in_losses[stage]


class ReplayedZoom(RotaryPositions):
    """The original's draw."""

    def __init__(self, rotary: RotaryPositions, zoom: float) -> None:
        super().__init__(depth=rotary.depth, temperature=rotary.temperature)
        self.drawn = ms.Tensor(zoom, ms.float32)

    def zoom(self):
        return self.drawn


def match_points_name(case: Case, stage: str, b: int, t: int) -> str:
    with_frame = f"{stage}_match_points_b{b}_f{t}"
    return with_frame if with_frame in case.arrays else f"{stage}_match_points_b{b}"


class WholeStep(nn.Cell):
    """Total loss, with terms, matching, costs and the points of the final prediction beside it."""

    def __init__(self, training: nn.Cell) -> None:
        super().__init__()
        self.training_cell = training

    def construct(self, frames, labels, boxes, masks, present, exists):
        training = self.training_cell
        targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        clip = training.predict(frames, targets)
        total, terms = training.losses(clip, targets)
        return total, (terms, clip["logits"], clip["query"])


class SameCount(nn.Cell):
    def construct(self, count):
        return count


def targets_of(case: Case) -> list[np.ndarray]:
    """labels, boxes, masks, present, exists."""
    clips, T = case.facts["clips"], case.facts["frames"]
    B, N = len(clips), max(clip["instances"] for clip in clips)
    H, W = case.frames().shape[-2:]
    labels, boxes = np.zeros((B, N), np.int32), np.zeros((B, N, T, 4), np.float32)
    masks, present, exists = np.zeros((B, N, T, H, W), np.uint8), np.zeros((B, N, T), bool), np.zeros((B, N), bool)
    for b, clip in enumerate(clips):
        n = clip["instances"]
        exists[b, :n] = True
        labels[b, :n] = case.arrays[f"tgt{b}_labels"]
        present[b, :n] = np.array(clip["present"], bool).T
        shape = case.arrays[f"tgt{b}_masks_shape"]
        stored = np.unpackbits(case.arrays[f"tgt{b}_masks_packed"])[: np.prod(shape)].reshape(shape)
        masks[b, :n] = stored.swapaxes(0, 1)
    return [labels, boxes, masks, present, exists]


def stages_of(case: Case) -> list[str]:
    """In the network's order. The single-frame program has no auxiliary predictions: here they get no weight."""
    return [*(f"aux{number}" for number in range(case.facts["args"]["query_blocks"] - 1)), "final"]


def test_training_step_equals_the_original(golden, clip, compiled):
    case = Case(golden / "videomt", f"tiny/{clip}")
    cfg = case.config()
    network, names = filled_network(case, cfg)
    columns = targets_of(case)
    frames = case.frames()[: len(columns[0])]
    stages = stages_of(case)
    training = card.build_training(cfg, network, SameCount())
    B, N, T = columns[3].shape
    training.points = ReplayedPoints(case, stages, B, N, T)
    if case.facts.get("rope_rescale"):
        network.backbone.rotary = ReplayedZoom(network.backbone.rotary, case.facts["rope_rescale"])
    counts = [float(term in case.facts["weight_dict"]) for term in training.term_names]
    training.criterion.weights = training.criterion.weights * ms.Tensor(counts, ms.float32)
    step = WholeStep(training)
    step.set_train(True)
    parameters = [(names[place.partition("network.")[2]], p) for place, p in trainable(step)]
    with mode(compiled=compiled):
        run = ms.value_and_grad(step, grad_position=None, weights=[p for _, p in parameters], has_aux=True)
        (total, (terms, logits, query)), gradients = run(*map(ms.Tensor, (frames, *columns)))
    check_matching(case, stages, query.asnumpy())
    for stage, of_stage in zip(stages, logits.asnumpy()):
        if f"{stage}_logits" in case.arrays:
            assert_close(of_stage.swapaxes(1, 2), case.arrays, f"{stage}_logits", VALUE_TOLERANCE)
    check_losses(case, training.term_names, float(total), terms.asnumpy())
    check_gradients(case, {source: g.asnumpy() for (source, _), g in zip(parameters, gradients)})


def trainable(cell: nn.Cell):
    return [(place, p) for place, p in cell.parameters_and_names() if p.requires_grad]


def check_matching(case: Case, stages: list[str], query: np.ndarray) -> None:
    for number, stage in enumerate(stages):
        for b, pairs in enumerate(case.facts["matcher"].get(stage, [])):
            expected = dict(zip(pairs["target"], pairs["query"]))
            assert query[number, b, : len(expected)].tolist() == [expected[n] for n in range(len(expected))]
            assert (query[number, b, len(expected) :] == -1).all()


def check_losses(case: Case, term_names, total: float, terms: np.ndarray) -> None:
    ours = dict(zip(term_names, terms))
    assert set(case.facts["weight_dict"]) <= set(ours)
    for term in case.facts["weight_dict"]:
        assert ours[term] == pytest.approx(case.facts["losses"][term], rel=VALUE_TOLERANCE), term
    assert total == pytest.approx(case.facts["total"], rel=VALUE_TOLERANCE)


def check_gradients(case: Case, gradients: dict[str, np.ndarray]) -> None:
    expected, none = case.facts["grad_norm"], set(case.facts.get("no_gradient", []))
    assert set(gradients) - none == set(expected) - none
    for name, gradient in gradients.items():
        norm = np.linalg.norm(gradient.astype(np.float64))
        if name in none:
            assert norm == 0.0, name
        elif name.endswith("k_proj.bias"):  # exactly zero: a bias of all keys changes no softmax
            assert norm < 1e-5, name
        else:
            assert norm == pytest.approx(expected[name], rel=GRADIENT_TOLERANCE), name
    for key in (key for key in case.arrays.files if key.startswith("grad:")):
        name = key.removeprefix("grad:")
        got = gradients[name].reshape(-1)[:: int(case.arrays[f"gradstride:{name}"])]
        stored = case.arrays[key]
        assert np.abs(got - stored).max() <= 5 * GRADIENT_TOLERANCE * np.abs(stored).max(), name


@pytest.mark.parametrize("name", ["train_clip_bs2", "train_clip_dinov3_bs1"])
@pytest.mark.usefixtures("operator_by_operator")
def test_costs_equal_the_original(golden, name):
    """The matcher's costs of the final prediction, at the original's points."""
    case = Case(golden / "videomt", f"tiny/{name}")
    cfg = case.config()
    network, _ = filled_network(case, cfg)
    if case.facts.get("rope_rescale"):
        network.backbone.rotary = ReplayedZoom(network.backbone.rotary, case.facts["rope_rescale"])
    columns = targets_of(case)
    labels, _, masks, present, _ = columns
    frames = case.frames()[: len(labels)]
    network.set_train(False)
    of_stages, _, maps = network(ms.Tensor(frames))
    maps = maps.asnumpy()  # [B, Q, T, h, w]
    matcher = card.build_training(cfg, network, SameCount()).matcher
    compared = 0
    for b in range(len(labels)):
        for t in range(present.shape[2]):
            key = f"final_cost_b{b}_f{t}"
            if key not in case.arrays:
                continue
            n = case.facts["clips"][b]["instances"]
            first = [i for i in range(n) if present[b, i].argmax() == t]
            points = ms.Tensor(case.arrays[f"final_match_points_b{b}_f{t}"][None])
            of_queries = sample_channels(ms.Tensor(maps[b, :, t].transpose(1, 2, 0)[None].copy()), points)
            of_targets = sample_channels(ms.Tensor(masks[b, first, t].transpose(1, 2, 0)[None].copy()), points)
            logits = of_stages[-1:, b : b + 1, :, t : t + 1]
            cost = matcher.cost(
                logits, of_queries[None, None], of_targets[None, None], ms.Tensor(labels[b : b + 1, first])
            )
            stored = case.arrays[key]
            left = stored < 1e5
            got = cost.asnumpy()[0, 0, 0]
            assert np.abs(got - stored)[left].max() <= COST_TOLERANCE * np.abs(stored[left]).max(), key
            compared += 1
    assert compared >= 2
