"""Rules that several families share: the backbones, by themselves and inside a model."""

from __future__ import annotations

import re

import numpy as np

from mindvideo.weights.rules import Rule, RuleTable

RESNET_ENTRY = (
    r"((?:conv1|bn1|layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.[01]))\.(?:weight|bias|running_mean|running_var))"
)
SWIN_BLOCK = r"layers\.[0-3]\.blocks\.\d+\."
SWIN_ENTRY = (
    r"((?:patch_embed\.(?:proj|norm)|norm[0-3]|layers\.[0-2]\.downsample\.norm|"
    rf"{SWIN_BLOCK}(?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2))\.(?:weight|bias)|"
    r"layers\.[0-2]\.downsample\.reduction\.weight|"
    rf"{SWIN_BLOCK}attn\.relative_position_bias_table)"
)

CONVNEXT_BLOCK = r"features\.[1357]\.\d+\."
CONVNEXT_ENTRY = (
    r"((?:features\.0\.[01]|features\.[246]\.[01]|"
    rf"{CONVNEXT_BLOCK}block\.[0235])\.(?:weight|bias)|{CONVNEXT_BLOCK}layer_scale)"
)


def backbone_rules(source: str, target: str) -> list[Rule]:
    """Every backbone inside a model: entries below ``source`` ("detr.backbone.0.body.") to ``target`` ("backbone.")."""
    prefix = re.escape(source)
    return [
        Rule(prefix + RESNET_ENTRY, target + r"\1"),
        Rule(prefix + r".*\.num_batches_tracked", None),
        Rule(prefix + SWIN_ENTRY, target + r"\1"),
        Rule(prefix + CONVNEXT_ENTRY, target + r"\1"),
        Rule(
            prefix + rf"({SWIN_BLOCK}attn)\.relative_position_index",
            target + r"\1.relative_position_bias_table",
            derived=position_index_of_table,
        ),
        Rule(prefix + rf"{SWIN_BLOCK}attn_mask", None),
    ]


def imagenet_table(target: str, *, fresh: tuple[str, ...] = (r".*",)) -> RuleTable:
    """An ImageNet classifier's file (torchvision's ResNets and ConvNeXt, the official Swin) for the backbone.

    The backbone is below ``target``. Everything outside it stays fresh, and so do the output norms of a Swin or a
    ConvNeXt, which a classifier lacks.
    """
    classifier = [Rule(r"fc\.(?:weight|bias)", None), Rule(r"(?:norm|head)\.(?:weight|bias)", None)]
    classifier += [Rule(r"classifier\.[02]\.(?:weight|bias)", None)]
    inside = re.escape(target)
    kept_fresh = tuple(f"(?!{inside}){pattern}" for pattern in fresh) + (rf"{inside}norm[0-3]\.(?:weight|bias)",)
    return RuleTable(
        "imagenet",
        (*backbone_rules("", target), *classifier),
        describes="an ImageNet classifier of torchvision or of Swin's authors",
        fresh=kept_fresh,
    )


def position_index_of_table(table: np.ndarray) -> np.ndarray:
    """Swin: which row of the bias table [(2w-1)^2, M] a pair of cells of a window uses, int64 [w*w, w*w]."""
    window = (int(round(table.shape[0] ** 0.5)) + 1) // 2
    row, column = np.divmod(np.arange(window * window), window)
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return (down * (2 * window - 1) + right).astype(np.int64)
