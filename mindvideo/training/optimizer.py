"""AdamW and SGD as Cells inside the training graph, equal to PyTorch's, with an update that can be held in place.

``construct(gradients, factor, apply)``: ``factor`` float32 [] multiplies every group's learning rate (float32 [2]: that
of the groups that start late has a factor of its own); ``apply``
float32 [] is 1 for an update and 0 for none. With 0 nothing changes by a single bit, which is how the step leaves out a
non-finite update, or waits for more gradients, without a branch in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindvideo.errors import UserError
from mindvideo.training.parameter_groups import AssignedGroup, ParameterGroup

__all__ = ["SGD", "AdamW", "ParameterGroup", "build_optimizer"]


def zeros_for(parameters: Sequence[Parameter], prefix: str) -> ParameterTuple:
    """One float32 zero state per parameter, named after it."""
    return ParameterTuple(
        Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"{prefix}.{p.name}", requires_grad=False)
        for p in parameters
    )


# Per-parameter work goes through HyperMap: a Python loop that builds a tuple costs the compiler tens of seconds.
_adamw_update = ops.MultitypeFuncGraph("adamw_update")
_sgd_update = ops.MultitypeFuncGraph("sgd_update")
_decay = ops.MultitypeFuncGraph("decay")
_with_decay = ops.MultitypeFuncGraph("with_decay")


@_adamw_update.register("Function", *["Tensor"] * 10)
def _update_adamw(
    fused: ops.Primitive,
    power1: ms.Tensor,
    power2: ms.Tensor,
    rate: ms.Tensor,
    beta1: ms.Tensor,
    beta2: ms.Tensor,
    eps: ms.Tensor,
    parameter: ms.Tensor,
    first: ms.Tensor,
    second: ms.Tensor,
    gradient: ms.Tensor,
) -> ms.Tensor:
    return fused(parameter, first, second, power1, power2, rate, beta1, beta2, eps, gradient)


@_sgd_update.register("Function", *["Tensor"] * 5)
def _update_sgd(
    fused: ops.Primitive,
    rate: ms.Tensor,
    momentum: ms.Tensor,
    parameter: ms.Tensor,
    velocity: ms.Tensor,
    gradient: ms.Tensor,
) -> ms.Tensor:
    return fused(parameter, velocity, rate, gradient, momentum)


@_decay.register("Tensor", "Tensor")
def _decay_parameter(factor: ms.Tensor, parameter: ms.Tensor) -> ms.Tensor:
    return ops.assign(parameter, parameter * factor)


@_with_decay.register("Tensor", "Tensor", "Tensor")
def _add_decay(factor: ms.Tensor, parameter: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return gradient + parameter * factor


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
        self.map = ops.HyperMap()

    def factor_of(self, factor: ms.Tensor, group: int) -> ms.Tensor:
        """The factor on a group's rate; ``factor`` is one for all, or [2]: the others' and that of late ones."""
        return factor[self.late[group]] if factor.ndim else factor


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
        self.updates = Parameter(Tensor(0.0, ms.float32), name=f"{owner}adamw.updates", requires_grad=False)
        self.fused = ops.Adam()

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
        for group in range(len(self.ranges)):
            start, end = self.ranges[group]
            rate = self.factor_of(factor, group) * apply * self.learning_rates[group]
            if self.weight_decays[group] > 0:
                keep = self.one - rate * self.weight_decays[group]
                self.map(ops.partial(_decay, keep), self.parameters[start:end])
            self.map(
                ops.partial(_adamw_update, self.fused, power1, power2, rate, beta1, beta2, eps),
                self.parameters[start:end],
                self.first_moment[start:end],
                self.second_moment[start:end],
                gradients[start:end],
            )
        return updates


class SGD(GroupedOptimizer):
    """Stochastic gradient descent with momentum and coupled weight decay, as ``torch.optim.SGD`` computes it."""

    def __init__(self, groups: Sequence[AssignedGroup], *, momentum: float = 0.9, owner: str = "") -> None:
        super().__init__(groups, owner=owner)
        self.momentum = Tensor(momentum, ms.float32)
        self.one = Tensor(1.0, ms.float32)
        self.velocity = zeros_for(self.parameters, f"{owner}sgd.velocity")
        self.fused = ops.ApplyMomentum()

    def construct(self, gradients: tuple[ms.Tensor, ...], factor: ms.Tensor, apply: ms.Tensor) -> ms.Tensor:
        momentum = self.one + apply * (self.momentum - self.one)
        for group in range(len(self.ranges)):
            start, end = self.ranges[group]
            own = gradients[start:end]
            if self.weight_decays[group] > 0:
                decay = apply * self.weight_decays[group]
                own = self.map(ops.partial(_with_decay, decay), self.parameters[start:end], own)
            rate = self.factor_of(factor, group) * apply * self.learning_rates[group]
            self.map(
                ops.partial(_sgd_update, self.fused, rate, momentum),
                self.parameters[start:end],
                self.velocity[start:end],
                own,
            )
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
