"""A second player in the training graph: it learns against the network, from a loss and with an optimiser of its own.

A training network that has one (the discriminator of an adversarial loss) brings

* ``opponent``: a Cell with weights of its own; ``construct(*material)`` gives its loss [] and values [n] to be shown,
  named by ``value_names``, of which the first is that loss;
* ``play``: as its ``construct``, and after total and terms the material, a tuple of tensors.

The network's gradient does not reach the opponent's weights, nor the opponent's the network's.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from mindvideo.training.distributed import MeanOverRanks, gradient_reducer
from mindvideo.training.gradients import PreparedGradients
from mindvideo.training.optimizer import GroupedOptimizer

OWNER = "opponent."  # begins the names of its optimiser's states


def player_of(training: nn.Cell) -> nn.Cell | None:
    """The opponent that a training network brings, if any."""
    return getattr(training, "opponent", None)


class Opponent(nn.Cell):
    """The opponent's half of a step, after the network's: material -> its values [n], and its update.

    Where its own loss or gradient is not finite, or the network's step is left out, it stays as it is to the bit.
    """

    def __init__(
        self, *, player: nn.Cell, optimizer: GroupedOptimizer, clip_norm: float = 0.0, accumulate: int = 1
    ) -> None:
        super().__init__(auto_prefix=False)
        self.optimizer, self.value_names = optimizer, tuple(player.value_names)
        self.weights = optimizer.parameters
        self.differentiate = ops.value_and_grad(player, None, self.weights, has_aux=True)
        self.prepare = PreparedGradients(self.weights, clip_norm=clip_norm, accumulate=accumulate, owner=OWNER)
        self.reduce_gradients = gradient_reducer(self.weights)
        self.mean_over_ranks = MeanOverRanks()
        self.one = Tensor(1.0, ms.float32)

    def construct(
        self, material: tuple[ms.Tensor, ...], factor: ms.Tensor, finite: ms.Tensor, after: Any
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """``factor`` as in the optimiser; ``finite`` bool [], of the network's step; ``after``: what comes before."""
        material = (ops.depend(material[0], after), *material[1:])
        (loss, values), gradients = self.differentiate(*material)
        gradients = self.reduce_gradients(gradients)
        squares = self.prepare.squared_norms(gradients)
        values = self.mean_over_ranks(values)
        own = ops.logical_and(ops.isfinite(ops.sum(squares)), ops.isfinite(ops.sum(values)))
        gradients, _, apply = self.prepare(gradients, squares, self.one, ops.logical_and(finite, own))
        return values, ops.depend(self.optimizer(gradients, factor, apply), loss)
