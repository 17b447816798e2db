"""The other files a training may start from: COCO detectors and ImageNet classifiers, by name and shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly.checkpoints import fit_of, shapes_of
from mindvideo.modules.backbones.catalogue import SWINS
from mindvideo.weights.checkpoint_file import NATIVE, CheckpointFile
from mindvideo.weights.conversion import explain_misfit
from mindvideo.weights.loading import grouped_names
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy
from tests.weights.manifests import hollow, read_manifest

CONFIGS = ("vistr", "defvistr", "instanceformer_ytvis2021_r50", "seqformer_coco_r50")


def fit(tensors: dict[str, StoredTensor], config: str, **options):
    file = CheckpointFile(Path("start.pth"), "hollow", tensors, {}, {})
    return fit_of(file, load_config(config, ["backbone.name=resnet50"]), **options)[0]


def zeros(*shape: int) -> StoredTensor:
    return from_numpy(np.broadcast_to(np.float32(0), shape))


def backbone(golden: Path, name: str, prefix: str) -> dict[str, StoredTensor]:
    entries = json.loads((golden / "backbones" / name / "manifest.json").read_text())
    return hollow([(prefix + key.removeprefix("body."), tuple(shape), dtype) for key, shape, dtype, _ in entries])


def detr_384(golden: Path, prefix: str) -> dict[str, StoredTensor]:
    """The image model that VisTR starts from: its names, COCO's classes, and the two last layers of the mask head."""
    entries, _ = read_manifest(golden / "vistr" / "r50_full.manifest.json")
    kept = [
        entry
        for entry in entries
        if not entry[0].startswith(("insmask_head.", "mask_head.conv_offset", "mask_head.dcn"))
    ]
    tensors = {name.replace("vistr.", prefix): tensor for name, tensor in hollow(kept).items()}
    tensors |= {f"{prefix}class_embed.weight": zeros(92, 384), f"{prefix}class_embed.bias": zeros(92)}
    tensors[f"{prefix}query_embed.weight"] = zeros(100, 384)
    tensors |= {"mask_head.lay5.weight": zeros(24, 48, 3, 3), "mask_head.lay5.bias": zeros(24)}
    return tensors | {"mask_head.out_lay.weight": zeros(1, 24, 3, 3), "mask_head.out_lay.bias": zeros(1)}


@pytest.mark.parametrize("prefix", ["detr.", "vistr."])
def test_coco_detr_starts_vistr(golden: Path, prefix: str):
    found = fit(detr_384(golden, prefix), "vistr")
    assert found.is_complete and found.plan.table.name == f"coco_{prefix[:-1]}"
    assert len(found.plan.dropped) == 7
    fresh = {".".join(name.split(".")[:2]) for name in found.plan.fresh}
    assert fresh == {"head.class_embed", "queries.weight", "mask_branch.sequence_head", "mask_branch.frame_head"}
    deformable = {name.split(".")[2] for name in found.plan.fresh if name.startswith("mask_branch.frame_head.")}
    assert deformable == {"conv_offset", "dcn"}
    assert "mask_branch.frame_head.gn_out.weight" in found.tensors and "backbone.conv1.weight" in found.tensors


@pytest.mark.parametrize("prefix", ["detr.", "vistr."])
def test_coco_detr_starts_defvistr(golden: Path, prefix: str):
    found = fit(detr_384(golden, prefix), "defvistr")
    assert found.is_complete and found.plan.table.name == f"coco_{prefix[:-1]}"
    assert any(name.startswith("encoder.layers.0.self_attn.") for name in found.plan.fresh)
    assert "decoder.layers.5.multihead_attn.in_proj_weight" in found.tensors
    assert not any(name.startswith("backbone.") for name in found.plan.fresh)


def test_detr_of_another_width_is_refused_with_shapes(golden: Path):
    tensors = detr_384(golden, "detr.")
    tensors["detr.input_proj.weight"] = zeros(256, 2048, 1, 1)
    found = fit(tensors, "vistr")
    assert not found.is_complete and found.wrong_shapes == ["token_projection.project.0.weight"]


def attention(prefix: str, points: int) -> dict[str, StoredTensor]:
    widths = {"sampling_offsets": 8 * 4 * points * 2, "attention_weights": 8 * 4 * points}
    widths |= {"value_proj": 256, "output_proj": 256}
    return {f"{prefix}.{n}.{leaf}": zeros(*shape) for n, w in widths.items() for leaf, shape in leaves(w, 256)}


def leaves(out_channels: int, in_channels: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("weight", (out_channels, in_channels)), ("bias", (out_channels,))]


