"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

from mindspore import nn, ops

from mindvideo.modules.losses.matched import of_instances, rows_of
from mindvideo.modules.values import Predictions, Targets


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
        targets = Targets(labels, boxes, masks, ops.logical_and(present, exists.expand_dims(-1)), exists)
        logits, predicted, queries, scene = self.network.before_masks(frames, padding)
        layers = self.criterion.num_layers  # fewer than the decoder's when the earlier ones are not trained
        predictions = Predictions(logits[-layers:], predicted[-layers:], None)
        query = self.matcher(predictions, targets)
        masks = None
        if self.has_masks:  # of the matched queries only
            rows = rows_of(query[-1:], logits.shape[2])
            queries = of_instances(rows, queries.swapaxes(1, 2).expand_dims(0))[0].swapaxes(1, 2)
            masks = self.network.masks(queries, scene).expand_dims(0)
        return self.criterion(predictions, targets, query, masks)
