"""SeqFormer on a clip with targets: forward, matching of every decoder layer, and every loss term, in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.clip_queries import MatchedClip, match_clip
from mindvideo.modules.encoded_training import EncodedTraining
from mindvideo.modules.training_parts import Tensors, TrainingClip
from mindvideo.modules.values import Targets


class SeqFormerTraining(EncodedTraining):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames; ``matcher`` and ``criterion`` as :class:`Matcher` and :class:`Criterion`.
    """

    def __init__(self, *, network: SeqFormer, pixels: nn.Cell, matcher: nn.Cell, criterion: nn.Cell) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.criterion = matcher, criterion
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
        return self.losses(self.predict(frames, padding, sizes, targets), targets)

    def losses(self, clip: MatchedClip, targets: Targets) -> tuple[ms.Tensor, ms.Tensor]:
        """(total [], terms [n])."""
        return self.criterion(clip["predictions"], targets, clip["query"], clip["masks"])

    def predict(self, frames: ms.Tensor, padding: ms.Tensor, sizes: ms.Tensor, targets: Targets) -> MatchedClip:
        """frames [B, T, 3, H, W], padding bool [B, T, H, W], sizes [B, 2] as (h, w)."""
        return match_clip(self.network, self.matcher, self.network.encode(frames, padding), sizes, targets)

    def learn(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """As ``construct``, from what :meth:`encode` gave."""
        encoded, targets = self.encoded(values, clip), clip["targets"]
        total, terms = self.losses(match_clip(self.network, self.matcher, encoded, clip["sizes"], targets), targets)
        return total, terms, ()
