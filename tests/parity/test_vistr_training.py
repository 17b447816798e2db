"""VisTR's matching, losses, gradients and optimiser steps against the published code.

The case with masks and with our matcher, which is what the configurations train, is compiled; the others run operator
by operator, and so do the optimiser steps (``tests/training/test_train_step.py`` compares the two modes of the step).
"""

from __future__ import annotations

import functools
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.assembly.training import build_step
from mindvideo.models.vistr import card
from mindvideo.modules.values import Predictions, Targets
from tests.modes import mode
from tests.parity.rounding import left_after_rounding
from tests.parity.vistr_case import GivenFrames, Model, Reference, case_names

# Losses: this many times what float32 rounding changes in the original, and at least LEAST of the value.
# Gradients: that many times the original's own float32 error of a norm; elements against the tensor's largest.
ROUNDINGS = 5
LEAST = 2e-6
LEAST_GRADIENT = 4e-5  # the golden README's figure
ELEMENT_TOLERANCE = 1e-3
NOISE = 1e-4  # gradients below this part of the total norm are rounding
# Of the loss and the gradient norm after so many updates. Adam moves a weight whose gradient is rounding by a full step
# in a random direction: weights that start 1e-7 apart end, after two updates, 1e-3 apart in the norm and on one of two
# losses that are 1e-4 apart (an activation on the one or the other side of zero), and so do the original's own float32
# and float64 runs.
STEP_TOLERANCES = [(1e-5, 1e-4), (1e-5, 2e-4), (3e-5, 2e-3)]
DELTA_TOLERANCE = 2e-3
SPARE_ROWS = 3  # padding rows of the targets, which must not count


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    root = Path(metafunc.config.getoption("--golden"))
    if "case" in metafunc.fixturenames:
        names = [name for name in case_names(root, "train_*.json") if not name.endswith("_steps")]
        # Cases of one graph after each other, so that it compiles once.
        metafunc.parametrize("case", sorted(names, key=lambda name: (name.replace("_noinstance_edge", ""), name)))
    if "behaviour" in metafunc.fixturenames:
        metafunc.parametrize("behaviour", ["released", "validfix"])


@functools.cache
def model_of(root: Path, case: str, validity: str) -> Model:
    """One network for all files of a case and behaviour."""
    reference = Reference(root)
    facts = reference.facts(f"train_{case}.json")
    return Model(reference, facts, reference.facts(f"{case}.manifest.json")["state_dict"], validity=validity)


def is_compiled(facts: dict) -> bool:
    return facts["config"]["masks"] and validity_of(facts) == "matched"


@functools.lru_cache(maxsize=1)
def differentiated(root: Path, case: str, validity: str, *, compiled: bool):
    """The training graph with its gradients, and the parameters they are of."""
    model = model_of(root, case, validity)
    training = card.build_training(model.cfg, model.network, nn.Identity())
    _, padding = Reference(root).frames(Reference(root).facts(f"train_{case}.json")["images"])
    training.pixels = GivenFrames(padding)
    training.set_train(True)
    parameters = [p for p in model.network.get_parameters() if p.requires_grad]
    with mode(compiled=compiled):
        gradients = ms.value_and_grad(training, None, ms.ParameterTuple(parameters), has_aux=True)
    return gradients, parameters, training.term_names


def targets_of(facts: dict, numbers, rows: int, T: int, size: tuple[int, int]) -> list[np.ndarray]:
    """labels [B,N], boxes [B,N,T,4], masks [B,N,T,H,W], present [B,N,T], exists [B,N]; N = ``rows``."""
    clips = facts["targets"]["clips"]
    B = len(clips)
    labels, exists = np.zeros((B, rows), np.int32), np.zeros((B, rows), bool)
    boxes, present = np.zeros((B, rows, T, 4), np.float32), np.zeros((B, rows, T), bool)
    masks = np.zeros((B, rows, T, *size), np.uint8)
    for b, clip in enumerate(clips):
        n = clip["instances"]
        if not n:
            continue
        exists[b, :n] = True
        boxes[b, :n] = numbers[f"clip{b}_boxes"].reshape(n, T, 4)
        present[b, :n] = numbers[f"clip{b}_valid"].reshape(n, T)
        labels[b, :n] = numbers[f"clip{b}_labels"].reshape(n, T).max(axis=1)
        shape = numbers[f"clip{b}_masks_shape"]
        unpacked = np.unpackbits(numbers[f"clip{b}_masks_packed"])[: np.prod(shape)].reshape(n, T, *shape[1:])
        masks[b, :n, :, : shape[1], : shape[2]] = unpacked
    return [labels, boxes, masks, present, exists]


