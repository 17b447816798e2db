"""The loss of slots that are matched to instances: a table of terms, the class and box terms for every layer."""

from __future__ import annotations

import dataclasses

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.modules.losses.box import giou_loss_per_box, l1_per_box
from mindvideo.modules.losses.classification import weighted_softmax_cross_entropy
from mindvideo.modules.losses.mask import dice_per_mask, focal_per_mask
from mindvideo.ops.assignment import matched_rows, values_of
from mindvideo.ops.masks import resize_bilinear


@dataclasses.dataclass(frozen=True)
class TermWeights:
    """How much each term counts in the total."""

    ce: float = 1.0
    bbox: float = 5.0
    giou: float = 2.0
    mask: float = 1.0
    dice: float = 1.0


class SequenceCriterion(nn.Cell):
    """Losses of slots against instances over the frames of a clip, summed over matched rows and divided by a count.

    The count is the number of instances times T (absent frames included), averaged over the processes of a distributed
    run by ``reduce_count`` and at least 1. ``iou_eps`` as in :mod:`mindvideo.ops.boxes`. ``mask_stride`` compares
    masks averaged over squares of that many pixels. ``empty_frames`` adds the focal term of the frames where a matched
    instance is absent, against an empty mask. Terms without a weight (errors) are reported and not trained.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_layers: int,
        weights: TermWeights,
        no_object_weight: float,
        reduce_count: nn.Cell,
        has_masks: bool = True,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        mask_stride: int = 1,
        empty_frames: bool = False,
        iou_eps: float = 1e-6,
    ):
        super().__init__()
        self.no_object = num_classes
        class_weights = np.ones(num_classes + 1, np.float32)
        class_weights[-1] = no_object_weight
        self.class_weights = ms.Tensor(class_weights)
        self.reduce_count = reduce_count
        self.num_layers = num_layers
        self.has_masks = has_masks
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.mask_stride = mask_stride
        self.empty_frames = empty_frames
        self.iou_eps = iou_eps
        last = {"loss_ce": weights.ce, "loss_bbox": weights.bbox, "loss_giou": weights.giou}
        table = dict(last)
        if has_masks:
            table |= {"loss_mask": weights.mask, "loss_dice": weights.dice}
        table |= {"class_error": 0.0, "cardinality_error": 0.0}
        for layer in range(num_layers - 1):
            table |= {f"{name}_{layer}": weight for name, weight in last.items()}
            table[f"cardinality_error_{layer}"] = 0.0
        self.term_names = tuple(table)
        self.term_weights = ms.Tensor(np.array(list(table.values()), np.float32))

    def construct(self, logits, boxes, mask_logits, labels, target_boxes, target_masks, slot, supervised, exists):
        """logits [L,B,Q,T,K], boxes [L,B,Q,T,4], mask_logits [B,N,T,h,w] of the last layer's matches or None; labels
        [B,N,T], target_boxes [B,N,T,4], target_masks [B,N,T,H,W]; slot [L,B,N], supervised [L,B,N,T], exists [B,N]
        -> total [], terms [n]
        """
        num_frames = logits.shape[3]
        instances = exists.astype(ms.float32).sum(axis=-1)  # [B]
        count = self.reduce_count(instances.sum() * num_frames)
        count = ops.maximum(count, ops.ones_like(count))
        last = self.num_layers - 1
        rows = matched_rows(slot[last], logits.shape[2])
        terms = self.layer_terms(logits[last], boxes[last], labels, target_boxes, rows, supervised[last], count)
        if self.has_masks:
            terms = terms + self.mask_terms(mask_logits, target_masks, slot[last], supervised[last], count)
        terms = terms + (self.class_error(logits[last], labels, rows, supervised[last]),)
        terms = terms + (self.cardinality_error(logits[last], instances),)
        for layer in range(last):
            rows = matched_rows(slot[layer], logits.shape[2])
            terms = terms + self.layer_terms(
                logits[layer], boxes[layer], labels, target_boxes, rows, supervised[layer], count
            )
            terms = terms + (self.cardinality_error(logits[layer], instances),)
        terms = ops.stack(terms)
        return (terms * self.term_weights).sum(), terms

    def layer_terms(self, logits, boxes, labels, target_boxes, rows, supervised, count):
        """The class and box terms of one layer: logits [B,Q,T,K], boxes [B,Q,T,4], rows [B,N,Q], supervised [B,N,T]"""
        used = supervised.astype(ms.float32)
        slots = rows.swapaxes(1, 2)
        occupied = ops.bmm(slots, used)  # [B, Q, T]
        classes = ops.bmm(slots, labels.astype(ms.float32) * used) + (1.0 - occupied) * self.no_object
        loss_ce = weighted_softmax_cross_entropy(logits, ops.round(classes), self.class_weights)
        matched = values_of(rows, boxes)  # [B, N, T, 4]
        loss_bbox = (l1_per_box(matched, target_boxes) * used).sum() / count
        loss_giou = (giou_loss_per_box(matched, target_boxes, eps=self.iou_eps) * used).sum() / count
        return loss_ce, loss_bbox, loss_giou

    def mask_terms(self, mask_logits, target_masks, slot, supervised, count):
        """mask_logits [B,N,T,h,w], target_masks uint8 [B,N,T,H,W], slot [B,N], supervised [B,N,T]"""
        B, N, T, H, W = target_masks.shape
        target = target_masks.astype(ms.float32).reshape(B * N, T, H, W)
        if self.mask_stride > 1:
            target = ops.avg_pool2d(target, self.mask_stride, self.mask_stride)
        H, W = target.shape[2:]
        matched = resize_bilinear(mask_logits.reshape(B * N, T, *mask_logits.shape[3:]), H, W)
        used = supervised.astype(ms.float32)
        shown = used
        if self.empty_frames:
            shown = ops.broadcast_to((slot >= 0).astype(ms.float32).expand_dims(-1), (B, N, T))
        matched, target = matched.reshape(-1, H * W), target.reshape(-1, H * W)  # two axes: reductions are faster
        focal = focal_per_mask(matched, target, alpha=self.focal_alpha, gamma=self.focal_gamma)
        loss_mask = (focal * shown.reshape(-1)).sum() / count
        loss_dice = (dice_per_mask(matched, target) * used.reshape(-1)).sum() / count
        return loss_mask, loss_dice

    def class_error(self, logits, labels, rows, supervised):
        """Percentage of supervised rows whose best class is wrong; 100 when there is none."""
        used = supervised.astype(ms.float32)
        best = values_of(rows, logits.argmax(axis=-1).astype(ms.float32))  # [B, N, T]
        right = ((ops.abs(best - labels.astype(ms.float32)) < 0.5).astype(ms.float32) * used).sum()
        total = used.sum()
        return 100.0 - 100.0 * right / ops.maximum(total, ops.ones_like(total))

    def cardinality_error(self, logits, instances):
        """Difference between the rows that are not 'no object' and the rows of the targets, mean over the clips."""
        B, T = logits.shape[0], logits.shape[2]
        objects = (logits.argmax(axis=-1) != self.no_object).astype(ms.float32).reshape(B, -1).sum(axis=-1)
        return ops.abs(objects - instances * T).mean()