def deformable_detr(golden: Path, *, refines_boxes: bool) -> dict[str, StoredTensor]:
    """Deformable DETR with ResNet-50 on COCO: 256 channels, 6 + 6 layers, four levels, 300 queries, 91 classes."""
    tensors = backbone(golden, "resnet50", "backbone.0.body.")
    for level, channels in enumerate((512, 1024, 2048, 2048)):
        kernel = 3 if level == 3 else 1
        tensors |= {f"input_proj.{level}.0.weight": zeros(256, channels, kernel, kernel)}
        tensors |= {f"input_proj.{level}.{part}": zeros(256) for part in ("0.bias", "1.weight", "1.bias")}
    for layer in range(6):
        for part, norms in (("encoder", 2), ("decoder", 3)):
            place = f"transformer.{part}.layers.{layer}"
            tensors |= attention(f"{place}.{'self_attn' if part == 'encoder' else 'cross_attn'}", 4)
            tensors |= {f"{place}.linear1.{leaf}": zeros(*shape) for leaf, shape in leaves(1024, 256)}
            tensors |= {f"{place}.linear2.{leaf}": zeros(*shape) for leaf, shape in leaves(256, 1024)}
            tensors |= {f"{place}.norm{n + 1}.{leaf}": zeros(256) for n in range(norms) for leaf in ("weight", "bias")}
        packed = {
            "in_proj_weight": (768, 256),
            "in_proj_bias": (768,),
            "out_proj.weight": (256, 256),
            "out_proj.bias": (256,),
        }
        tensors |= {f"transformer.decoder.layers.{layer}.self_attn.{n}": zeros(*s) for n, s in packed.items()}
        tensors |= {f"class_embed.{layer}.{leaf}": zeros(*shape) for leaf, shape in leaves(91, 256)}
        for place in ("bbox_embed", "transformer.decoder.bbox_embed")[: 1 + refines_boxes]:
            for number, width in enumerate((256, 256, 4)):
                tensors |= {f"{place}.{layer}.layers.{number}.{leaf}": zeros(*s) for leaf, s in leaves(width, 256)}
    tensors |= {"transformer.level_embed": zeros(4, 256), "query_embed.weight": zeros(300, 512)}
    return tensors | {f"transformer.reference_points.{leaf}": zeros(*shape) for leaf, shape in leaves(2, 256)}


LEAVES = ("weight", "bias")


@pytest.mark.parametrize("refines_boxes", [False, True])
def test_coco_deformable_detr_starts_instanceformer(golden: Path, refines_boxes: bool):
    found = fit(deformable_detr(golden, refines_boxes=refines_boxes), "instanceformer_ytvis2021_r50")
    assert found.is_complete and found.plan.table.name == "coco_deformable_detr"
    assert len(found.plan.dropped) == 13 and len(found.plan.derived) == (36 if refines_boxes else 0)
    fresh = {name.split(".")[0] for name in found.plan.fresh}
    assert fresh <= {"class_embed", "temporal_class_embed", "controller", "mask_features", "query_embed"}
    assert "decoder.layers.5.linear2_box.bias" in found.tensors


@pytest.mark.parametrize("refines_boxes", [False, True])
def test_coco_deformable_detr_starts_both_streams_of_seqformer(golden: Path, refines_boxes: bool):
    found = fit(deformable_detr(golden, refines_boxes=refines_boxes), "seqformer_coco_r50")
    assert found.is_complete and found.plan.table.name == "coco_deformable_detr"
    assert grouped_names(found.plan.fresh) == [
        "query_embed",
        "encoder.layers.*.self_attn.output_proj_box.weight (6)",
        "encoder.layers.*.self_attn.output_proj_box.bias (6)",
        "decoder.layers.*.time_attention_weights.weight (6)",
        "decoder.layers.*.time_attention_weights.bias (6)",
        "class_embed.*.weight (6)",
        "class_embed.*.bias (6)",
        *(f"controller.layers.*.{leaf} (3)" for leaf in ("weight", "bias")),
        *(f"mask_features.{n}.{leaf}" for n in ("coarse", "middle", "fine", "narrow", "out") for leaf in LEAVES),
    ]
    by_parameter = {link.parameter: link.source for link in found.plan.links}
    for own, box in (
        ("self_attn.in_proj_weight", "self_attn_box.in_proj_weight"),
        ("norm3.bias", "norm3_box.bias"),
        ("linear1.weight", "linear1_box.weight"),
        ("cross_attn.output_proj.weight", "cross_attn.output_proj_box.weight"),
    ):
        assert by_parameter[f"decoder.layers.5.{own}"] == by_parameter[f"decoder.layers.5.{box}"]
        assert by_parameter[f"decoder.layers.5.{own}"].endswith(f"decoder.layers.5.{own}")