def batch_of(reference: Reference, facts: dict) -> list[ms.Tensor]:
    frames, _ = reference.frames(facts["images"])
    numbers = np.load(reference.folder / facts["targets"]["stored_in"])
    rows = facts["slots_per_frame"] + SPARE_ROWS
    sizes = np.tile(np.array(frames.shape[-2:], np.int32), (len(frames), 1))
    columns = [frames, sizes, *targets_of(facts, numbers, rows, frames.shape[1], frames.shape[-2:])]
    return [ms.Tensor(column) for column in columns]


def validity_of(facts: dict) -> str:
    return "released" if facts["released_matcher_validity"] else "matched"


def test_losses_and_gradients(case: str, golden: Path) -> None:
    reference = Reference(golden)
    facts, numbers = reference.facts(f"{case}.json"), reference.numbers(case)
    key = (golden, facts["case"], validity_of(facts))
    model = model_of(*key)
    model.refill()
    compiled = is_compiled(facts)
    function, parameters, term_names = differentiated(*key, compiled=compiled)

    def run(*columns: ms.Tensor):
        with mode(compiled=compiled):
            return function(*columns)

    (total, terms), gradients = run(*batch_of(reference, facts))

    slack = ROUNDINGS * facts["max_abs_loss_diff_float32_float64"]
    for name, got in zip(term_names, terms.asnumpy()):
        wanted = facts["losses"][name]
        assert abs(got - wanted) <= slack + LEAST * abs(wanted), f"{name}: {got} against {wanted}"
    assert set(term_names) == set(facts["losses"])
    assert float(total) == pytest.approx(facts["total_float64"], abs=10 * slack, rel=LEAST)

    names = [model.published[p.name] for p in parameters]
    assert set(names) == set(facts["grad_norm_float64"])
    comparison = GradientComparison(facts, numbers)
    assert len(comparison.compared) > len(names) // 2
    off = comparison.disagreeing(names, gradients)
    assert not {name for name in off if "backbone." not in name}
    frames, *columns = batch_of(reference, facts)
    off = left_after_rounding(
        off,
        frames.asnumpy(),
        lambda frames: comparison.disagreeing(names, run(ms.Tensor(frames), *columns)[1]),
    )
    assert not off


class GradientComparison:
    """Norms of the gradients, and the stored elements, against the file's numbers."""

    def __init__(self, facts: dict, numbers) -> None:
        self.facts, self.numbers = facts, numbers
        self.allowed = ROUNDINGS * max(LEAST_GRADIENT, facts["max_rel_grad_norm_diff_float32_float64"])
        noise = NOISE * facts["total_grad_norm"]
        self.compared = {name: norm for name, norm in facts["grad_norm_float64"].items() if norm >= noise}

    def disagreeing(self, names: list[str], gradients) -> set[str]:
        got = {name: g.asnumpy().astype(np.float64) for name, g in zip(names, gradients, strict=True)}
        return {name for name, wanted in self.compared.items() if not self.agrees(name, got[name], wanted)}

    def agrees(self, name: str, got: np.ndarray, wanted: float) -> bool:
        if abs(np.linalg.norm(got) - wanted) > self.allowed * wanted:
            return False
        if f"grad:{name}" not in self.numbers:
            return True
        elements = self.numbers[f"grad:{name}"]
        error = np.abs(got.reshape(-1)[:: self.facts["grad_flat_stride"][name]] - elements).max()
        return error <= ELEMENT_TOLERANCE * np.abs(elements).max()


