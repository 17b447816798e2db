"""What the cards of the slot families share: a slot follows one instance through a clip."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.errors import UserError
from mindvideo.execution.slot_portions import PortionedSlots
from mindvideo.inference.post_process import SlotRunner
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.linking import OverlapLinking
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.modules.heads.attention_mask import AttentionMap, FrameMaskHead, MaskBranch, SequenceMaskHead
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.losses.criterion import SequenceCriterion, TermWeights
from mindvideo.modules.matching.sequence import SequenceMatcher
from mindvideo.modules.slots.training import SlotTraining


def every_pixel(cfg: ConfigDict) -> int:
    """The mask stride: the losses of the slot families compare masks pixel by pixel."""
    return 1


def build_mask_branch(
    *,
    width: int,
    heads: int,
    fine_channels: Sequence[int],
    widths: Sequence[int],
    channels: int,
    unit_maps: bool,
) -> MaskBranch:
    """``fine_channels``: channels of the backbone's maps that are finer than the tokens, fine to coarse.

    No ``widths`` halve the width at each of them; ``channels`` 0 takes width / 16 for the sequence head.
    """
    widths = list(widths) or [width // 2 ** (i + 1) for i in range(len(fine_channels))]
    channels = channels or width // 16
    return MaskBranch(
        attention_map=AttentionMap(width=width, heads=heads, unit_mean=unit_maps),
        frame_head=FrameMaskHead(
            width=width, heads=heads, widths=widths, fine_channels=fine_channels[::-1], out_channels=channels
        ),
        sequence_head=SequenceMaskHead(in_channels=channels, width=channels // 2),
    )


def check_levels(
    section: str, *, levels: Sequence[int], token_levels: int, mask_widths: Sequence[int], has_masks: bool = True
) -> None:
    """Which maps of the backbone become tokens and which serve the masks: settings that must fit each other."""
    num_fine = len(levels) - token_levels
    if list(levels) != sorted(set(levels)) or num_fine < (1 if has_masks else 0):
        raise UserError(
            f"{section}.levels is {list(levels)} and {section}.token_levels {token_levels}: levels must rise, and with "
            "masks at least one must be left besides those that become tokens"
        )
    if has_masks and mask_widths and len(mask_widths) != num_fine:
        raise UserError(
            f"{section}.mask_widths has {len(mask_widths)} numbers; it needs one for each of the {num_fine} levels "
            "that are finer than the tokens, or none at all"
        )


def check_anchors(section: str, *, anchors: Sequence[int], num_slots: int) -> None:
    if anchors and (len(anchors) != 2 or anchors[0] * anchors[1] != num_slots):
        raise UserError(
            f"{section}.slot_anchors is {list(anchors)}; it must be rows and columns with rows * columns = "
            f"{section}.num_slots, {num_slots}"
        )


def slot_training(
    cfg: ConfigDict,
    network: nn.Cell,
    reduce_count: nn.Cell,
    *,
    num_classes: int,
    decoder_layers: int,
    has_masks: bool = True,
) -> SlotTraining:
    matcher, loss = cfg.matcher, cfg.loss
    return SlotTraining(
        pixels=NormalizePixels(),
        network=network,
        matcher=SequenceMatcher(
            class_cost=matcher.class_cost,
            box_cost=matcher.box_cost,
            iou_cost=matcher.iou_cost,
            frames=matcher.frames,
            validity=matcher.validity,
        ),
        criterion=SequenceCriterion(
            num_classes=num_classes,
            num_layers=decoder_layers if loss.aux_layers else 1,
            weights=TermWeights(
                ce=loss.class_weight,
                bbox=loss.box_weight,
                giou=loss.giou_weight,
                mask=loss.mask_weight,
                dice=loss.dice_weight,
            ),
            no_object_weight=loss.no_object_weight,
            reduce_count=reduce_count,
            has_masks=has_masks,
            focal_alpha=loss.focal_alpha,
            focal_gamma=loss.focal_gamma,
            mask_stride=loss.mask_stride,
            empty_frames=loss.empty_frames,
        ),
        has_masks=has_masks,
    )


def slot_tracker(cfg: ConfigDict, network: nn.Cell, portioned: PortionedSlots, *, num_frames: int) -> WindowTracker:
    """``portioned``: ``network`` in less memory."""
    inference = cfg.inference
    return WindowTracker(
        runner=SlotRunner(network=network, portioned=portioned, pixels=NormalizePixels()),
        num_frames=num_frames,
        prepare=ShortSideResize(short_side=inference.short_side, long_side=inference.long_side),
        rule=VoteByFrame(),
        overlap=inference.window_overlap,
        linking=OverlapLinking(min_similarity=inference.link_similarity),
    )
