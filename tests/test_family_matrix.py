"""The duties of every family, at sizes that no code expects: odd numbers of frames, queries and classes, a tall frame.

The families come from the registry, their small settings from ``tests/models/<family>/small.py``. With ``--sizes SEED``
the same checks run at other sizes and on other values.

Compiling is what these tests take their time for. So a family compiles one training step, with dropout and with the
backward pass that computes its parts again (the plain one is proved in tests/parity), which also
gives the losses and gradients that are asked for here, and the graphs of one tracker, which ``mindvideo infer`` and
``mindvideo export`` use too; the rest runs operator by operator.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from pycocotools import mask as coco_mask

from mindvideo.analysis.matches import is_match_record
from mindvideo.assembly import predictor
from mindvideo.assembly.network import tracker_of
from mindvideo.assembly.training import build_step
from mindvideo.compile_times import kept_graphs
from mindvideo.execution import kept_graph
from mindvideo.inference import export
from mindvideo.models.registry import FAMILIES, card_of
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.resources import cache_folder
from mindvideo.training.checkpoint import collect_state, network_weights, restore_state, save_weights
from mindvideo.training.state_file import read_state, write_state
from mindvideo.training.train_step import SUMMARY, TrainStep
from mindvideo.weights.loading import load_weights, weights_of
from tests.inference.colored_videos import write_frame_folder
from tests.models.small_models import Model, Sizes, batch, new_model, tensors
from tests.modes import mode
from tests.parity.rounding import rounded_weights

# Of a tensor, against its largest value: two orders of the same float32 sums.
ROUNDING = 2e-4


class Trained:
    """A family's small model with dropout, its training step, and what is made with it once for all tests."""

    def __init__(self, name: str, sizes: Sizes, folder: Path) -> None:
        self.name, self.sizes, self.folder = name, sizes, folder
        self.model = new_model(name, sizes, dropout=0.1)
        self.model.cfg.train.recompute = True
        self.network = self.model.network
        self.step = new_step(self.model)
        self.start = {name: value.copy() for name, value in collect_state(self.step).items()}
        self.shown: list[np.ndarray] | None = None
        self.tracker = None
        # Random weights are never sure enough to begin a track.
        unsure = ["inference.min_birth=0", "inference.min_life=0"] if "min_birth" in self.model.cfg.inference else []
        seen = [f"inference.short_side={min(sizes.height, sizes.width)}", "inference.long_side=null"]
        self.settings = [*self.model.overrides, *seen, *unsure, "inference.confidence=0.0"]

    def at_start(self) -> Trained:
        restore_state(self.step, self.start, source=self.folder)
        return self

    def losses_and_gradients(self, columns: list[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return first_step(self.at_start().step, self.model, columns)

    def outputs(self) -> list[np.ndarray]:
        """Of the network on the batch, operator by operator."""
        if self.shown is None:
            self.at_start().network.set_train(False)
            self.shown = list(leaves(self.network(*frames_of(self.model))))
        return self.shown

    def track(self, cfg: object, *, weights: Path) -> object:
        """In place of ``build_tracker``: the weights go into the network that is trained, and its tracker is one."""
        load_weights(self.network, weights, rules=card_of(self.name).weight_rules(cfg))
        if self.tracker is None:
            self.tracker = tracker_of(cfg, self.network)
        return self.tracker

    def run(self, command: str, weights: Path, *words: object) -> None:
        """The command in this process, with this network."""
        given = [command, "-c", f"{self.name}_toy", "--weights", weights, *words, *self.settings]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(predictor, "build_tracker", self.track)
            patch.setattr(sys, "argv", [*map(str, given)])
            assert importlib.import_module(f"mindvideo.cli.{command}").main() == 0

    def found(self, weights: Path, output: str, *words: str) -> list[dict]:
        """The results of ``mindvideo infer`` on a video that is longer than a clip."""
        clip = self.folder / "clip"
        if not clip.exists():
            write_frame_folder(clip, self.sizes.T + 2, (self.sizes.height, self.sizes.width))
        self.run("infer", weights, "--input", clip, "--output", self.folder / output, *words)
        return json.loads((self.folder / output / "clip" / "results.json").read_text())


@pytest.fixture(params=FAMILIES, scope="module")
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """One family after the other, so that no more than one family's graphs are held."""
    folder = tmp_path_factory.mktemp(request.param)
    yield Trained(request.param, Sizes.drawn(request.config.getoption("--sizes")), folder)
    gc.collect()


def new_step(own: Model) -> TrainStep:
    step = build_step(own.cfg, own.network, own.training, 100, card_of(own.name).parameter_groups(own.cfg))
    return step.set_train(True)


def first_step(step: TrainStep, own: Model, columns: list[np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Terms and total, and the gradients by name: Adam's first moments, which are zero before the first step."""
    summary = step.set_train(True)(*tensors(columns), ms.Tensor(np.zeros((2, 2), np.int64)))[0].asnumpy()
    optimizer = step.optimizer
    share = 1 - float(optimizer.beta1)
    gradients = {p.name: m.asnumpy() / share for p, m in zip(optimizer.parameters, optimizer.first_moment)}
    terms = summary[len(SUMMARY) : len(SUMMARY) + len(own.training.term_names)]
    return np.append(terms, summary[0]), gradients


def steps_of(own: Trained, count: int) -> list[float]:
    """The total loss of each step."""
    own.step.set_train(True)
    inputs = [*tensors(batch(own.model)), ms.Tensor(np.zeros((2, 2), np.int64))]
    return [float(own.step(*inputs)[0].asnumpy()[0]) for _ in range(count)]


def frames_of(own: Model) -> tuple[ms.Tensor, ms.Tensor]:
    """Normalised, with their padding."""
    return NormalizePixels()(*tensors(batch(own)[:2]))


def assert_same(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], *, rounding: float = ROUNDING) -> None:
    """Each array of ``got`` is the one of ``wanted``, up to that part of the largest value in it."""
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=rounding * max(1.0, np.abs(other).max()))


def assert_same_gradients(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray], *, rounding: float) -> None:
    assert list(got) == list(wanted)
    assert_same(list(got.values()), list(wanted.values()), rounding=rounding)


def leaves(value: object) -> Iterator[np.ndarray]:
    """The tensors of a network's (named, nested) outputs."""
    if isinstance(value, ms.Tensor):
        yield value.asnumpy()
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)


