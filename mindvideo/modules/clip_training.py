"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.losses.matched import of_instances, rows_of
from mindvideo.modules.values import Targets
from mindvideo.ops.slices import at, part


class ClipTraining(nn.Cell):
    """The training graph of a network that decodes whole clips: columns of a ClipBatch -> total [], terms [n].

    The terms are in the order of ``term_names``. Masks are made of the queries that carry an instance in the last
    decoder layer, of no others.
    """

    def __init__(self, *, pixels: nn.Cell, network: nn.Cell, matcher: nn.Cell, criterion: nn.Cell):
        super().__init__(auto_prefix=False)
        self.pixels = pixels
        self.network = network
        self.matcher = matcher
        self.criterion = criterion
        self.term_names = criterion.term_names

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        frames, padding = self.pixels(images, sizes)
        targets: Targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.loss(frames, padding, targets)

    def loss(self, frames: ms.Tensor, padding: ms.Tensor, targets: Targets) -> tuple[ms.Tensor, ms.Tensor]:
        """As ``construct``, from normalised frames [B, T, 3, H, W] and padding bool [B, T, H, W]."""
        present = ops.logical_and(targets["present"], targets["exists"].expand_dims(-1))
        targets = {
            "labels": targets["labels"],
            "boxes": targets["boxes"],
            "masks": targets["masks"],
            "present": present,
            "exists": targets["exists"],
        }
        clip = self.network.decode(frames, padding)
        trained = self.criterion.num_layers  # fewer than the decoder's when the earlier layers are not trained
        predictions = {"logits": part(clip["logits"], 0, -trained), "boxes": part(clip["boxes"], 0, -trained)}
        query = self.matcher(predictions, targets)  # int [D, B, N]
        mask_logits = None
        if self.network.mask_branch is not None:
            rows = rows_of(part(query, 0, -1), clip["queries"].shape[1])
            # [B, N, T, C], zeros without an instance
            queries = at(of_instances(rows, clip["queries"].expand_dims(0)), 0, 0)
            mask_logits = self.network.mask_branch(queries, clip["scene"]).expand_dims(0)
        return self.criterion(predictions, targets, query, mask_logits)