@pytest.mark.usefixtures("operator_by_operator")
def test_matching(case: str, golden: Path) -> None:
    """Costs, slots and supervised rows of the last layer, from the stored predictions."""
    reference = Reference(golden)
    facts, numbers = reference.facts(f"{case}.json"), reference.numbers(case)
    model = model_of(golden, facts["case"], validity_of(facts))
    training = card.build_training(model.cfg, model.network, nn.Identity())
    T, Q = facts["config"]["num_frames"], facts["slots_per_frame"]
    targets = Targets(zip(Targets.__annotations__, batch_of(reference, facts)[2:]))
    B = targets["labels"].shape[0]
    logits, boxes = (
        ms.Tensor(numbers[f"pred_{name}"].reshape(B, T, Q, -1).swapaxes(1, 2)) for name in ("logits", "boxes")
    )
    cost, slot, supervised = matching(training, Predictions(logits=logits[None], boxes=boxes[None]), targets)
    matches = [match for match in facts["matches"] if match["layer"] == "final"]
    for match in matches:
        b = match["clip"]
        wanted = numbers[f"cost_final_clip{b}"]
        assert np.abs(cost[b, :, : wanted.shape[1]] - wanted).max(initial=0) < 1e-5
        check_rows(slot[b], supervised[b], match, T=T, Q=Q)


def matching(training: nn.Cell, predictions: Predictions, targets: Targets) -> tuple[np.ndarray, ...]:
    """Of the last layer: costs [B,Q,N], the query of each instance [B,N], the frames it is supervised in [B,N,T]."""
    cost = training.matcher.cost(predictions, targets)
    query = training.matcher(predictions, targets)
    supervised = training.criterion.supervised_frames(query, (query >= 0).astype(ms.float32), targets)
    return cost.asnumpy()[-1], query.asnumpy()[-1], supervised.asnumpy()[-1] > 0.5


def check_rows(slot: np.ndarray, supervised: np.ndarray, match: dict, *, T: int, Q: int) -> None:
    """slot [N], supervised [N,T] against the rows of the original, in its order: by slot, then by frame."""
    pairs = sorted((s, i) for i, s in enumerate(slot.tolist()) if s >= 0)
    assert [s for s, _ in pairs] == list(match["slot"]) and [i for _, i in pairs] == list(match["target"])
    rows = [(t * Q + s, i * T + t) for s, i in pairs for t in range(T) if supervised[i, t]]
    assert [row for row, _ in rows] == list(match["src_rows"])
    assert [row for _, row in rows] == list(match["tgt_rows"])


@pytest.mark.usefixtures("operator_by_operator")
def test_three_steps_of_the_optimiser(behaviour: str, golden: Path) -> None:
    """The training step that users run: clipped gradients, two learning rates, AdamW."""
    reference = Reference(golden)
    facts = reference.facts("train_r50_tiny_steps.json")
    recipe, optimizer = facts["recipe"], facts["optimizer"]
    first = reference.facts(f"train_{recipe['case']}{'_validfix' if behaviour == 'validfix' else ''}.json")
    model = model_of(golden, recipe["case"], validity_of(first))
    model.refill()
    cfg = model.cfg
    with cfg.unlocked():
        cfg.optimizer.learning_rate, cfg.optimizer.backbone_learning_rate = optimizer["lr"], optimizer["lr_backbone"]
        cfg.optimizer.weight_decay, cfg.optimizer.eps = optimizer["weight_decay"], optimizer["eps"]
        cfg.optimizer.beta1, cfg.optimizer.beta2 = optimizer["betas"]
        cfg.optimizer.clip_norm = optimizer["clip_max_norm"]
    training = card.build_training(cfg, model.network, nn.Identity())
    training.pixels = GivenFrames(reference.frames(first["images"])[1])
    step = build_step(cfg, model.network, training, 100, card.FAMILY.parameter_groups(cfg))
    step.set_train(True)
    before = {p.name: p.asnumpy().astype(np.float64) for p in model.network.trainable_params()}
    batch = [*batch_of(reference, first), ms.Tensor(np.zeros((1, 2), np.int64))]
    for wanted, (of_loss, of_norm) in zip(facts[behaviour]["steps"], STEP_TOLERANCES, strict=True):
        summary = step(*batch)[0].asnumpy()
        nearest = min((wanted["total"], wanted["total_float64"]), key=lambda total: abs(total - summary[0]))
        assert summary[0] == pytest.approx(nearest, rel=of_loss)
        assert summary[1] == pytest.approx(wanted["grad_norm"], rel=of_norm)
    noise = NOISE * first["total_grad_norm"]
    for parameter in model.network.trainable_params():
        name = model.published[parameter.name]
        # Adam moves a weight whose gradient is rounding by a full step in a random direction.
        if first["grad_norm"][name] > noise:
            change = np.linalg.norm(parameter.asnumpy().astype(np.float64) - before[parameter.name])
            assert change == pytest.approx(facts[behaviour]["delta_norm"][name], rel=DELTA_TOLERANCE), name