def test_loss_is_finite_and_reaches_every_parameter(own):
    losses, gradients = own.losses_and_gradients(batch(own.model))
    assert np.isfinite(losses).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert set(gradients) == {parameter.name for parameter in own.model.weights().values()}
    assert [name for name, gradient in gradients.items() if not np.abs(gradient).max() > 0] == []


def test_the_compiled_step_is_that_of_its_operators_one_by_one(own):
    """Losses and gradients, dropout included, whose masks are the same in both."""
    losses, gradients = own.losses_and_gradients(batch(own.model))
    other = new_model(own.name, own.sizes, dropout=0.1)
    with mode(compiled=False):
        losses_one_by_one, gradients_one_by_one = first_step(new_step(other), other, batch(other))
    assert_same([losses], [losses_one_by_one])
    assert_same_gradients(gradients, gradients_one_by_one, rounding=1e-3)


def test_a_clip_without_objects_has_a_finite_loss_and_only_class_terms(own):
    losses, gradients = own.losses_and_gradients(batch(own.model, objects=(0, 0)))
    assert np.isfinite(losses).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    of_objects = [
        (term, value) for term, value in zip(own.model.training.term_names, losses)
        if any(kind in term for kind in ("bbox", "giou", "mask", "dice"))
    ]  # fmt: skip
    assert of_objects and all(value == 0 for _, value in of_objects), of_objects


def test_the_order_of_instances_changes_no_loss(own):
    """Rows of the targets are a set."""
    columns = batch(own.model)
    losses, gradients = own.losses_and_gradients(columns)
    rows = np.roll(np.arange(own.sizes.N), 1)[::-1]  # rows of padding come between instances
    reordered = columns[:2] + [np.ascontiguousarray(column[:, rows]) for column in columns[2:]]
    again, gradients_again = own.losses_and_gradients(reordered)
    assert_same([again], [losses])
    assert_same_gradients(gradients_again, gradients, rounding=1e-3)


def test_what_lies_in_the_padding_changes_no_loss(own):
    """Pixels outside the valid area, and labels, boxes and masks of rows that do not exist."""
    columns = batch(own.model)
    losses, gradients = own.losses_and_gradients(columns)
    images, valid, labels, boxes, masks, present, exists = (column.copy() for column in columns)
    rng = np.random.default_rng(9)
    for b, (h, w) in enumerate(valid):
        images[b, :, h:] = rng.integers(0, 256, images[b, :, h:].shape)
        images[b, :, :, w:] = rng.integers(0, 256, images[b, :, :, w:].shape)
    labels[~exists] = 2
    boxes[~exists] = 0.4
    masks[~exists] = 1
    again, gradients_again = own.losses_and_gradients([images, valid, labels, boxes, masks, present, exists])
    assert_same([again], [losses], rounding=1e-6)
    assert_same_gradients(gradients_again, gradients, rounding=1e-5)


