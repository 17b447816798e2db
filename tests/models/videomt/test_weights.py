"""VidEoMT's name tables: the published lists of names both ways, files there and back bit for bit, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters

from mindvideo import load_config
from mindvideo.errors import UserError
from mindvideo.models.videomt import card
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.conversion import explain_misfit, fit_file, to_published_names
from mindvideo.weights.loading import load_weights, weights_of
from mindvideo.weights.rules import RuleTable
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

CONFIGS = {
    "small": "videomt_ytvis2019_s",
    "base": "videomt_ytvis2019_b",
    "large": "videomt_ytvis2019_l",
    "large_ovis": "videomt_ovis_l",
    "large_dinov3": "videomt_ytvis2019_dinov3_l",
}
TINY = [
    "videomt.width=24", "videomt.heads=3", "videomt.num_blocks=3", "videomt.query_blocks=2", "videomt.num_queries=5",
    "videomt.table_size=[96, 64]", "data.num_classes=6",
]  # fmt: skip


def shapes_of(cfg) -> dict[str, tuple[int, ...]]:
    with no_init_parameters():
        network = card.build_network(cfg)
    return {place: tuple(parameter.shape) for place, parameter in weights_of(network).items()}


def table_of(cfg, name: str) -> RuleTable:
    [table] = [table for table in card.weight_rules(cfg) if table.name == name]
    return table


def file_of(tensors: dict[str, np.ndarray]) -> CheckpointFile:
    stored = {name: from_numpy(values) for name, values in tensors.items()}
    return CheckpointFile(Path("some.pth"), "PyTorch (zip)", stored, {}, {})


def of_shapes(entries: dict[str, dict]) -> dict[str, np.ndarray]:
    """Arrays of those shapes that take no memory."""
    return {name: np.broadcast_to(np.float32(0), entry["shape"]) for name, entry in entries.items()}


@pytest.mark.parametrize("size", CONFIGS)
@pytest.mark.parametrize(("table", "part"), [("published", "original"), ("transformers", "state_dict")])
def test_published_lists_of_names_fit_both_ways(golden, size, table, part):
    manifest = json.loads((golden / "videomt" / "full" / f"manifest_{size}.json").read_text())
    cfg = load_config(CONFIGS[size])
    shapes = shapes_of(cfg)
    file = file_of(of_shapes(manifest[part]))
    fit = fit_file(file, card.weight_rules(cfg), shapes)
    assert fit.plan.table.name == table
    assert fit.is_complete and not fit.plan.fresh, explain_misfit(fit, file, shapes)
    published, _, nameless = to_published_names(fit.tensors, fit.plan.table)
    assert not nameless
    assert {name: list(tensor.shape) for name, tensor in published.items()} == {
        name: entry["shape"] for name, entry in manifest[part].items()
    }
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    assert count == manifest["num_parameters"]


@pytest.mark.parametrize("size", ["small", "large_dinov3"])
def test_learning_rates_are_the_published_ones(golden, size):
    manifest = json.loads((golden / "videomt" / "full" / f"manifest_{size}.json").read_text())
    cfg = load_config(CONFIGS[size])
    groups = card.FAMILY.parameter_groups(cfg)
    fit = fit_file(file_of(of_shapes(manifest["original"])), card.weight_rules(cfg), shapes_of(cfg))
    for link in fit.plan.links:
        import re

        group = next(group for group in groups if re.search(group.pattern, link.parameter))
        factor = manifest["original"][link.source]["lr_factor"]
        assert group.learning_rate == pytest.approx(factor * cfg.optimizer.learning_rate, rel=1e-9), link.parameter
        assert group.weight_decay == 0.05


def random_weights(shapes) -> dict[str, StoredTensor]:
    rng = np.random.default_rng(0)
    return {name: from_numpy(rng.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}


@pytest.mark.parametrize("backbone", ["dinov2", "dinov3"])
@pytest.mark.parametrize("name", ["published", "transformers"])
def test_weights_go_out_and_come_back_bit_for_bit(backbone, name):
    cfg = load_config("videomt_ytvis2019_s", [*TINY, f"videomt.backbone={backbone}"])
    shapes = shapes_of(cfg)
    weights = random_weights(shapes)
    published, _, _ = to_published_names(weights, table_of(cfg, name))
    if backbone == "dinov2" and name == "published":
        stacked = published["backbone.encoder.backbone.blocks.1.attn.qkv.weight"].numpy()
        parts = [weights[f"backbone.layers.1.attention.{p}_proj.weight"].numpy() for p in "qkv"]
        np.testing.assert_array_equal(stacked, np.concatenate(parts))
    fit = fit_file(CheckpointFile(Path("x"), "x", published, {}, {}), card.weight_rules(cfg), shapes)
    assert fit.plan.table.name == name and fit.is_complete
    for place, tensor in weights.items():
        np.testing.assert_array_equal(fit.tensors[place].numpy(), tensor.numpy())
    again, _, _ = to_published_names(fit.tensors, table_of(cfg, name))
    assert again.keys() == published.keys()
    for entry, tensor in published.items():
        np.testing.assert_array_equal(again[entry].numpy(), tensor.numpy())


def test_fused_dinov3_file():
    cfg = load_config("videomt_ytvis2019_s", [*TINY, "videomt.backbone=dinov3"])
    shapes = shapes_of(cfg)
    weights = random_weights(shapes)
    published, _, _ = to_published_names(weights, table_of(cfg, "published"))
    tensors = {name: tensor.numpy() for name, tensor in published.items()}
    for block in range(3):
        attention = f"backbone.encoder.backbone.blocks.{block}.attention."
        parts = {p: [tensors.pop(f"{attention}{p}_proj.{leaf}", None) for leaf in ("weight", "bias")] for p in "qkv"}
        tensors[f"{attention}qkv_proj.weight"] = np.concatenate([parts[p][0] for p in "qkv"])
        tensors[f"{attention}qkv_proj.bias"] = np.concatenate([parts["q"][1], np.zeros(24, np.float32), parts["v"][1]])
    fit = fit_file(file_of(tensors), card.weight_rules(cfg), shapes)
    assert fit.plan.table.name == "published_fused" and fit.is_complete
    for place, tensor in weights.items():
        np.testing.assert_array_equal(fit.tensors[place].numpy(), tensor.numpy())


def dinov2_file(names: str, *, width: int, blocks: int) -> dict[str, np.ndarray]:
    """A file of the backbone with random values, under timm's, the authors' or transformers' names."""
    rng = np.random.default_rng(1)
    C = width

    def r(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    if names == "transformers":
        tensors = {
            "embeddings.cls_token": r(1, 1, C), "embeddings.register_tokens": r(1, 4, C),
            "embeddings.mask_token": r(1, C), "embeddings.position_embeddings": r(1, 1370, C),
            "embeddings.patch_embeddings.projection.weight": r(C, 3, 14, 14),
            "embeddings.patch_embeddings.projection.bias": r(C),
            "layernorm.weight": r(C), "layernorm.bias": r(C),
        }  # fmt: skip
        inside, scale = "encoder.layer.{}.", "layer_scale{}.lambda1"
        attention = {f"attention.attention.{n}": (C, C) for n in ("query", "key", "value")}
        attention["attention.output.dense"] = (C, C)
    else:
        extra = {"register_tokens": r(1, 4, C), "pos_embed": r(1, 1370, C), "mask_token": r(1, C)}
        timm = {"reg_token": r(1, 4, C), "pos_embed": r(1, 1369, C)}
        tensors = {
            "cls_token": r(1, 1, C), "patch_embed.proj.weight": r(C, 3, 14, 14), "patch_embed.proj.bias": r(C),
            "norm.weight": r(C), "norm.bias": r(C), **(timm if names == "timm" else extra),
        }  # fmt: skip
        inside, scale = "blocks.{}.", "ls{}.gamma"
        attention = {"attn.qkv": (3 * C, C), "attn.proj": (C, C)}
    for block in range(blocks):
        place = inside.format(block)
        layers = {**attention, "mlp.fc1": (4 * C, C), "mlp.fc2": (C, 4 * C)}
        tensors |= {f"{place}{n}.weight": r(*shape) for n, shape in layers.items()}
        tensors |= {f"{place}{n}.bias": r(shape[0]) for n, shape in layers.items()}
        tensors |= {f"{place}norm{n}.{leaf}": r(C) for n in (1, 2) for leaf in ("weight", "bias")}
        tensors |= {place + scale.format(n): r(C) for n in (1, 2)}
    return tensors


@pytest.mark.parametrize("names", ["timm", "authors", "transformers"])
def test_dinov2_starts_a_training(names):
    cfg = load_config("videomt_ytvis2019_s", TINY)
    shapes = shapes_of(cfg)
    tensors = dinov2_file(names, width=24, blocks=3)
    fit = fit_file(file_of(tensors), card.weight_rules(cfg), shapes)
    expected = {"timm": "dinov2_timm", "authors": "dinov2", "transformers": "dinov2_transformers"}[names]
    assert fit.plan.table.name == expected
    assert fit.is_complete, explain_misfit(fit, file_of(tensors), shapes)
    assert {name.split(".")[0] for name in fit.plan.fresh} == {
        "query", "query_updater", "class_head", "mask_head", "upscale",
    }  # fmt: skip
    token = fit.tensors["backbone.cls_token"].numpy()
    if names == "timm":
        np.testing.assert_array_equal(token, tensors["cls_token"])
    else:
        prefix, table = ("embeddings.", "position_embeddings") if names == "transformers" else ("", "pos_embed")
        np.testing.assert_array_equal(token, tensors[f"{prefix}cls_token"] + tensors[f"{prefix}{table}"][:, :1])


def test_a_dinov3_backbone_starts_a_training():
    cfg = load_config("videomt_ytvis2019_s", [*TINY, "videomt.backbone=dinov3"])
    shapes = shapes_of(cfg)
    weights = random_weights(shapes)
    published, _, _ = to_published_names(weights, table_of(cfg, "published"))
    inside = "backbone.encoder.backbone."
    renamed = {"patch_embed.": "embeddings.", "blocks.": "model.layer.", "norm.": "norm."}
    tensors = {"embeddings.mask_token": np.zeros((1, 1, 24), np.float32)}
    for name, tensor in published.items():
        rest = name.removeprefix(inside)
        for old, new in renamed.items():
            if name.startswith(inside) and rest.startswith(old):
                tensors[new + rest.removeprefix(old)] = tensor.numpy()
    fit = fit_file(file_of(tensors), card.weight_rules(cfg), shapes)
    assert fit.plan.table.name == "dinov3_model" and fit.is_complete


@pytest.mark.parametrize(
    ("file", "network", "sentence"),
    [
        ("large", "videomt_ytvis2019_s", "the file is a ViT-L (1024 wide, 24 blocks) for 40 classes"),
        ("small", "videomt_ytvis2019_b", "the file is a ViT-S (384 wide, 12 blocks) for 40 classes"),
        ("large_ovis", "videomt_ytvis2019_l", "for 25 classes"),
    ],
)
@pytest.mark.parametrize("part", ["original", "state_dict"])
def test_another_size_or_class_list_is_named(golden, file, network, sentence, part):
    manifest = json.loads((golden / "videomt" / "full" / f"manifest_{file}.json").read_text())
    cfg = load_config(network)
    shapes, published = shapes_of(cfg), file_of(of_shapes(manifest[part]))
    fit = fit_file(published, card.weight_rules(cfg), shapes)
    assert not fit.is_complete
    message = explain_misfit(fit, published, shapes)
    assert sentence in message and "\n" not in message
    assert fit.only_class_heads_differ == (file == "large_ovis")


def test_a_panoptic_checkpoint_is_named(golden):
    manifest = json.loads((golden / "videomt" / "full" / "manifest_large.json").read_text())
    entries = {name: dict(entry) for name, entry in manifest["original"].items()}
    for name in ("backbone.class_head.weight", "backbone.class_head.bias", "criterion.empty_weight"):
        entries[name]["shape"] = [125, *entries[name]["shape"][1:]]
    entries["backbone.encoder.backbone.pos_embed"]["shape"] = [1, 6400, 1024]
    cfg = load_config("videomt_ytvis2019_l")
    shapes, file = shapes_of(cfg), file_of(of_shapes(entries))
    assert "panoptic" in explain_misfit(fit_file(file, card.weight_rules(cfg), shapes), file, shapes)


def test_frames_must_fill_patches():
    network = card.build_network(load_config("videomt_ytvis2019_s", TINY))
    network.set_train(False)
    for size, message in {(40, 64): "no multiple of the patch size 16: pad it to 48 x 64", (8, 64): "smaller"}.items():
        with pytest.raises(UserError, match=message):
            network(ms.Tensor(np.zeros((1, 1, 3, *size), np.float32)))


def test_a_stage_one_file_only_starts_a_training(tmp_path):
    """The single-frame models have no query updater."""
    cfg = load_config("videomt_ytvis2019_s", TINY)
    network = card.build_network(cfg)
    weights = {n: w for n, w in random_weights(shapes_of(cfg)).items() if "query_updater" not in n}
    published, _, _ = to_published_names(weights, table_of(cfg, "published"))
    from mindvideo.weights.conversion import write_torch_file

    path = tmp_path / "segmenter.pth"
    write_torch_file(path, published, {})
    with pytest.raises(UserError, match="enough to start a training from"):
        load_weights(network, path, rules=card.weight_rules(cfg))
    loaded = load_weights(network, path, rules=card.weight_rules(cfg), start_of_training=True)
    assert set(loaded.fresh) == {"query_updater.weight", "query_updater.bias"}
    np.testing.assert_array_equal(network.query.asnumpy(), weights["query"].numpy())
