"""A user of the earlier MindSpore port (ZJUT): its commands, its YAML's keys and its published checkpoint."""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly.checkpoints import fit_of
from mindvideo.config import known_configs, load
from mindvideo.errors import UserError
from mindvideo.inference.predictor import Predictor
from mindvideo.models.vistr import card
from mindvideo.weights.checkpoint_file import EARLIER_PORT, CheckpointFile, open_checkpoint
from mindvideo.weights.formats.earlier_port import read_earlier_port
from mindvideo.weights.formats.native import write_native
from mindvideo.weights.loading import load_weights
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy
from tests.inference.colored_videos import ColorTracker, write_frame_folder
from tests.parity.test_vistr import Check
from tests.parity.vistr_case import Reference, flat_queries, overrides, weight
from tests.weights.manifests import hollow, read_manifest

PROJECT = Path(__file__).resolve().parents[2]
OLD_PATH = "../../mindvideo/config/vistr/vistr.yaml"  # what the port's README says, in tools/segmentation
MOVED = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
NORM = re.compile(r".*(?:\.norm\d?|gn\d|insmask_head\.[147])")


def name_in_the_port(original: str) -> str:
    """Where the port's cells hold an entry of the original's state."""
    place, _, leaf = original.removeprefix("vistr.").removeprefix("transformer.").rpartition(".")
    if not place.startswith("backbone."):
        if NORM.fullmatch(place):
            return f"{place}.{MOVED[leaf]}"
        if place == "query_embed":
            return "query_embed.embedding_table"
        return f"{place}.{leaf}".replace("bbox_attention.k_linear", "bbox_attention.conv2d")
    parts = place.removeprefix("backbone.0.body.").split(".")
    is_norm = parts[-1].startswith("bn") or parts[-2:] == ["downsample", "1"]
    leaf = MOVED[leaf] if is_norm else leaf
    if len(parts) == 1:
        return f"embed1.0.features.{int(is_norm)}.{leaf}"
    stage = {"layer1": "embed1.3", "layer2": "embed2", "layer3": "embed3", "layer4": "embed4"}[parts[0]]
    cell = "down_sample" if parts[2] == "downsample" else parts[2].replace("bn", "conv")
    return f"{stage}.{parts[1]}.{cell}.features.{int(is_norm)}.{leaf}"


def as_in_the_port(original: str, values: np.ndarray) -> np.ndarray:
    if original.endswith("k_linear.weight"):
        return values[:, :, None, None]
    if original.startswith("insmask_head.") and values.shape[2:] == (3, 3, 3):
        spread = np.zeros((*values.shape[:2], 5, 5, 5), np.float32)
        spread[:, :, ::2, ::2, ::2] = values
        return spread
    return values


def write_port_files(folder: Path, entries: Iterable[tuple[str, np.ndarray]]) -> Path:
    """``vistr_r50_all.ckpt``, with an optimiser's moments as the port's trainings leave them, and the .npy beside."""
    tensors = {}
    for name, values in entries:
        if name == "mask_head.dcn.weight":
            np.save(folder / "weights_r50.npy", values)
        else:
            tensors[name_in_the_port(name)] = from_numpy(as_in_the_port(name, values))
    tensors["adam_m.input_proj.weight"] = tensors["input_proj.weight"]
    tensors["epoch_num"] = from_numpy(np.int32(18).reshape(()))
    with (folder / "vistr_r50_all.ckpt").open("wb") as stream:
        write_native(stream, tensors.items(), {})
    return folder / "vistr_r50_all.ckpt"


@pytest.fixture(scope="module")
def port(golden: Path, tmp_path_factory: pytest.TempPathFactory):
    """(the reference, the facts of the case, the port's checkpoint with the case's weights)"""
    reference = Reference(golden)
    facts = reference.facts("r50_tiny.manifest.json")
    state = facts["state_dict"]
    entries = ((key, weight(reference, facts, key, shape)) for key, shape, _ in state if "num_batches" not in key)
    return reference, facts, write_port_files(tmp_path_factory.mktemp("port"), entries)


def test_the_published_checkpoint_gives_the_originals_output(port):
    ms.set_context(mode=ms.GRAPH_MODE)
    reference, facts, path = port
    assert open_checkpoint(path).format == EARLIER_PORT
    cfg = load_config("vistr", overrides(facts, "matched"))
    network = card.build_network(cfg)
    loaded = load_weights(network, path, rules=card.weight_rules(cfg))
    assert loaded.source == "published" and not loaded.fresh
    network.set_train(False)
    frames, padding = reference.frames(facts["images"])
    logits, boxes, masks = (values.asnumpy() for values in network(ms.Tensor(frames), ms.Tensor(padding)))
    check = Check(facts, reference.numbers("r50_tiny"))
    check.result("pred_logits", flat_queries(logits[-1]))
    check.result("pred_boxes", flat_queries(boxes[-1]))
    check.result("pred_masks", flat_queries(masks))