@mode(compiled=False)
def test_two_clips_in_a_batch_equal_two_batches_of_one(own):
    names = [parameter.name for parameter in own.network.get_parameters()]
    together = own.outputs()
    frames, padding = frames_of(own.at_start().model)
    for clip in range(2):
        single = list(leaves(own.network(frames[clip : clip + 1], padding[clip : clip + 1])))
        for both, one in zip(together, single, strict=True):
            axis = int(both.shape[0] == one.shape[0])  # outputs of all layers have the layer first
            assert_same([both.take([clip], axis=axis)], [one])
    assert [parameter.name for parameter in own.network.get_parameters()] == names


@mode(compiled=False)
def test_a_rounding_of_the_weights_stays_a_rounding(own):
    """In place of float64, for which MindSpore has no convolution on a CPU: no part of a network magnifies rounding."""
    before = own.outputs()
    with rounded_weights(own.at_start().network, 0):
        after = list(leaves(own.network(*frames_of(own.model))))
    assert_same(after, before)
    assert any((one != other).any() for one, other in zip(after, before, strict=True))


def test_saved_weights_load_to_the_same_bits(own, tmp_path):
    new = new_model(own.name, own.sizes)
    before = {place: p.asnumpy().copy() for place, p in new.network.parameters_and_names()}
    path = tmp_path / "weights.ckpt"
    ms.save_checkpoint([{"name": place, "data": ms.Tensor(value)} for place, value in before.items()], str(path))
    for _, parameter in new.network.parameters_and_names():
        parameter.set_data(ms.Tensor(np.full(parameter.shape, 7), parameter.dtype))
    load_weights(new.network, path, rules=card_of(own.name).weight_rules(new.cfg))
    for place, parameter in new.network.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), before[place], err_msg=place)


def test_a_few_steps_lower_the_loss(own):
    losses = steps_of(own.at_start(), 8)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0], losses


def test_evaluation_between_steps_leaves_files_that_load_and_resume(own, tmp_path, monkeypatch):
    """Train, evaluate, save, go on; resume and load: the same numbers bit for bit, dropout included.

    Evaluation is ``mindvideo infer`` on a video longer than a clip.
    """
    steps_of(own.at_start(), 1)
    save_weights(tmp_path / "before.ckpt", network_weights(own.network))
    # Windows that are linked by matching graphs leave a record, of the published procedure.
    is_matched = own.model.cfg.inference.get("linking") == "graph"
    options = ["--analysis"] * is_matched + ["runtime.compile_after=0"]
    seen = own.found(tmp_path / "before.ckpt", "seen", *options)
    kept_before = dataclasses.replace(kept_graphs)
    assert seen and all(len(record["segmentations"]) == own.sizes.T + 2 for record in seen)
    assert is_match_record(own.folder / "seen" / "analysis" / "1.npz") == is_matched
    save_weights(tmp_path / "last.ckpt", network_weights(own.network))
    write_state(tmp_path / "1.state", collect_state(own.step), {})
    went_on = steps_of(own, 2)

    state, _ = read_state(tmp_path / "1.state")
    restore_state(own.step, state, source=tmp_path / "1.state")
    assert steps_of(own, 2) == went_on
    other = new_model(own.name, own.sizes, dropout=0.1)
    restore_state(new_step(other), state, source=tmp_path / "1.state")  # names and shapes of a new process
    fresh = card_of(own.name).build_network(other.cfg)
    load_weights(fresh, tmp_path / "last.ckpt", rules=card_of(own.name).weight_rules(other.cfg))
    for (place, loaded), (_, restored) in zip(fresh.parameters_and_names(), weights_of(other.network).items()):
        np.testing.assert_array_equal(loaded.asnumpy(), restored.asnumpy(), err_msg=place)
    own.tracker = None  # as after a new start
    assert_same_tracks(own.found(tmp_path / "last.ckpt", "again", *options), seen)
    assert kept_graphs.found > kept_before.found and kept_graphs.traced == kept_before.traced
    assert_same_tracks(own.found(tmp_path / "last.ckpt", "anew", *options, "runtime.keep_graphs=false"), seen)
    own.tracker = None
    monkeypatch.setattr(kept_graph, "FOLDER", "none-is-kept-here")
    kept_before = dataclasses.replace(kept_graphs)
    stepped = own.found(tmp_path / "last.ckpt", "stepped", *options[:-1], "runtime.compile_after=3600")
    assert_same_tracks(stepped, seen)
    assert kept_graphs.stepped > kept_before.stepped and kept_graphs.traced == kept_before.traced
    assert not (cache_folder() / "none-is-kept-here").exists()


