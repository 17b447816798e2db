"""The terms of a criterion's table: each takes a :class:`Matched` and gives the sum over its rows, one a layer, [D].

A row is an instance in a frame, or an instance in the clip for the terms of tubes; rows of padding and frames that are
not supervised count 0. What the sum is divided by is said in the table.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.modules.losses.box import giou_loss_per_box, l1_per_box
from mindvideo.modules.losses.classification import weighted_softmax_cross_entropy
from mindvideo.modules.losses.contrastive import supervised_contrastive
from mindvideo.modules.losses.mask import dice_per_mask, focal_per_mask, sigmoid_focal
from mindvideo.modules.losses.matched import Matched
from mindvideo.ops.slices import swapped


def softmax_classes(m: Matched, *, no_object_weight: float) -> ms.Tensor:
    """Cross-entropy of every query in every frame, the last class being "no object"; a weighted mean, not a sum."""
    D, B, Q, T, K = m["logits"].shape
    queries = swapped(m["rows"], 2, 3)  # [D, B, Q, N]
    occupied = ops.matmul(queries, m["supervised"])  # [D, B, Q, T]
    classes = ops.matmul(queries, labels_of_frames(m) * m["supervised"]) + (1.0 - occupied) * (K - 1)
    weights = ops.concat((ops.ones((K - 1,), ms.float32), ops.full((1,), no_object_weight, dtype=ms.float32)))
    rows = Q * T * B
    return weighted_softmax_cross_entropy(m["logits"].reshape(D, rows, K), ops.round(classes).reshape(D, rows), weights)


def focal_classes(m: Matched, *, of_clip: bool = False) -> ms.Tensor:
    """Sigmoid focal loss of every query; ``of_clip``: a query has one class for all frames.

    A query is taught the class of the instance it was matched to, where that is supervised; everything else: nothing.
    """
    shown = m["taken"].expand_dims(-1) if of_clip else m["supervised"]  # [D, B, N, T or 1]
    classes = ops.cast(
        ops.one_hot(ops.cast(m["targets"]["labels"], ms.int32), m["logits"].shape[-1]), ms.float32
    )  # [B, N, K]
    of_frame = swapped(m["rows"], 2, 3).expand_dims(3) * swapped(shown, 2, 3).expand_dims(2)  # [D, B, Q, T, N]
    D, B, Q, T, N = of_frame.shape
    target = ops.matmul(of_frame.reshape(D, B, Q * T, N), classes)  # [D, B, Q * T, K]
    return ops.sum(sigmoid_focal(m["logits"].reshape(target.shape), target), (1, 2, 3))


def l1_boxes(m: Matched) -> ms.Tensor:
    """The sum of the absolute differences of the four coordinates."""
    return ops.sum(l1_per_box(m["boxes"], m["targets"]["boxes"].expand_dims(0)) * m["supervised"], (1, 2, 3))


def giou_boxes(m: Matched, *, eps: float = 0.0) -> ms.Tensor:
    """1 - GIoU; ``eps`` as in :mod:`mindvideo.ops.boxes`."""
    target = ops.broadcast_to(m["targets"]["boxes"].expand_dims(0), m["boxes"].shape)
    return ops.sum(giou_loss_per_box(m["boxes"], target, eps=eps) * m["supervised"], (1, 2, 3))


def focal_masks(m: Matched, *, alpha: float = 0.25, gamma: float = 2.0, empty_frames: bool = False) -> ms.Tensor:
    """Focal loss, the mean over the pixels of a frame; ``empty_frames``: empty masks are taught as well.

    Those are the masks of the frames of a matched instance in which it is absent.
    """
    predicted, target = pixels(m)
    loss = focal_per_mask(predicted, target, alpha=alpha, gamma=gamma).reshape(m["supervised"].shape)
    return ops.sum(loss * (m["taken"].expand_dims(-1) if empty_frames else m["supervised"]), (1, 2, 3))


def dice_masks(m: Matched) -> ms.Tensor:
    """1 - dice of a frame's mask."""
    predicted, target = pixels(m)
    return ops.sum(dice_per_mask(predicted, target).reshape(m["supervised"].shape) * m["supervised"], (1, 2, 3))


def focal_tubes(m: Matched) -> ms.Tensor:
    """Focal loss, the mean over the pixels of all frames."""
    predicted, target = tubes(m)
    return ops.sum(focal_per_mask(predicted, target) * m["taken"], (1, 2))


def dice_tubes(m: Matched) -> ms.Tensor:
    """1 - dice of the masks of all frames taken as one."""
    predicted, target = tubes(m)
    return ops.sum(dice_per_mask(predicted, target) * m["taken"], (1, 2))


def contrast(m: Matched) -> ms.Tensor:
    """Supervised contrastive loss of ``m["extra"]``: features [B, S, C] and identities int [B, S]; over the samples."""
    features, identities = m["extra"]["features"], m["extra"]["identities"]
    return (ops.sum(supervised_contrastive(features, identities)) / identities.shape[1]).reshape(1)


def class_error(m: Matched) -> ms.Tensor:
    """Percentage of supervised rows whose best class is wrong; 100 when there is none."""
    best = ops.matmul(m["rows"], ops.cast(m["logits"].argmax(axis=-1), ms.float32))  # [D, B, N, T]
    right = ops.sum(ops.cast(ops.abs(best - labels_of_frames(m)) < 0.5, ms.float32) * m["supervised"], (1, 2, 3))
    total = ops.sum(m["supervised"], (1, 2, 3))
    return 100.0 - 100.0 * right / ops.maximum(total, ops.ones_like(total))


def cardinality_error(m: Matched) -> ms.Tensor:
    """Difference between the rows that are not "no object" and the rows of the targets, mean over the clips."""
    D, B, _, T, K = m["logits"].shape
    objects = ops.sum(ops.cast(m["logits"].argmax(axis=-1) != K - 1, ms.float32).reshape(D, B, -1), -1)
    instances = ops.sum(ops.cast(m["targets"]["exists"], ms.float32), -1)  # [B]
    return ops.abs(objects - instances * T).mean(axis=-1)


def labels_of_frames(m: Matched) -> ms.Tensor:
    """float [B, N, T]: in a frame without the instance its label is 0."""
    return ops.cast(m["targets"]["labels"], ms.float32).expand_dims(-1) * ops.cast(m["targets"]["present"], ms.float32)


def pixels(m: Matched) -> tuple[ms.Tensor, ms.Tensor]:
    """Predicted masks, a row a frame, [D, B*N*T, P], and targets [B*N*T, P]; of one layer both [B*N*T, P]."""
    D, B, N, T, h, w = m["masks"].shape
    target = m["target_masks"].reshape(B * N * T, h * w)
    if D == 1:  # two axes: reductions are faster
        return m["masks"].reshape(B * N * T, h * w), target
    return m["masks"].reshape(D, B * N * T, h * w), target


def tubes(m: Matched) -> tuple[ms.Tensor, ms.Tensor]:
    """Predicted masks, a row an instance, [D, B, N, T*P], and targets [B, N, T*P]."""
    D, B, N = m["masks"].shape[:3]
    return m["masks"].reshape(D, B, N, -1), m["target_masks"].reshape(B, N, -1)
