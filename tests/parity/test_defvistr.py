"""Deformable VisTR against the released code: values of every stage, losses and gradients.

Of the small cases that have losses the one that a configuration reaches, whose queries are in the order of the
instances, is compiled; the others run operator by operator.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo import load_config
from mindvideo.models.defvistr import card
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.conversion import fit_file
from mindvideo.weights.loading import assign, weights_of
from mindvideo.weights.stored_tensor import from_numpy
from tests.modes import mode

# The README names no tolerance but gives how far float32 moves the original's outputs: at most 7e-5 on logits.
# A value may differ by this part of its tensor's standard deviation, a gradient norm by this part of itself.
VALUE_TOLERANCE = 2e-4
GRADIENT_TOLERANCE = 1e-4
# The mask branch bilinearly samples and rectifies maps that hardly differ between slots, so one sample that crosses a
# pixel border, or one activation that crosses zero, moves many rows at once: in double precision, noise of 2e-6 on the
# branch's inputs makes the gradient norm of conv_offset jump between -3.3e-4 and -3.7e-3 of the stored one.
MASK_GRADIENT_TOLERANCE = 5e-3
MASK_BRANCH = ("mask_head.", "insmask_head.")
NOISE = 1e-4  # gradients below this part of the total norm are rounding


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = Path(metafunc.config.getoption("--golden")) / "defvistr"
    values = sorted(path.name.removesuffix(".manifest.json") for path in folder.glob("*.manifest.json"))
    losses = [name for name in values if (folder / f"{name}_losses.json").is_file()]
    if "value_case" in metafunc.fixturenames:
        metafunc.parametrize("value_case", [name for name in values if name not in losses])
    if "loss_case" in metafunc.fixturenames:
        metafunc.parametrize("loss_case", losses)


def is_compiled(case: Golden) -> bool:
    return case.cfg.defvistr.query_layout == "instance"


class Golden:
    """One case: its facts, its numbers, its network."""

    def __init__(self, root: Path, case: str) -> None:
        self.folder, self.case = root / "defvistr", case
        self.facts = json.loads((self.folder / f"{case}.manifest.json").read_text())
        self.numbers = np.load(self.folder / f"{case}.npz")
        reference = runpy.run_path(str(root / "fill.py"))
        self.fill, self.make_input = reference["fill"], reference["make_input"]
        self.scale = json.loads((self.folder / "recipe.json").read_text())["scale"]
        settings = self.facts["config"]
        self.args, self.constants = settings["args"], settings["constants"]
        self.T, self.Q = self.constants["num_frames"], self.constants["num_instances"]
        self.cfg = load_config("defvistr", [f"{key}={json.dumps(value)}" for key, value in self.settings().items()])
        self.network = card.build_network(self.cfg)
        self.names = self.fill_network()

    def settings(self) -> dict:
        layout = "released" if self.facts["config"]["query_layout"].startswith("released") else "instance"
        return {
            "data.num_frames": self.T,
            "defvistr.num_queries": self.Q,
            "defvistr.tokens_per_query": self.constants["tokens_per_instance"],
            "defvistr.points": self.constants["enc_n_points"],
            "defvistr.width": self.args["hidden_dim"],
            "defvistr.heads": self.args["nheads"],
            "defvistr.encoder_layers": self.args["enc_layers"],
            "defvistr.decoder_layers": self.args["dec_layers"],
            "defvistr.encoder_hidden": self.args["dim_feedforward"],
            "defvistr.decoder_hidden": self.args["dim_feedforward"],
            "defvistr.dropout": 0.0,
            "defvistr.query_layout": layout,
            "backbone.name": self.args["backbone"],
            "backbone.dilate_last": self.args["dilation"],
            "matcher.class_cost": self.args["set_cost_class"],
            "matcher.box_cost": self.args["set_cost_bbox"],
            "matcher.iou_cost": self.args["set_cost_giou"],
            "loss.box_weight": self.args["bbox_loss_coef"],
            "loss.giou_weight": self.args["giou_loss_coef"],
            "loss.mask_weight": self.args["mask_loss_coef"],
            "loss.dice_weight": self.args["dice_loss_coef"],
            "loss.no_object_weight": self.args["eos_coef"],
        }

    def fill_network(self) -> dict[str, str]:
        """Load the golden weights through the card's rules; parameter -> published name."""
        tensors = {}
        for key, shape, _ in self.facts["state_dict"]:
            value = self.fill(key, shape, self.facts["seed"])
            for pattern, factor in self.scale.items():
                if re.search(pattern, key):
                    value = value * np.float32(factor)
            tensors[key] = from_numpy(value)
        parameters = weights_of(self.network)
        file = CheckpointFile(Path(self.case), "filled", tensors, {}, {})
        fit = fit_file(file, card.weight_rules(self.cfg), {name: p.shape for name, p in parameters.items()})
        assert fit.is_complete and fit.plan.table.name == "published", fit.plan
        for name, tensor in fit.tensors.items():
            assign(parameters[name], tensor)
        return {link.parameter: link.source for link in fit.plan.links}

    def frames(self) -> tuple[np.ndarray, np.ndarray]:
        """frames [1,T,3,H,W] with zeros in the padding, padding [1,T,H,W]"""
        given = self.facts["config"]["images_input"]
        images = self.make_input(given["name"], given["shape"], given["seed"])
        rows, columns = self.facts["config"]["valid"]
        padding = np.ones((1, self.T, *images.shape[-2:]), bool)
        padding[..., :rows, :columns] = False
        images = np.where(padding[0][:, None], np.float32(given["padded_pixels"]), images)
        return images[None], padding

    def check(self, name: str, got, tolerance: float = VALUE_TOLERANCE) -> None:
        facts = self.facts["tensors"][name]
        got = got.asnumpy() if isinstance(got, ms.Tensor) else got
        assert list(got.shape) == facts["shape"], f"{name}: {list(got.shape)} against {facts['shape']}"
        error = np.abs(got.reshape(-1)[:: facts["flat_stride"]] - self.numbers[name].reshape(-1)).max()
        deviation = facts.get("std", 1.0)  # whole numbers have none
        assert error <= tolerance * deviation, f"{name}: differs by {error:.2e}, deviation {deviation:.2e}"


