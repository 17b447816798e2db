"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.ops.assignment import matched_rows, values_of


class SlotTraining(nn.Cell):
    """The training graph of a network whose slots each follow one instance through the clip.

    The mask branch of ``network``, a SlotNetwork, runs on the slots that are matched.
    """

    def __init__(
        self, *, pixels: nn.Cell, network: nn.Cell, matcher: nn.Cell, criterion: nn.Cell, has_masks: bool = True
    ):
        super().__init__(auto_prefix=False)
        self.pixels = pixels
        self.network = network
        self.matcher = matcher
        self.criterion = criterion
        self.has_masks = has_masks
        self.term_names = criterion.term_names

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        """The columns of a ClipBatch -> total [], terms [n] in the order of ``term_names``"""
        frames, padding = self.pixels(images, sizes)
        return self.loss(frames, padding, labels, boxes, masks, present, exists)

    def loss(self, frames, padding, labels, boxes, masks, present, exists):
        """As ``construct``, from normalised frames [B,T,3,H,W] and padding [B,T,H,W]."""
        logits, predicted, queries, scene = self.network.before_masks(frames, padding)
        layers = self.criterion.num_layers  # fewer than the decoder's when the earlier ones are not trained
        logits, predicted = logits[-layers:], predicted[-layers:]
        present = ops.logical_and(present, exists.expand_dims(-1))
        # In a frame without the instance its label is 0, for the costs as for the released matcher's rows.
        frame_labels = labels.astype(ms.int32).expand_dims(-1) * present.astype(ms.int32)  # [B, N, T]
        slot, supervised = self.matcher(logits, predicted, frame_labels, boxes, present, exists)
        mask_logits = None
        if self.has_masks:
            mask_logits = self.network.masks(matched_queries(queries, slot[-1]), scene)
        return self.criterion(logits, predicted, mask_logits, frame_labels, boxes, masks, slot, supervised, exists)


def matched_queries(queries, slot):
    """queries [B,T,Q,C], slot int [B,N] -> the queries of each instance's slot [B,T,N,C]; zeros where it has none.

    Masks are trained on matched slots alone, so that no others are made.
    """
    return values_of(matched_rows(slot, queries.shape[2]), queries.swapaxes(1, 2)).swapaxes(1, 2)
