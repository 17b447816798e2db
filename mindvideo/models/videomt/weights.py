"""The published names of VidEoMT (the authors' files and those of transformers) and of the backbones it starts from."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np

from mindvideo.ops.cubic import cubic_matrix
from mindvideo.weights.rules import Rule, RuleTable, Shapes

LEAF = r"(weight|bias)"
NEW_PARTS = (r"query", r"query_updater\..*", r"class_head\..*", r"mask_head\..*", r"upscale\..*")
CLASS_HEAD = (r"class_head\..*",)
PANOPTIC_CLASSES = 124
DINOV2_GRID = (37, 37)  # pictures of 518 pixels in patches of 14


def videomt_tables(*, backbone: str, query_blocks: int, grid: tuple[int, int], patch_size: int) -> list[RuleTable]:
    """The published checkpoints first; ``grid`` and ``patch_size`` are those of the network."""
    inside = "backbone.encoder.backbone."
    if backbone == "dinov3":
        blocks, embeddings = dinov3_blocks(inside + "blocks."), dinov3_embeddings(inside + "patch_embed.")
        starts = [dinov3_table("dinov3", ""), dinov3_table("dinov3_model", "model.")]
    else:
        blocks, embeddings = timm_blocks(inside + "blocks."), timm_embeddings(inside)
        starts = dinov2_tables(grid=grid, patch_size=patch_size)
    published = RuleTable(
        "published",
        (
            *embeddings,
            *blocks,
            Rule(re.escape(inside) + r"norm\." + LEAF, r"backbone.norm.\1"),
            *own_parts(query_blocks),
        ),
        fresh=(r"query_updater\..*",),  # the single-frame models of the first stage have none
        class_heads=CLASS_HEAD,
        diagnose=partial(what_it_is, class_head="backbone.class_head.bias", norm=inside + "norm.weight"),
    )
    tables = [published, transformers_table(backbone, query_blocks)]
    if backbone == "dinov3":
        fused = dinov3_blocks(inside + "blocks.", fused=True)
        rules = (*embeddings, *fused, *published.rules[len(embeddings) + len(blocks) :])
        tables.append(RuleTable("published_fused", rules, "a published checkpoint saved after fusing its projections"))
    return [*tables, *starts]


def own_parts(query_blocks: int) -> list[Rule]:
    """Everything but the backbone, under the authors' names."""
    return [
        Rule(r"backbone\.q\.weight", "query"),
        Rule(r"backbone\.query_updater\." + LEAF, r"query_updater.\1"),
        Rule(r"backbone\.class_head\." + LEAF, r"class_head.\1"),
        Rule(r"backbone\.mask_head\.0\." + LEAF, r"mask_head.fc1.\1"),
        Rule(r"backbone\.mask_head\.2\." + LEAF, r"mask_head.fc2.\1"),
        Rule(r"backbone\.mask_head\.4\." + LEAF, r"mask_head.fc3.\1"),
        Rule(r"backbone\.upscale\.(\d+)\.(conv1|conv2|norm)\." + LEAF, r"upscale.\1.\2.\3"),
        *buffers("backbone.attn_mask_probs", query_blocks),
    ]


def buffers(mask_probabilities: str, query_blocks: int) -> list[Rule]:
    """Entries that no forward pass reads: whatever a file holds is accepted, and written as the authors start them."""
    ones = partial(_ones, query_blocks)
    return [
        Rule(re.escape(mask_probabilities), "query_updater.bias", derived=ones, compared=False),
        Rule(r"criterion\.empty_weight", "class_head.bias", derived=class_weights, compared=False),
    ]