@pytest.mark.parametrize("config", ["seqformer_coco_r50", "instanceformer_coco_r50"])
@pytest.mark.parametrize("refines_boxes", [False, True])
def test_a_two_stage_detector_is_refused_by_what_it_is(golden: Path, config: str, refines_boxes: bool):
    tensors = deformable_detr(golden, refines_boxes=refines_boxes)
    del tensors["query_embed.weight"], tensors["transformer.reference_points.weight"]
    del tensors["transformer.reference_points.bias"]
    for part, shape in (("enc_output", (256, 256)), ("pos_trans", (512, 512))):
        tensors |= {f"transformer.{part}.weight": zeros(*shape), f"transformer.{part}.bias": zeros(shape[0])}
        tensors |= {f"transformer.{part}_norm.{leaf}": zeros(shape[0]) for leaf in LEAVES}
    tensors |= {f"class_embed.6.{leaf}": zeros(*shape) for leaf, shape in leaves(91, 256)}
    file = CheckpointFile(Path("two_stage.pth"), "hollow", tensors, {}, {})
    found, shapes = fit_of(file, load_config(config))
    assert not found.is_complete
    assert explain_misfit(found, file, shapes).startswith("it is a two-stage Deformable DETR")


# Name in the catalogue -> the file of Swin's authors.
SWIN_FILES = {
    "swin_t_p4w7": "swin_tiny_patch4_window7_224.pth",
    "swin_s_p4w7": "swin_small_patch4_window7_224.pth",
    "swin_b_p4w7": "swin_base_patch4_window7_224_22k.pth",
    "swin_l_p4w7": "swin_large_patch4_window7_224_22k.pth",
    "swin_l_p4w12": "swin_large_patch4_window12_384_22k.pth",
}


