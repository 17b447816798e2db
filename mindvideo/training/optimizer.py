"""AdamW and SGD as Cells inside the training graph, equal to PyTorch's, with an update that can be held in place.

``construct(gradients, factor, apply)``: ``factor`` float32 [] multiplies every group's learning rate; of float32 [2],
the second is that of the groups that start late. ``apply`` float32 [] is 1 for an update and 0 for none. With 0 nothing
changes by a single bit, which is how the step leaves out a non-finite update, or waits for more gradients, without a
branch in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindvideo.errors import UserError
from mindvideo.ops.slices import at
from mindvideo.training.parameter_groups import AssignedGroup, ParameterGroup

__all__ = ["SGD", "AdamW", "ParameterGroup", "build_optimizer"]


def zeros_for(parameters: Sequence[Parameter], prefix: str) -> ParameterTuple:
    """One float32 zero state per parameter, named after it."""
    return ParameterTuple(
        Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"{prefix}.{p.name}", requires_grad=False)
        for p in parameters
    )


# Per-parameter work goes through HyperMap: a Python loop that builds a tuple costs the compiler tens of seconds. Plain
# functions are mapped, which do all for one parameter and call primitives: the fewest nodes for each of hundreds.
_assign, _times, _plus = ops.Assign(), ops.Mul(), ops.Add()


def _adamw(
    fused: ops.Primitive, power1: ms.Tensor, power2: ms.Tensor, rate: ms.Tensor, beta1: ms.Tensor, beta2: ms.Tensor,
    eps: ms.Tensor, parameter: ms.Tensor, first: ms.Tensor, second: ms.Tensor, gradient: ms.Tensor,
) -> ms.Tensor:  # fmt: skip
    return fused(parameter, first, second, power1, power2, rate, beta1, beta2, eps, gradient)


def _decayed_adamw(
    keep: ms.Tensor, fused: ops.Primitive, power1: ms.Tensor, power2: ms.Tensor, rate: ms.Tensor, beta1: ms.Tensor,
    beta2: ms.Tensor, eps: ms.Tensor, parameter: ms.Tensor, first: ms.Tensor, second: ms.Tensor, gradient: ms.Tensor,
) -> ms.Tensor:  # fmt: skip
    _assign(parameter, _times(parameter, keep))
    return fused(parameter, first, second, power1, power2, rate, beta1, beta2, eps, gradient)


def _sgd(
    fused: ops.Primitive, rate: ms.Tensor, momentum: ms.Tensor, parameter: ms.Tensor, velocity: ms.Tensor,
    gradient: ms.Tensor,
) -> ms.Tensor:  # fmt: skip
    return fused(parameter, velocity, rate, gradient, momentum)


def _decayed_sgd(
    decay: ms.Tensor, fused: ops.Primitive, rate: ms.Tensor, momentum: ms.Tensor, parameter: ms.Tensor,
    velocity: ms.Tensor, gradient: ms.Tensor,
) -> ms.Tensor:  # fmt: skip
    return fused(parameter, velocity, rate, _plus(gradient, _times(parameter, decay)), momentum)


class GroupedOptimizer(nn.Cell):
    """Parameters of all groups in one row, a group next to the other; gradients come in the same order.

    ``owner`` begins the names of the states, where a step has several optimisers.
    """

    def __init__(self, groups: Sequence[AssignedGroup], *, owner: str = "") -> None:
        super().__init__(auto_prefix=False)
        self.owner = owner
        groups = [group for group in groups if group.parameters]
        self.parameters = ParameterTuple([p for group in groups for p in group.parameters])
        names = [p.name for p in self.parameters]
        if len(names) != len(set(names)) or not names:
            raise UserError(f"the optimiser needs parameters with names of their own, got {len(names)} names")
        self.learning_rates = [group.learning_rate for group in groups]
        self.weight_decays = [group.weight_decay for group in groups]
        self.late = [int(group.late) for group in groups]
        ends = np.cumsum([len(group.parameters) for group in groups]).tolist()
        self.ranges = list(zip([0, *ends[:-1]], ends))

    def updates_of_groups(self, update: type[nn.Cell], *states: ParameterTuple) -> nn.CellList:
        """An ``update`` for each group, made with its parameters, their ``states`` and its weight decay."""
        updates = []
        for (start, end), decay in zip(self.ranges, self.weight_decays):
            rows = [ParameterTuple(row[start:end]) for row in (self.parameters, *states)]
            updates.append(update(*rows, weight_decay=decay))
        return nn.CellList(updates, auto_prefix=False)

    def gradients_of(self, gradients: tuple[ms.Tensor, ...], group: int) -> tuple[ms.Tensor, ...]:
        """Those of one group."""
        if len(self.ranges) == 1:
            return gradients
        start, end = self.ranges[group]
        return gradients[start:end]

    def factor_of(self, factor: ms.Tensor, group: int) -> ms.Tensor:
        """The factor on a group's rate; ``factor`` is one for all, or [2]: the others' and that of late ones."""
        return at(factor, 0, self.late[group]) if factor.ndim else factor


class _AdamWGroup(nn.Cell):
    """Updates the parameters of one group, all at the same ``rate``."""

    def __init__(
        self,
        parameters: ParameterTuple,
        first_moment: ParameterTuple,
        second_moment: ParameterTuple,
        *,
        weight_decay: float,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.parameters, self.first_moment, self.second_moment = parameters, first_moment, second_moment
        self.weight_decay = weight_decay
        self.decays = weight_decay > 0
        self.fused = ops.Adam()
        self.map = ops.HyperMap()

    def construct(
        self, gradients: tuple[ms.Tensor, ...], rate: ms.Tensor, power1: ms.Tensor, power2: ms.Tensor,
        beta1: ms.Tensor, beta2: ms.Tensor, eps: ms.Tensor,
    ) -> tuple[ms.Tensor, ...]:  # fmt: skip
        if self.decays:
            keep = 1.0 - rate * self.weight_decay
            update = ops.partial(_decayed_adamw, keep, self.fused, power1, power2, rate, beta1, beta2, eps)
        else:
            update = ops.partial(_adamw, self.fused, power1, power2, rate, beta1, beta2, eps)
        return self.map(update, self.parameters, self.first_moment, self.second_moment, gradients)


class AdamW(GroupedOptimizer):
    """Adam with bias correction and decoupled weight decay, as ``torch.optim.AdamW`` computes it."""

    def __init__(
        self,
        groups: Sequence[AssignedGroup],
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        owner: str = "",
    ) -> None:
        super().__init__(groups, owner=owner)
        self.beta1 = Tensor(beta1, ms.float32)
        self.beta2 = Tensor(beta2, ms.float32)
        self.one = Tensor(1.0, ms.float32)
        self.eps = eps
        self.first_moment = zeros_for(self.parameters, f"{owner}adamw.first_moment")
        self.second_moment = zeros_for(self.parameters, f"{owner}adamw.second_moment")
        self.groups = self.updates_of_groups(_AdamWGroup, self.first_moment, self.second_moment)
        self.updates = Parameter(Tensor(0.0, ms.float32), name=f"{owner}adamw.updates", requires_grad=False)

    def construct(self, gradients: tuple[ms.Tensor, ...], factor: ms.Tensor, apply: ms.Tensor) -> ms.Tensor:
        updates = ops.depend(self.updates + apply, gradients)
        ops.assign(self.updates, updates)
        # At least one, so that a first step which is left out corrects by no 0/0.
        corrected = ops.maximum(updates, self.one)
        power1 = ops.pow(self.beta1, corrected)
        power2 = ops.pow(self.beta2, corrected)
        # betas of 1 and a rate of 0 leave moments and parameters as they are, to the bit.
        beta1 = self.one + apply * (self.beta1 - self.one)
        beta2 = self.one + apply * (self.beta2 - self.one)
        # The fused kernel divides by sqrt(v) + eps before the bias correction; PyTorch corrects v first.
        eps = self.eps * ops.sqrt(self.one - power2)
        for index, update in enumerate(self.groups):
            rate = self.factor_of(factor, index) * apply * self.learning_rates[index]
            update(self.gradients_of(gradients, index), rate, power1, power2, beta1, beta2, eps)
        return updates


class _SgdGroup(nn.Cell):
    """Updates the parameters of one group, all at the same ``rate``."""

    def __init__(self, parameters: ParameterTuple, velocity: ParameterTuple, *, weight_decay: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters, self.velocity = parameters, velocity
        self.weight_decay = weight_decay
        self.decays = weight_decay > 0
        self.fused = ops.ApplyMomentum()
        self.map = ops.HyperMap()

    def construct(
        self, gradients: tuple[ms.Tensor, ...], rate: ms.Tensor, momentum: ms.Tensor, apply: ms.Tensor
    ) -> tuple[ms.Tensor, ...]:
        if self.decays:
            update = ops.partial(_decayed_sgd, apply * self.weight_decay, self.fused, rate, momentum)
        else:
            update = ops.partial(_sgd, self.fused, rate, momentum)
        return self.map(update, self.parameters, self.velocity, gradients)


class SGD(GroupedOptimizer):
    """Stochastic gradient descent with momentum and coupled weight decay, as ``torch.optim.SGD`` computes it."""

    def __init__(self, groups: Sequence[AssignedGroup], *, momentum: float = 0.9, owner: str = "") -> None:
        super().__init__(groups, owner=owner)
        self.momentum = Tensor(momentum, ms.float32)
        self.one = Tensor(1.0, ms.float32)
        self.velocity = zeros_for(self.parameters, f"{owner}sgd.velocity")
        self.groups = self.updates_of_groups(_SgdGroup, self.velocity)

    def construct(self, gradients: tuple[ms.Tensor, ...], factor: ms.Tensor, apply: ms.Tensor) -> ms.Tensor:
        momentum = self.one + apply * (self.momentum - self.one)
        for index, update in enumerate(self.groups):
            rate = self.factor_of(factor, index) * apply * self.learning_rates[index]
            update(self.gradients_of(gradients, index), rate, momentum, apply)
        return factor


def build_optimizer(
    kind: str,
    groups: Sequence[AssignedGroup],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    momentum: float = 0.9,
    owner: str = "",
) -> GroupedOptimizer:
    if kind == "adamw":
        return AdamW(groups, beta1=beta1, beta2=beta2, eps=eps, owner=owner)
    if kind == "sgd":
        return SGD(groups, momentum=momentum, owner=owner)
    raise UserError(f"optimizer.kind is {kind!r}; choose adamw or sgd")
