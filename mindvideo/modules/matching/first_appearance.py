"""Matching on the frame in which an instance appears first; the pair holds in all frames of the clip."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.losses.point_sampling import softplus
from mindvideo.modules.matching.costs import score_of_label
from mindvideo.modules.values import Targets
from mindvideo.ops.assignment import assignment, matched_rows
from mindvideo.ops.slices import at, swapped

_products = ops.BatchMatMul()

TAKEN = 1.0e6  # the cost of a query that an earlier frame gave away


class FirstAppearanceMatcher(nn.Cell):
    """Frame after frame, the instances that appear first there are given the queries that are left.

    ``construct(logits [D, B, Q, T, K], point_logits [D, B, T, P, Q], point_targets [D, B, T, P, N], targets)`` gives
    the query of each instance, int32 [D, B, N], -1 for none. The cost of a pair is minus the class probability, the
    cross-entropy and the dice loss of the mask at the points, each times its weight. No gradient passes.
    """

    def __init__(self, *, class_weight: float, mask_weight: float, dice_weight: float) -> None:
        super().__init__()
        self.class_weight, self.mask_weight, self.dice_weight = class_weight, mask_weight, dice_weight

    def construct(
        self, logits: ms.Tensor, point_logits: ms.Tensor, point_targets: ms.Tensor, targets: Targets
    ) -> ms.Tensor:
        D, B, Q, T, _ = logits.shape
        N = targets["labels"].shape[1]
        cost = ops.stop_gradient(self.cost(logits, point_logits, point_targets, targets["labels"]))
        appears = self.appears(targets)
        query = ops.full((D * B, N), -1, dtype=ms.int32)
        taken = ops.zeros((D * B, Q, 1), ms.float32)
        for t in range(T):
            here = at(appears, 2, t).expand_dims(0).broadcast_to((D, B, N)).reshape(D * B, N)
            left = at(cost, 2, t).reshape(D * B, Q, N) * (1.0 - taken) + TAKEN * taken
            found = assignment(left, here)
            rows = matched_rows(found, Q)  # [D * B, N, Q]
            is_left = at(_products(rows, 1.0 - taken), 2, 0) > 0.5  # with more instances than queries, some get none
            query = ops.select(is_left.logical_and(here), found, query)
            taken = ops.maximum(taken, rows.max(axis=1).expand_dims(-1))
        return query.reshape(D, B, N)

    def appears(self, targets: Targets) -> ms.Tensor:
        """bool [B, N, T]: the first frame that shows the instance."""
        shown = ops.cast(ops.logical_and(targets["present"], targets["exists"].expand_dims(-1)), ms.float32)
        return ops.logical_and(shown > 0.5, ops.cumsum(shown, -1) < 1.5)

    def cost(
        self, logits: ms.Tensor, point_logits: ms.Tensor, point_targets: ms.Tensor, labels: ms.Tensor
    ) -> ms.Tensor:
        """[D, B, T, Q, N]."""
        P = point_logits.shape[3]
        probabilities = ops.softmax(swapped(logits, 2, 3), axis=-1)  # [D, B, T, Q, K]
        of_class = -score_of_label(probabilities, labels.expand_dims(1))
        masks = swapped(point_logits, 3, 4)  # [D, B, T, Q, P]
        of_mask = ops.sum(softplus(masks), -1).expand_dims(-1) - ops.matmul(masks, point_targets)
        chances = ops.sigmoid(masks)
        overlap = ops.matmul(chances, point_targets)
        size = ops.sum(chances, -1).expand_dims(-1) + ops.sum(point_targets, 3).expand_dims(3)
        of_dice = 1.0 - (2.0 * overlap + 1.0) / (size + 1.0)
        return self.class_weight * of_class + self.mask_weight * (of_mask / P) + self.dice_weight * of_dice