def test_at_full_size_every_name_and_shape_fits(golden: Path, tmp_path: Path):
    entries, _ = read_manifest(golden / "vistr" / "r50_full.manifest.json")
    stored: dict[str, StoredTensor] = {}
    for name, tensor in hollow(entries).items():
        if name == "mask_head.dcn.weight":
            np.save(tmp_path / "weights_r50.npy", tensor.numpy())
        else:
            stored[name_in_the_port(name)] = from_numpy(as_in_the_port(name, tensor.numpy()))
    tensors = read_earlier_port(tmp_path / "vistr_r50_all.ckpt", stored)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {name: shape for name, shape, _ in entries}
    fit, _ = fit_of(CheckpointFile(tmp_path / "x.ckpt", EARLIER_PORT, tensors, {}, {}), load_config("vistr"))
    assert fit.is_complete and not fit.plan.fresh and fit.plan.table.name == "published"


def test_what_is_wrong_with_its_files_is_told_in_one_line(port, tmp_path: Path):
    stored = {"embed1.0.features.0.weight": from_numpy(np.zeros((64, 3, 7, 7), np.float32))}
    kernel = "insmask_head.0.weight"
    with pytest.raises(UserError, match=r"put weights_r50\.npy into"):
        read_earlier_port(tmp_path / "x.ckpt", stored)
    (tmp_path / "weights_r50.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="is no array of numbers"):
        read_earlier_port(tmp_path / "x.ckpt", stored)
    np.save(tmp_path / "weights_r50.npy", np.zeros((2, 3)))
    with pytest.raises(UserError, match="four axes"):
        read_earlier_port(tmp_path / "x.ckpt", stored)
    trained_on = from_numpy(np.ones((12, 24, 5, 5, 5), np.float32))
    with pytest.raises(UserError, match="a full 5x5x5 kernel"):
        read_earlier_port(tmp_path / "x.ckpt", {**stored, kernel: trained_on})


def run(monkeypatch: pytest.MonkeyPatch, command: str, *arguments: object) -> int | None:
    monkeypatch.setattr(sys, "argv", [f"{command}.py", *map(str, arguments)])
    return importlib.import_module(f"mindvideo.cli.{command}").main()


def test_its_commands_find_the_configuration(monkeypatch, caplog, tmp_path: Path):
    """Each goes on to what it needs next, weights or data, and says where the file is now."""
    monkeypatch.chdir(PROJECT / "tools" / "segmentation")
    monkeypatch.setattr(logging.getLogger("mindvideo"), "propagate", True)  # a command may have ended it,
    caplog.set_level(logging.WARNING, logger="mindvideo")  # and asked for less
    load._warn_of_new_place.cache_clear()
    assert load_config(OLD_PATH).name == "vistr_r50"
    assert str(known_configs()["vistr"]) in caplog.text and "-c vistr" in caplog.text
    with pytest.raises(UserError, match="--weights is missing"):
        run(monkeypatch, "eval", "-c", OLD_PATH)
    with pytest.raises(UserError, match="no input"):
        run(monkeypatch, "infer", "-c", OLD_PATH)
    with pytest.raises(UserError, match="data set ytvis19/train: no annotation file"):
        run(monkeypatch, "train", "-c", OLD_PATH, f"data.root={tmp_path}")
    with pytest.raises(UserError, match="no configuration '../vistr/other.yaml'"):
        load_config("../vistr/other.yaml")
    with pytest.raises(UserError, match="no configuration '../defvistr/vistr.yaml'"):
        load_config("../defvistr/vistr.yaml")
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("model_name: vistr_r50\nmodel: {type: VistrCom}\ndata_loader: {train: {}}\n")
    with pytest.raises(UserError, match="a configuration of the earlier MindSpore port"):
        load_config(theirs)


def test_weights_and_input_come_from_the_file_or_the_command(port, monkeypatch, tmp_path: Path):
    clip, other = write_frame_folder(tmp_path / "clip", 3), write_frame_folder(tmp_path / "other", 2)
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        f"_base_: vistr\nfamily: vistr\nname: mine\nweights: {port[2]}\ninference: {{input: ['{clip}'], write: []}}\n"
    )
    asked = []

    def maker(cfg, weights):
        asked.append(Path(weights))
        return lambda: Predictor(tracker=ColorTracker(delay=1))

    monkeypatch.setattr(importlib.import_module("mindvideo.cli.infer"), "predictor_maker", maker)
    assert run(monkeypatch, "infer", "-c", mine, "--output", tmp_path / "one") == 0
    own = tmp_path / "own.ckpt"
    own.write_bytes(b"weights")
    assert run(monkeypatch, "infer", other, "-c", mine, "--weights", own, "--output", tmp_path / "two") == 0
    assert asked == [port[2], own]
    for output, name in (("one", "clip"), ("two", "other")):
        videos = json.loads((tmp_path / output / "videos.json").read_text())
        assert [video["name"] for video in videos] == [name]
