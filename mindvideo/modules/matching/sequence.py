"""Matching of whole slots to whole instances: a slot is one query in each frame, an instance one box in each frame."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.matching.costs import iou_cost, l1_box_cost, probability_cost
from mindvideo.ops.assignment import assignment

COORDINATES = 4


class SequenceMatcher(nn.Cell):
    """Which slot serves which instance, for every decoder layer and clip at once, and in which frames.

    The cost of a pair is the mean over frames of ``class_cost`` * -probability, ``box_cost`` * mean absolute difference
    of the coordinates and ``iou_cost`` * -IoU. ``frames``: "all" takes the mean over the clip, where an absent instance
    counts with label 0 and whatever box its row holds; "present" over the frames that have the instance.
    ``validity``: "matched" supervises a slot in the frames that have its instance; "released" in the frames that have
    instance number r, where r is the slot's rank among the matched slots.
    """

    def __init__(
        self,
        *,
        class_cost: float,
        box_cost: float,
        iou_cost: float,
        frames: str = "all",
        validity: str = "matched",
        iou_eps: float = 1e-6,
    ):
        super().__init__()
        self.class_cost, self.box_cost, self.iou_cost = class_cost, box_cost, iou_cost
        self.present_frames_only = frames == "present"
        self.by_rank = validity == "released"
        self.iou_eps = iou_eps

    def cost(self, logits, boxes, labels, target_boxes, present):
        """logits [P,Q,T,K], boxes [P,Q,T,4], labels [P,N,T], target_boxes [P,N,T,4], present [P,N,T] -> [P,Q,N]"""
        probabilities = ops.softmax(logits, axis=-1).swapaxes(1, 2)  # [P, T, Q, K]
        boxes, target_boxes = boxes.swapaxes(1, 2), target_boxes.swapaxes(1, 2)
        # PARITY(vistr): the plain IoU, not the generalised one, and the mean of the coordinates, not their sum.
        cost = (
            self.class_cost * probability_cost(probabilities, labels.swapaxes(1, 2))
            + self.box_cost * l1_box_cost(boxes, target_boxes) / COORDINATES
            + self.iou_cost * iou_cost(boxes, target_boxes, eps=self.iou_eps)
        )  # [P, T, Q, N]
        if not self.present_frames_only:
            return cost.mean(axis=1)
        weight = present.astype(ms.float32).swapaxes(1, 2).expand_dims(2)  # [P, T, 1, N]
        return (cost * weight).sum(axis=1) / ops.maximum(weight.sum(axis=1), ops.ones((1,), ms.float32))

    def construct(self, logits, boxes, labels, target_boxes, present, exists):
        """logits [L,B,Q,T,K], boxes [L,B,Q,T,4], labels [B,N,T], target_boxes [B,N,T,4], present [B,N,T], exists [B,N]

        -> slot int32 [L,B,N] (-1: none) and supervised bool [L,B,N,T]
        """
        L, B, Q, T, K = logits.shape
        N = labels.shape[1]
        problems = L * B
        repeated = []
        for target in (labels, target_boxes, present, exists):
            target = ops.broadcast_to(target.expand_dims(0), (L, *target.shape))
            repeated.append(target.reshape(problems, *target.shape[2:]))
        labels, target_boxes, present, exists = repeated
        cost = self.cost(
            ops.stop_gradient(logits).reshape(problems, Q, T, K),
            ops.stop_gradient(boxes).reshape(problems, Q, T, COORDINATES),
            labels,
            target_boxes,
            present,
        )
        slot = assignment(cost, exists)  # [P, N]
        matched = slot >= 0
        if self.by_rank:
            # PARITY(vistr): the released matcher looks the frames up in the row of the slot's rank.
            before = ops.logical_and(slot.expand_dims(1) < slot.expand_dims(2), matched.expand_dims(1))
            rank = before.astype(ms.int32).sum(axis=-1)  # [P, N]
            present = ops.bmm(ops.one_hot(rank, N).astype(ms.float32), present.astype(ms.float32)) > 0.5
        supervised = ops.logical_and(present, matched.expand_dims(-1))
        return slot.reshape(L, B, N), supervised.reshape(L, B, N, T)
