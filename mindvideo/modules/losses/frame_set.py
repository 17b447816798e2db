"""The losses of a set of queries on every frame of a clip, for all decoder layers at once."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.losses.box import giou_loss_per_box, l1_per_box
from mindvideo.modules.losses.contrastive import supervised_contrastive
from mindvideo.modules.losses.mask import dice_per_mask, focal_per_mask, sigmoid_focal

LAYER_TERMS = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice")
CONTRASTIVE_TERM = "loss_contrastive"


def term_names(num_layers: int, *, contrastive: bool) -> tuple[str, ...]:
    """Names of the terms: the last layer's, then the earlier layers' with their number behind."""
    names = list(LAYER_TERMS)
    for layer in range(num_layers - 1):
        names += [f"{name}_{layer}" for name in LAYER_TERMS]
    return tuple(names + [CONTRASTIVE_TERM] * contrastive)


class FrameSetCriterion(nn.Cell):
    """Classification of all queries; boxes and masks of the matched ones; optionally the contrastive term.

    ``weights`` in the order of ``LAYER_TERMS``, the same for every layer. ``absent_as_positive``: an instance that is
    not on a frame is still taught there, with its class, a speck of a box and an empty mask, as the published models
    were; otherwise its query should then be no object with an empty mask.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        class_weight: float,
        box_weight: float,
        giou_weight: float,
        mask_weight: float,
        dice_weight: float,
        contrastive_weight: float = 0.0,
        absent_as_positive: bool = True,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.contrastive = contrastive_weight > 0.0
        self.absent_as_positive = absent_as_positive
        self.term_names = term_names(num_layers, contrastive=self.contrastive)
        layer_weights = [class_weight, box_weight, giou_weight, mask_weight, dice_weight]
        weights = layer_weights * num_layers + [contrastive_weight] * self.contrastive
        self.weights = ms.Tensor(weights, ms.float32)

    def construct(self, predictions, targets, num_instances, samples):
        """(total [], terms [n]), the terms before their weights.

        ``predictions``: logits [D, B, T, Q, K]; boxes [D, B, T, N, 4] and mask logits [D, B, T, N, P] of the queries
        matched; query_of_instance int [D, B, N]. ``targets``: labels [B, N], boxes [B, N, T, 4], masks [B, N, T, P]
        float 0/1, present [B, N, T], exists [B, N]. ``num_instances`` []: what the sums are divided by. ``samples``:
        features [B, T * M, C] and identities [B, T * M] for the contrastive term, or None.
        """
        logits, boxes, masks, query_of_instance = predictions
        labels, target_boxes, target_masks, present, exists = targets
        rows = (
            ops.cast(exists, ms.float32).expand_dims(1).broadcast_to((boxes.shape[1], boxes.shape[2], boxes.shape[3]))
        )
        shown = rows if self.absent_as_positive else rows * ops.cast(present.swapaxes(1, 2), ms.float32)  # [B, T, N]
        scale = 1.0 / (num_instances * boxes.shape[2])
        box_terms = self.box_terms(boxes, target_boxes.transpose(0, 2, 1, 3), shown, scale)
        mask_terms = self.mask_terms(masks, target_masks.transpose(0, 2, 1, 3), rows, shown, scale)
        terms = self.in_order(
            (self.class_term(logits, query_of_instance, labels, shown, scale), *box_terms, *mask_terms)
        )
        if self.contrastive:
            features, identities = samples
            contrast = supervised_contrastive(features, identities).sum() / identities.shape[1]
            terms = ops.cat((terms, contrast.reshape(1)), 0)
        return (terms * self.weights).sum(), terms

    def in_order(self, per_layer):
        """Terms of [D] each, in the order of ``LAYER_TERMS`` -> [5 * D] in the order of ``term_names``."""
        by_layer = ops.stack(per_layer, -1)  # [D, 5]
        last = self.num_layers - 1
        return ops.cat((by_layer[last], by_layer[:last].reshape(-1)), 0)

    def class_term(self, logits, query_of_instance, labels, shown, scale):
        """[D]. A query is taught the class of the instances it was matched to, every other class and query: nothing."""
        Q, K = logits.shape[-2:]
        queries = ops.one_hot(query_of_instance.astype(ms.int32), Q).astype(ms.float32)  # [D, B, N, Q]
        classes = ops.one_hot(labels.astype(ms.int32), K).astype(ms.float32)  # [B, N, K]
        of_frame = queries.swapaxes(-1, -2).expand_dims(2) * shown.expand_dims(2).expand_dims(0)  # [D, B, T, Q, N]
        target = ops.matmul(of_frame, classes.expand_dims(1))  # [D, B, T, Q, K]
        return sigmoid_focal(logits, target).sum((1, 2, 3, 4)) * scale

    def box_terms(self, boxes, targets, shown, scale):
        """boxes [D, B, T, N, 4], targets [B, T, N, 4] -> two of [D]."""
        targets = targets.expand_dims(0).broadcast_to(boxes.shape)
        distance = (l1_per_box(boxes, targets) * shown).sum((1, 2, 3)) * scale
        overlap = (giou_loss_per_box(boxes, targets) * shown).sum((1, 2, 3)) * scale
        return distance, overlap

    def mask_terms(self, masks, targets, rows, shown, scale):
        """masks [D, B, T, N, P], targets [B, T, N, P] -> two of [D]."""
        targets = targets.expand_dims(0)
        focal = (focal_per_mask(masks, targets) * rows).sum((1, 2, 3)) * scale
        dice = (dice_per_mask(masks, targets) * shown).sum((1, 2, 3)) * scale
        return focal, dice


class ClipSetCriterion(FrameSetCriterion):
    """The same losses where a query holds its instance for the whole clip.

    The class is one, and the mask is one tube: both as on a clip of a single frame. Boxes count by frame.
    ``absent_as_positive`` concerns boxes alone; an instance that is not on a frame has an empty mask there.
    """

    def construct(self, predictions, targets, num_instances):
        """(total [], terms [n]), the terms before their weights.

        ``predictions``: logits [D, B, Q, K]; boxes [D, B, T, N, 4] and mask logits [D, B, N, T, P] of the queries
        matched; query_of_instance int [D, B, N]. ``targets`` and ``num_instances`` as above.
        """
        logits, boxes, masks, query_of_instance = predictions
        labels, target_boxes, target_masks, present, exists = targets
        D, B, T, N, _ = boxes.shape
        rows = ops.cast(exists, ms.float32).expand_dims(1)  # [B, 1, N]
        of_frames = rows.broadcast_to((B, T, N))
        shown = of_frames if self.absent_as_positive else of_frames * ops.cast(present.swapaxes(1, 2), ms.float32)
        scale = 1.0 / num_instances
        class_term = self.class_term(logits.expand_dims(2), query_of_instance, labels, rows, scale)
        box_terms = self.box_terms(boxes, target_boxes.transpose(0, 2, 1, 3), shown, scale / T)
        tubes, target_tubes = masks.reshape(D, B, 1, N, -1), target_masks.reshape(B, 1, N, -1)
        mask_terms = self.mask_terms(tubes, target_tubes, rows, rows, scale)
        terms = self.in_order((class_term, *box_terms, *mask_terms))
        return (terms * self.weights).sum(), terms