def assert_same_tracks(got: list[dict], wanted: list[dict]) -> None:
    """Up to rounding, which the same graph does differently from call to call."""
    assert [record["category_id"] for record in got] == [record["category_id"] for record in wanted]
    np.testing.assert_allclose([record["score"] for record in got], [record["score"] for record in wanted], atol=1e-5)
    for one, other in zip(got, wanted, strict=True):
        pairs = zip(one["segmentations"], other["segmentations"], strict=True)
        masks = [[0 if code is None else coco_mask.decode(code) for code in pair] for pair in pairs]
        assert all(np.mean(np.not_equal(*pair)) < 0.002 for pair in masks)


def test_an_exported_graph_is_loaded_again_and_is_the_network(own, tmp_path, monkeypatch, capsys):
    """Through the tool, which compares the two, the network operator by operator."""
    loaded = []

    def load_graph(path: Path) -> nn.Cell:
        loaded.append(load_graph_of(path))
        return loaded[-1]

    load_graph_of = export.load_graph
    monkeypatch.setattr(export, "load_graph", load_graph)
    save_weights(tmp_path / "weights.ckpt", network_weights(own.at_start().network))
    size = f"{own.sizes.width}x{own.sizes.height}"
    pynative = "runtime.mode=pynative"
    own.run("export", tmp_path / "weights.ckpt", "--size", size, "--output", tmp_path / "m.mindir", pynative)
    ms.set_context(mode=ms.GRAPH_MODE)
    description = json.loads((tmp_path / "m.json").read_text())
    inputs = [np.zeros(entry["shape"], entry["dtype"].lower()) for entry in description["inputs"]]
    if description["state"]:
        state = np.load(tmp_path / "m.npz")
        inputs[-len(state.files) :] = [state[name] for name in description["state"]]
    [graph] = loaded
    outputs = graph(*[ms.Tensor(each) for each in inputs])
    assert [list(output.shape) for output in outputs] == [entry["shape"] for entry in description["outputs"]]
    names_native = b"libmindvideo" in (tmp_path / "m.mindir").read_bytes()
    assert ("libmindvideo" in capsys.readouterr().out) == names_native


def test_files_that_hold_the_counter_of_steps_under_a_place_still_load(own, tmp_path):
    """As runs that evaluated with dropout used to write them."""
    new = new_model(own.name, own.sizes, dropout=0.1)
    step = new_step(new)
    weights, state = network_weights(new.network), dict(collect_state(step))
    weights["encoder.layers.0.dropout.iteration"] = np.asarray(7, np.int32)
    state["network.encoder.layers.0.dropout.iteration"] = np.full_like(state.pop("iteration"), 7)
    save_weights(tmp_path / "last.ckpt", weights)
    load_weights(new.network, tmp_path / "last.ckpt", rules=card_of(own.name).weight_rules(new.cfg))
    restore_state(step, state, source=tmp_path / "1.state")
    assert int(step.iteration.asnumpy()) == 7


@mode(compiled=False)
def test_any_number_of_clips_and_decoder_layers_and_clips_in_any_order(own):
    own.at_start().step.set_train(True)
    total, terms = own.model.training(*tensors(batch(own.model, objects=(3,))))
    assert np.isfinite(np.append(terms.asnumpy(), total.asnumpy())).all()
    new = new_model(own.name, own.sizes, decoder_layers=1)
    ms.set_context(mode=ms.PYNATIVE_MODE)  # the model set the other
    new.training.set_train(True)
    differentiate = ms.value_and_grad(new.training, None, ms.ParameterTuple(new.weights().values()), has_aux=True)
    results = []
    for order in (slice(None), slice(None, None, -1)):
        columns = [np.ascontiguousarray(column[order]) for column in batch(new, objects=(3, 2, 0))]
        (total, terms), gradients = differentiate(*tensors(columns))
        results.append([np.append(terms.asnumpy(), total.asnumpy()), *(each.asnumpy() for each in gradients)])
    (losses, *gradients), (again, *gradients_again) = results
    assert np.isfinite(losses).all()
    assert_same([again], [losses])
    assert_same(gradients_again, gradients, rounding=1e-3)


def test_the_training_graph_names_its_terms_once(own):
    assert isinstance(own.model.training, nn.Cell)
    assert len(set(own.model.training.term_names)) == len(own.model.training.term_names) > 3
