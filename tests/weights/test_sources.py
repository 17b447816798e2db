"""The other files a training may start from: COCO detectors and ImageNet classifiers, by name and shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly.checkpoints import fit_of
from mindvideo.weights.checkpoint_file import CheckpointFile
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy
from tests.weights.manifests import hollow, read_manifest

CONFIGS = ("vistr", "defvistr", "instanceformer_ytvis2021_r50")


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


@pytest.mark.parametrize("refines_boxes", [False, True])
def test_coco_deformable_detr_starts_instanceformer(golden: Path, refines_boxes: bool):
    found = fit(deformable_detr(golden, refines_boxes=refines_boxes), "instanceformer_ytvis2021_r50")
    assert found.is_complete and found.plan.table.name == "coco_deformable_detr"
    assert len(found.plan.dropped) == 13 and len(found.plan.derived) == (36 if refines_boxes else 0)
    fresh = {name.split(".")[0] for name in found.plan.fresh}
    assert fresh <= {"class_embed", "temporal_class_embed", "controller", "mask_features", "query_embed"}
    assert "decoder.layers.5.linear2_box.bias" in found.tensors


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
