"""Published names of the mask head that reads attention maps, of one frame and of a clip."""

from __future__ import annotations

import numpy as np

from mindvideo.weights.rules import Rule

FRAME_HEAD = "mask_branch.frame_head."
SEQUENCE_HEAD = "mask_branch.sequence_head."


def mask_rules() -> list[Rule]:
    """The mask head of one frame, which the image model has as well."""
    rules = [
        Rule(r"bbox_attention\.(.*)", r"mask_branch.attention_map.\1"),
        Rule(r"mask_head\.((?:lay1|gn1)\..*)", FRAME_HEAD + r"\1"),
        Rule(r"mask_head\.gn5\.(.*)", FRAME_HEAD + r"gn_out.\1"),
    ]
    for index in range(3):
        rules += [
            Rule(rf"mask_head\.lay{index + 2}\.(.*)", FRAME_HEAD + rf"lay.{index}.\1"),
            Rule(rf"mask_head\.gn{index + 2}\.(.*)", FRAME_HEAD + rf"gn.{index}.\1"),
            Rule(rf"mask_head\.adapter{index + 1}\.(.*)", FRAME_HEAD + rf"adapter.{index}.\1"),
        ]
    return rules


def sequence_mask_rules() -> list[Rule]:
    """The parts that turn an image's mask head into a clip's: the deformable convolution and the sequence head."""
    rules = [
        Rule(r"mask_head\.((?:conv_offset|dcn)\..*)", FRAME_HEAD + r"\1"),
        Rule(r"insmask_head\.9\.weight", SEQUENCE_HEAD + "out.weight", transform=drop_depth, inverse=add_depth),
        Rule(r"insmask_head\.9\.(bias)", SEQUENCE_HEAD + r"out.\1"),
    ]
    for index in range(3):
        rules += [
            Rule(rf"insmask_head\.{3 * index}\.(.*)", SEQUENCE_HEAD + rf"conv.{index}.\1"),
            Rule(rf"insmask_head\.{3 * index + 1}\.(.*)", SEQUENCE_HEAD + rf"gn.{index}.\1"),
        ]
    return rules


def drop_depth(kernel: np.ndarray) -> np.ndarray:
    """A 1x1x1 kernel as a 1x1 one."""
    return kernel[:, :, 0]


def add_depth(kernel: np.ndarray) -> np.ndarray:
    return kernel[:, :, None]