class Stages(nn.Cell):
    """Every stage of the network, from the parts that users run."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, frames, padding):
        network = self.network
        maps = network.features(frames)
        trace = network.trace(maps[network.num_fine_levels :], frames.shape[0], padding)
        tokens, memory = trace["tokens"], trace["memory"]
        states = network.decoder.states(memory, tokens["position"], tokens["padding"], trace["levels"])
        values = (tokens["content"], tokens["position"], tokens["padding"], tokens["valid_ratios"])
        return maps, network.frame_tokens.project[0](maps[-1]), values, memory, states


def check_stages(golden: Golden) -> None:
    frames, padding = map(ms.Tensor, golden.frames())
    maps, projected, values, memory, states = Stages(golden.network)(frames, padding)
    content, position, token_padding, valid_ratios = values
    for level, got in enumerate(maps):
        golden.check(f"backbone.layer{level + 1}", got)
    golden.check("input_proj", projected)
    golden.check("encoder_input.src", content)
    golden.check("encoder_input.pos", position)
    golden.check("encoder_input.padding_mask", token_padding.asnumpy().astype(np.float32))
    golden.check("encoder_input.valid_ratios", valid_ratios)
    golden.check("memory_with_tokens", memory)
    D, _, Q, T, C = states.shape
    golden.check("decoder_stack", states.asnumpy().reshape(D, Q, T, C).swapaxes(1, 2))


def check_outputs(golden: Golden) -> None:
    frames, padding = map(ms.Tensor, golden.frames())
    logits, boxes, masks = (output.asnumpy() for output in golden.network(frames, padding))
    L, rows = logits.shape[0], golden.Q * golden.T
    golden.check("pred_logits", logits[-1].reshape(1, rows, -1))
    golden.check("pred_boxes", boxes[-1].reshape(1, rows, 4))
    golden.check("pred_masks", masks.reshape(1, rows, *masks.shape[3:]))
    for layer in range(L - 1):
        if f"aux_logits_{layer}" in golden.facts["tensors"]:
            golden.check(f"aux_logits_{layer}", logits[layer].reshape(1, rows, -1))
            golden.check(f"aux_boxes_{layer}", boxes[layer].reshape(1, rows, 4))


@pytest.mark.usefixtures("operator_by_operator")
def test_values(golden: Path, value_case: str):
    case = Golden(golden, value_case)
    case.network.set_train(False)
    check_stages(case)
    check_outputs(case)


def targets_of(case: Golden) -> tuple[list[np.ndarray], dict]:
    """Columns of the targets in the form of a ClipBatch, and the stored losses."""
    stored = np.load(case.folder / f"{case.case}_targets.npz")
    losses = json.loads((case.folder / f"{case.case}_losses.json").read_text())
    N, T = losses["num_targets"], losses["num_frames"]
    H, W = case.facts["config"]["canvas"]
    shape = tuple(stored["masks_shape"])
    masks = np.unpackbits(stored["masks_packed"])[: np.prod(shape)].reshape(N, T, *shape[-2:])
    present = stored["valid"].reshape(1, N, T).astype(bool)
    columns = [
        np.array([losses["labels"]], np.int32),
        stored["boxes"].reshape(1, N, T, 4).astype(np.float32),
        masks[None].astype(np.uint8),
        present,
        np.ones((1, N), bool),
    ]
    assert (H, W) == tuple(case.frames()[0].shape[-2:])
    return columns, losses


class Loss(nn.Cell):
    def __init__(self, training: nn.Cell) -> None:
        super().__init__()
        self.training_network = training

    def construct(self, frames, padding, labels, boxes, masks, present, exists):
        targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.training_network.loss(frames, padding, targets)


def test_values_losses_and_gradients(golden: Path, loss_case: str):
    case = Golden(golden, loss_case)
    with mode(compiled=is_compiled(case)):
        check_losses_and_gradients(case)


def check_losses_and_gradients(case: Golden) -> None:
    case.network.set_train(False)
    check_outputs(case)
    columns, stored = targets_of(case)
    training = card.build_training(case.cfg, case.network, nn.Identity())
    training.set_train(True)
    names = [case.names[name] for name, weight in case.network.parameters_and_names() if weight.requires_grad]
    weights = ms.ParameterTuple(case.network.trainable_params())
    step = ops.value_and_grad(Loss(training), None, weights, has_aux=True)
    inputs = [*case.frames(), *columns]
    (total, terms), gradients = step(*map(ms.Tensor, inputs))
    found = dict(zip(training.term_names, terms.asnumpy()))
    for name, value in stored["losses"].items():
        assert abs(found[name] - value) <= 2e-5 * max(1.0, abs(value)), f"{name}: {found[name]} against {value}"
    assert abs(float(total.asnumpy()) - stored["total"]) <= 2e-5 * stored["total"]
    check_gradients(dict(zip(names, gradients)), stored)


def check_gradients(gradients: dict, stored: dict) -> None:
    norms = {name: float(np.linalg.norm(gradient.asnumpy())) for name, gradient in gradients.items()}
    assert set(norms) == set(stored["grad_norm"])
    assert abs(np.sqrt(sum(n**2 for n in norms.values())) / stored["total_grad_norm"] - 1) <= GRADIENT_TOLERANCE
    compared = 0
    for name, expected in stored["grad_norm"].items():
        if expected < NOISE * stored["total_grad_norm"]:
            continue
        compared += 1
        tolerance = MASK_GRADIENT_TOLERANCE if name.startswith(MASK_BRANCH) else GRADIENT_TOLERANCE
        assert abs(norms[name] / expected - 1) <= tolerance, f"{name}: {norms[name]} against {expected}"
    assert compared > len(norms) / 2
