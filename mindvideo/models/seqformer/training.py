"""SeqFormer on a clip with targets: forward, matching of every decoder layer, and every loss term, in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.encoded_frames import per_frame
from mindvideo.ops.assignment import matched_rows, values_of


class SeqFormerTraining(nn.Cell):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames; ``matcher`` and ``criterion`` as :class:`ClipSetMatcher` and
    :class:`ClipSetCriterion`; ``reduce_count`` averages the number of instances over the processes of a run.
    """

    def __init__(
        self, *, network: SeqFormer, pixels: nn.Cell, matcher: nn.Cell, criterion: nn.Cell, reduce_count: nn.Cell
    ) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion, self.reduce_count = matcher, criterion, reduce_count
        self.term_names = criterion.term_names

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        frames, padding = self.pixels(images, sizes)
        predictions = self.predict(frames, padding, sizes, labels, boxes, present, exists)
        return self.losses(predictions, labels, boxes, masks, present, exists)

    def losses(self, predictions, labels, boxes, masks, present, exists):
        masks = ops.cast(masks, ms.float32)
        targets = (labels, boxes, masks.reshape(*masks.shape[:3], -1), present, exists)
        count = self.reduce_count(ops.cast(exists, ms.float32).sum())
        return self.criterion(predictions, targets, ops.maximum(count, ms.Tensor(1.0, ms.float32)))

    def predict(self, frames, padding, sizes, labels, boxes, present, exists):
        """What the criterion takes: of boxes and masks those of the matched queries alone."""
        network = self.network
        B, T = frames.shape[:2]
        contents, all_boxes, references, features = network.decode(frames, padding)
        D = len(contents)
        logits, predicted = (), ()
        for layer in range(D):
            logits += (network.class_embed[layer](contents[layer]),)
            predicted += (all_boxes[layer].reshape(B, T, *all_boxes[layer].shape[1:]),)
        logits, predicted = ops.stack(logits, 0), ops.stack(predicted, 0)  # [D, B, Q, K], [D, B, T, Q, 4]
        query = self.matcher(logits, predicted, labels, boxes, exists, present)  # [D, B, N]
        matched_boxes, masks = (), ()
        for layer in range(D):
            rows = matched_rows(query[layer], network.num_queries)  # [B, N, Q]
            of_frames = per_frame(rows, T)  # [B * T, N, Q]
            matched_boxes += (values_of(of_frames, all_boxes[layer]).reshape(B, T, -1, 4),)
            content = per_frame(values_of(rows, contents[layer]), T)
            reference = values_of(of_frames, references[layer])
            masks += (self.mask_logits(features, content, reference, sizes),)
        return logits, ops.stack(matched_boxes, 0), ops.stack(masks, 0), query

    def mask_logits(self, features, content, reference, sizes):
        """features [B, T, c, H8, W8], content [B * T, N, C], reference [B * T, N, 2 or 4] -> [B, N, T, P]."""
        B, T = features.shape[:2]
        masks = self.network.masks(
            features.reshape(B * T, *features.shape[2:]), content, reference, per_frame(sizes, T)
        )
        return masks.reshape(B, T, masks.shape[1], -1).swapaxes(1, 2)