def swin_classifier(*, embed: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, classes: int, **_):
    """Names, shapes and types of an ImageNet file of Swin's authors, from the description of the network."""
    entries = [("patch_embed.proj.weight", (embed, 3, 4, 4), "float32"), ("patch_embed.proj.bias", (embed,), "float32")]
    entries += [(f"patch_embed.norm.{leaf}", (embed,), "float32") for leaf in LEAVES]
    for stage, (depth, M) in enumerate(zip(depths, heads)):
        C = embed * 2**stage
        for block in range(depth):
            place = f"layers.{stage}.blocks.{block}."
            entries += [(f"{place}{norm}.{leaf}", (C,), "float32") for norm in ("norm1", "norm2") for leaf in LEAVES]
            entries.append((f"{place}attn.relative_position_bias_table", ((2 * window - 1) ** 2, M), "float32"))
            entries.append((f"{place}attn.relative_position_index", (window**2, window**2), "int64"))
            layers = (("attn.qkv", 3 * C, C), ("attn.proj", C, C), ("mlp.fc1", 4 * C, C), ("mlp.fc2", C, 4 * C))
            for name, out_width, in_width in layers:
                entries += [(f"{place}{name}.{leaf}", s, "float32") for leaf, s in leaves(out_width, in_width)]
            if block % 2 and stage < 3:  # the last stage's map is one window: nothing is shifted there
                entries.append((f"{place}attn_mask", (64 // 4**stage, window**2, window**2), "float32"))
        if stage < 3:
            entries.append((f"layers.{stage}.downsample.reduction.weight", (2 * C, 4 * C), "float32"))
            entries += [(f"layers.{stage}.downsample.norm.{leaf}", (4 * C,), "float32") for leaf in LEAVES]
    last = embed * 8
    entries += [(f"norm.{leaf}", (last,), "float32") for leaf in LEAVES]
    entries += [(f"head.{leaf}", shape, "float32") for leaf, shape in leaves(classes, last)]
    return entries


@pytest.mark.parametrize("name", SWIN_FILES)
def test_imagenet_files_of_swin_start_a_training(name: str):
    classes = 21841 if "22k" in SWIN_FILES[name] else 1000
    tensors = hollow(swin_classifier(classes=classes, **SWINS[name]))
    cfg = load_config("seqformer_coco_swin_l", [f"backbone.name={name}", *ONE_LAYER])
    found, _ = fit_of(CheckpointFile(Path(SWIN_FILES[name]), "hollow", tensors, {}, {}), cfg)
    assert found.is_complete and found.plan.table.name == "imagenet"
    inside = [name for name in found.plan.fresh if name.startswith("backbone.")]
    assert {name.split(".")[1] for name in inside} == {"norm0", "norm1", "norm2", "norm3"}
    assert len(found.tensors) == sum(".attn_mask" not in n and "_index" not in n for n in tensors) - 4


def test_a_swin_of_another_window_is_refused_with_shapes():
    tensors = hollow(swin_classifier(classes=21841, **SWINS["swin_l_p4w12"]))
    file = CheckpointFile(Path("w12.pth"), "hollow", tensors, {}, {})
    found, shapes = fit_of(file, load_config("instanceformer_coco_swin_l", INSTANCEFORMER_ONE_LAYER))
    assert not found.is_complete and "relative_position_bias_table is [529, 6] in the file" in explain_misfit(
        found, file, shapes
    )


ONE_LAYER = ["seqformer.encoder_layers=1", "seqformer.decoder_layers=1"]
INSTANCEFORMER_ONE_LAYER = [line.replace("seqformer", "instanceformer") for line in ONE_LAYER]
STAGES = [
    ("instanceformer_coco_r50", "instanceformer_ytvis2019_r50"),
    ("instanceformer_ytvis2019_r50", "instanceformer_ovis_r50"),
    ("instanceformer_coco_swin_l", "instanceformer_ytvis2021_swin_l"),
    ("instanceformer_ytvis2019_swin_l", "instanceformer_ovis_swin_l"),
    ("seqformer_coco_r50", "seqformer_ytvis2021_r50"),
    ("seqformer_coco_swin_l", "seqformer_ytvis2019_swin_l"),
    ("seqformer_ytvis2019_r50", "seqformer_ovis_r50"),
]
# These begin afresh for OVIS, beside the class heads.
MEMORY = {"mem_token_proj", "cross_attn_mem", "norm2_mem"}


@pytest.mark.parametrize(("before", "after"), STAGES, ids=lambda name: name)
def test_only_class_heads_and_what_a_stage_adds_begin_afresh(before: str, after: str):
    reduced = INSTANCEFORMER_ONE_LAYER if before.startswith("instanceformer") else ONE_LAYER
    entries = [(name, shape, "float32") for name, shape in shapes_of(load_config(before, reduced)).items()]
    file = CheckpointFile(Path("last.ckpt"), NATIVE, hollow(entries), {}, {})
    found, _ = fit_of(file, load_config(after, reduced))
    assert found.only_class_heads_differ
    heads = {name.split(".")[0] for name in found.wrong_shapes}
    parts = {part for name in found.plan.fresh for part in name.split(".") if part in MEMORY | {"temporal_class_embed"}}
    assert all(parts & set(name.split(".")) for name in found.plan.fresh)
    if before.startswith("seqformer"):
        assert heads == {"class_embed"} and not found.plan.fresh
    elif "ovis" in after:
        assert heads == {"class_embed", "temporal_class_embed"} and parts == MEMORY
    else:
        assert heads == {"class_embed"} and parts == {"temporal_class_embed"}
    # A file that lacks a part of what the next stage adds is a damaged one.
    if parts:
        del entries[0]
        one = next(iter(found.plan.fresh))
        shape = shapes_of(load_config(after, reduced))[one]
        broken = CheckpointFile(Path("last.ckpt"), NATIVE, hollow([*entries, (one, shape, "float32")]), {}, {})
        assert one not in fit_of(broken, load_config(after, reduced))[0].plan.fresh


def test_coco_deformable_detr_gives_defvistr_its_backbone(golden: Path):
    found = fit(deformable_detr(golden, refines_boxes=True), "defvistr")
    assert found.is_complete and all(name.startswith("backbone.") for name in found.tensors)
    assert len(found.tensors) == 265 and not any(name.startswith("backbone.") for name in found.plan.fresh)


@pytest.mark.parametrize("config", CONFIGS)
def test_imagenet_backbone_starts_every_family(golden: Path, config: str):
    tensors = backbone(golden, "resnet50", "")
    tensors |= {"bn1.num_batches_tracked": zeros(), "fc.weight": zeros(1000, 2048), "fc.bias": zeros(1000)}
    found = fit(tensors, config)
    assert found.is_complete and found.plan.table.name == "imagenet"
    assert len(found.tensors) == 265 and len(found.plan.dropped) == 3
    assert not any(name.startswith("backbone.") for name in found.plan.fresh)


@pytest.mark.parametrize("config", CONFIGS)
def test_backbone_of_another_depth_is_refused(golden: Path, config: str):
    found = fit(backbone(golden, "resnet101", ""), config)
    assert not found.is_complete and any(link.source.startswith("layer3.6.") for link in found.plan.astray)


@pytest.mark.parametrize("config", ["defvistr", "instanceformer_ytvis2021_r50"])
def test_vistr_is_not_taken_for_another_family(golden: Path, config: str):
    entries, _ = read_manifest(golden / "vistr" / "r50_full.manifest.json")
    found = fit(hollow(entries), config)
    assert not found.is_complete and found.plan.problems
