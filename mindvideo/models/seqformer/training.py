"""SeqFormer on a clip with targets: forward, matching of every decoder layer, and every loss term, in one graph."""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.encoded_frames import class_logits
from mindvideo.modules.losses.matched import of_instances, rows_of
from mindvideo.modules.values import Predictions, Targets


class MatchedClip(TypedDict):
    """A clip as the criterion takes it."""

    predictions: Predictions  # masks are made for the matched queries only, so not here
    query: ms.Tensor  # int [D, B, N], of each instance; -1 for none
    masks: ms.Tensor  # logits [D, B, N, T, h, w], of the matched queries


class SeqFormerTraining(nn.Cell):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames; ``matcher`` and ``criterion`` as :class:`Matcher` and :class:`Criterion`.
    """

    def __init__(self, *, network: SeqFormer, pixels: nn.Cell, matcher: nn.Cell, criterion: nn.Cell) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion = matcher, criterion
        self.term_names = criterion.term_names

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        frames, padding = self.pixels(images, sizes)
        targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.losses(self.predict(frames, padding, sizes, targets), targets)

    def losses(self, clip: MatchedClip, targets: Targets):
        """(total [], terms [n])."""
        return self.criterion(clip["predictions"], targets, clip["query"], clip["masks"])

    def predict(self, frames, padding, sizes, targets: Targets) -> MatchedClip:
        """frames [B, T, 3, H, W], padding bool [B, T, H, W], sizes [B, 2] as (h, w)."""
        network = self.network
        encoded = network.encode(frames, padding)
        decoding = network.decode(encoded)
        content, points = decoding["content"], decoding["points"]
        logits = class_logits(network.class_embed, content).expand_dims(3)  # [D, B, Q, 1, K]
        predictions = {"logits": logits, "boxes": decoding["boxes"]}
        query = self.matcher(predictions, targets)
        rows = rows_of(query, content.shape[2])  # [D, B, N, Q]
        content, points = of_instances(rows, content), of_instances(rows, points)
        masks = ()
        for layer in range(query.shape[0]):
            masks += (network.masks(encoded["mask_features"], content[layer], points[layer], sizes),)
        return {"predictions": predictions, "query": query, "masks": ops.stack(masks, 0)}
