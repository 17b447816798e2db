"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops


class SlotTraining(nn.Cell):
    """The training graph of a network whose slots each follow one instance through the clip.

    ``network`` gives logits [L,B,Q,T,K], boxes [L,B,Q,T,4] and, unless it only boxes, mask logits [B,Q,T,h,w].
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
        mask_logits = None
        if self.has_masks:
            logits, predicted, mask_logits = self.network(frames, padding)
        else:
            logits, predicted = self.network(frames, padding)
        layers = self.criterion.num_layers  # fewer than the decoder's when the earlier ones are not trained
        logits, predicted = logits[-layers:], predicted[-layers:]
        present = ops.logical_and(present, exists.expand_dims(-1))
        # In a frame without the instance its label is 0, for the costs as for the released matcher's rows.
        frame_labels = labels.astype(ms.int32).expand_dims(-1) * present.astype(ms.int32)  # [B, N, T]
        slot, supervised = self.matcher(logits, predicted, frame_labels, boxes, present, exists)
        return self.criterion(logits, predicted, mask_logits, frame_labels, boxes, masks, slot, supervised, exists)