def _ones(length: int, parameter: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return np.ones(length, np.float32)


def class_weights(class_bias: np.ndarray) -> np.ndarray:
    """The weights of the classes in the published loss: 1, and 0.1 for "no object"."""
    return np.append(np.ones(len(class_bias) - 1), 0.1).astype(np.float32)


def timm_embeddings(source: str) -> list[Rule]:
    p = re.escape(source)
    return [
        Rule(p + "cls_token", "backbone.cls_token"),
        Rule(p + "reg_token", "backbone.register_tokens"),
        Rule(p + "pos_embed", "backbone.position.weight", transform=first_row, inverse=as_row),
        Rule(p + r"patch_embed\.proj\." + LEAF, r"backbone.patch_embed.\1"),
    ]


def timm_blocks(source: str) -> list[Rule]:
    """Queries, keys and values lie in one entry, stacked in this order."""
    block = re.escape(source) + r"(\d+)\."
    ours = r"backbone.layers.\1."
    return [
        Rule(block + r"(norm1|norm2)\." + LEAF, ours + r"\2.\3"),
        *(
            Rule(block + r"attn\.qkv\." + LEAF, ours + rf"attention.{name}_proj.\2", part=(index, 3))
            for index, name in enumerate("qkv")
        ),
        Rule(block + r"attn\.proj\." + LEAF, ours + r"attention.out_proj.\2"),
        Rule(block + r"ls(1|2)\.gamma", ours + r"layer_scale\2.weight"),
        Rule(block + r"mlp\.(fc1|fc2)\." + LEAF, ours + r"mlp.\2.\3"),
    ]


def dinov3_embeddings(source: str) -> list[Rule]:
    p = re.escape(source)
    return [
        Rule(p + "(cls_token|register_tokens)", r"backbone.\1"),
        Rule(p + r"patch_embeddings\." + LEAF, r"backbone.patch_embed.\1"),
    ]


def dinov3_blocks(source: str, *, fused: bool = False) -> list[Rule]:
    block = re.escape(source) + r"(\d+)\."
    ours = r"backbone.layers.\1."
    attention = [Rule(block + r"attention\.(q_proj|k_proj|v_proj)\." + LEAF, ours + r"attention.\2.\3")]
    if fused:
        attention = [
            *(
                Rule(block + r"attention\.qkv_proj\.weight", ours + f"attention.{name}_proj.weight", part=(index, 3))
                for index, name in enumerate("qkv")
            ),
            Rule(block + r"attention\.qkv_proj\.bias", ours + "attention.q_proj.bias", part=(0, 3), one_way=True),
            Rule(block + r"attention\.qkv_proj\.bias", None, part=(1, 3)),  # zeros: keys have no bias
            Rule(block + r"attention\.qkv_proj\.bias", ours + "attention.v_proj.bias", part=(2, 3), one_way=True),
        ]
    return [
        Rule(block + r"(norm1|norm2)\." + LEAF, ours + r"\2.\3"),
        *attention,
        Rule(block + r"attention\.o_proj\." + LEAF, ours + r"attention.out_proj.\2"),
        Rule(block + r"layer_scale(1|2)\.lambda1", ours + r"layer_scale\2.weight"),
        Rule(block + r"mlp\.up_proj\." + LEAF, ours + r"mlp.fc1.\2"),
        Rule(block + r"mlp\.down_proj\." + LEAF, ours + r"mlp.fc2.\2"),
    ]


def transformers_table(backbone: str, query_blocks: int) -> RuleTable:
    own = [
        Rule(r"layernorm\." + LEAF, r"backbone.norm.\1"),
        Rule(r"query\.weight", "query"),
        Rule(r"query_updater\." + LEAF, r"query_updater.\1"),
        Rule(r"class_predictor\." + LEAF, r"class_head.\1"),
        Rule(r"mask_head\.(fc1|fc2|fc3)\." + LEAF, r"mask_head.\1.\2"),
        Rule(r"upscale_block\.block\.(\d+)\.(conv1|conv2)\." + LEAF, r"upscale.\1.\2.\3"),
        Rule(r"upscale_block\.block\.(\d+)\.layernorm2d\." + LEAF, r"upscale.\1.norm.\2"),
    ]
    if backbone == "dinov3":
        rules = [*dinov3_embeddings("embeddings."), *dinov3_blocks("layers."), *own]
    else:
        rules = [*transformers_embeddings(), *transformers_blocks(), *own, *buffers("attn_mask_probs", query_blocks)]
    return RuleTable(
        "transformers",
        tuple(rules),
        describes="the family's checkpoint in the form of transformers",
        class_heads=CLASS_HEAD,
        diagnose=partial(what_it_is, class_head="class_predictor.bias", norm="layernorm.weight"),
    )


def transformers_embeddings() -> list[Rule]:
    return [
        Rule(r"embeddings\.(cls_token|register_tokens)", r"backbone.\1"),
        Rule(r"embeddings\.mask_token", "backbone.cls_token", derived=np.zeros_like, compared=False),  # never read
        Rule(r"embeddings\.position_embeddings\.weight", "backbone.position.weight"),
        Rule(r"embeddings\.patch_embeddings\.projection\." + LEAF, r"backbone.patch_embed.\1"),
    ]


def transformers_blocks() -> list[Rule]:
    block, ours = r"layers\.(\d+)\.", r"backbone.layers.\1."
    return [
        Rule(block + r"(norm1|norm2)\." + LEAF, ours + r"\2.\3"),
        Rule(block + r"attention\.(q_proj|k_proj|v_proj|out_proj)\." + LEAF, ours + r"attention.\2.\3"),
        Rule(block + r"layer_scale(1|2)\.lambda1", ours + r"layer_scale\2.weight"),
        Rule(block + r"mlp\.(fc1|fc2)\." + LEAF, ours + r"mlp.\2.\3"),
    ]


def dinov2_tables(*, grid: tuple[int, int], patch_size: int) -> list[RuleTable]:
    """DINOv2 with registers, to start a training from: timm's names, its authors' and those of transformers.

    The table and the patches are resampled. timm has already taken the class token's position into the class token.
    """
    to_grid = partial(resample_table, new_grid=grid)
    kernel = partial(resample_patches, new_size=patch_size)
    describes = "DINOv2 with registers, the backbone only"
    norm = Rule(r"norm\." + LEAF, r"backbone.norm.\1", one_way=True)
    patches = [
        Rule(r"patch_embed\.proj\.weight", "backbone.patch_embed.weight", transform=kernel, one_way=True),
        Rule(r"patch_embed\.proj\.bias", "backbone.patch_embed.bias", one_way=True),
    ]
    timm = [
        Rule("cls_token", "backbone.cls_token", one_way=True),
        Rule("reg_token", "backbone.register_tokens", one_way=True),
        Rule("pos_embed", "backbone.position.weight", transform=to_grid, one_way=True),
    ]
    block, ours = r"encoder\.layer\.(\d+)\.", r"backbone.layers.\1."
    transformers = [
        *with_class_position(r"embeddings\.", "position_embeddings", to_grid),
        Rule(
            r"embeddings\.patch_embeddings\.projection\.weight",
            "backbone.patch_embed.weight",
            transform=kernel,
            one_way=True,
        ),
        Rule(r"embeddings\.patch_embeddings\.projection\.bias", "backbone.patch_embed.bias", one_way=True),
        Rule(block + r"(norm1|norm2)\." + LEAF, ours + r"\2.\3"),
        *(
            Rule(block + rf"attention\.attention\.{name}\." + LEAF, ours + rf"attention.{name[0]}_proj.\2")
            for name in ("query", "key", "value")
        ),
        Rule(block + r"attention\.output\.dense\." + LEAF, ours + r"attention.out_proj.\2"),
        Rule(block + r"layer_scale(1|2)\.lambda1", ours + r"layer_scale\2.weight"),
        Rule(block + r"mlp\.(fc1|fc2)\." + LEAF, ours + r"mlp.\2.\3"),
        Rule(r"layernorm\." + LEAF, r"backbone.norm.\1", one_way=True),
    ]
    authors = [*with_class_position("", "pos_embed", to_grid), *patches, *timm_blocks("blocks."), norm]
    tables = {
        "dinov2_timm": [*timm, *patches, *timm_blocks("blocks."), norm],
        "dinov2": authors,
        "dinov2_transformers": transformers,
    }
    dropped = (r"(?:embeddings\.)?mask_token",)
    return [RuleTable(name, tuple(rules), describes, NEW_PARTS, (), dropped) for name, rules in tables.items()]


def with_class_position(prefix: str, table: str, to_grid: Callable[[np.ndarray], np.ndarray]) -> list[Rule]:
    """The first row of the table is the class token's position: it is added to the token."""
    return [
        Rule(prefix + "(cls_token|register_tokens)", r"backbone.\1", one_way=True),
        Rule(prefix + table, "backbone.position.weight", transform=partial(_patch_rows, to_grid), one_way=True),
        Rule(prefix + table, "backbone.cls_token", transform=_class_row, adds=True),
    ]


def dinov3_table(name: str, prefix: str) -> RuleTable:
    return RuleTable(
        name,
        (
            *dinov3_embeddings("embeddings."),
            *dinov3_blocks(prefix + "layer."),
            Rule(r"norm\." + LEAF, r"backbone.norm.\1"),
        ),
        "DINOv3, the backbone only",
        fresh=NEW_PARTS,
        dropped=(r"embeddings\.mask_token",),
    )


def first_row(values: np.ndarray) -> np.ndarray:
    return values[0]


def as_row(values: np.ndarray) -> np.ndarray:
    return values[None]


def _class_row(table: np.ndarray) -> np.ndarray:
    """[1, 1 + P, C] -> [1, 1, C]."""
    return table[:, :1]


def _patch_rows(to_grid: Callable[[np.ndarray], np.ndarray], table: np.ndarray) -> np.ndarray:
    return to_grid(table[:, 1:])


def resample_table(table: np.ndarray, *, new_grid: tuple[int, int]) -> np.ndarray:
    """DINOv2's table [1, 37 * 37, C] for another grid, [h * w, C]."""
    h, w = DINOV2_GRID
    if table.shape[1] != h * w or new_grid == DINOV2_GRID:
        return table[0]  # a table of another size is refused for its shape
    down, across = cubic_matrix(h, new_grid[0]), cubic_matrix(w, new_grid[1])
    resampled = np.einsum("ih,jw,hwc->ijc", down, across, table[0].reshape(h, w, -1).astype(np.float64))
    return resampled.reshape(new_grid[0] * new_grid[1], -1).astype(np.float32)


def resample_patches(kernel: np.ndarray, *, new_size: int) -> np.ndarray:
    """A patch matrix [C, 3, p, p] for patches of another size: resized patches then give the tokens they gave before.

    As for FlexiViT: the pseudo-inverse of resizing takes the place of resizing the kernel itself.
    """
    C, channels, p, _ = kernel.shape
    if p == new_size:
        return kernel
    resize = cubic_matrix(p, new_size)
    backwards = np.linalg.pinv(np.kron(resize, resize))  # [p * p, new * new]
    flat = kernel.reshape(C * channels, p * p).astype(np.float64) @ backwards
    return flat.reshape(C, channels, new_size, new_size).astype(np.float32)


def what_it_is(shapes: Shapes, *, class_head: str, norm: str) -> str | None:
    """One sentence for a checkpoint of this family: its size and class list, or that it is for another task."""
    if class_head not in shapes or norm not in shapes:
        return None
    [width], classes = shapes[norm], shapes[class_head][0] - 1
    if classes == PANOPTIC_CLASSES:
        return "the file is a panoptic or semantic model (VIPSeg, VSPW), which this project does not run"
    blocks = {
        int(found[1]) for name in shapes if (found := re.search(r"(?:blocks|layers)\.(\d+)\.norm1\.weight", name))
    }
    size = {384: "S", 768: "B", 1024: "L"}.get(width, "of no published size")
    return f"the file is a ViT-{size} ({width} wide, {len(blocks)} blocks) for {classes} classes"
