"""AdamW and SGD as Cells inside the training graph, equal to PyTorch's, with an update that can be held in place.

``construct(gradients, factor, apply)``: ``factor`` float32 [] multiplies every group's learning rate; ``apply``
float32 [] is 1 for an update and 0 for none. With 0 nothing changes by a single bit, which is how the step leaves out a
non-finite update, or waits for more gradients, without a branch in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindvideo.engine.parameter_groups import AssignedGroup, ParameterGroup
from mindvideo.errors import UserError

__all__ = ["SGD", "AdamW", "ParameterGroup", "build_optimizer"]


def zeros_for(parameters: Sequence[Parameter], prefix: str) -> ParameterTuple:
    """One float32 zero state per parameter, named after it."""
    return ParameterTuple(
        Parameter(Tensor(np.zeros(p.shape, np.float32)), name=f"{prefix}.{p.name}", requires_grad=False)
        for p in parameters
    )


class GroupedOptimizer(nn.Cell):
    """Parameters of all groups in one row, with each one's own learning rate and weight decay."""

    def __init__(self, groups: Sequence[AssignedGroup]) -> None:
        super().__init__(auto_prefix=False)
        groups = [group for group in groups if group.parameters]
        self.parameters = ParameterTuple([p for group in groups for p in group.parameters])
        names = [p.name for p in self.parameters]
        if len(names) != len(set(names)) or not names:
            raise UserError(f"the optimiser needs parameters with names of their own, got {len(names)} names")
        self.group_of = [index for index, group in enumerate(groups) for _ in group.parameters]
        self.num_groups = len(groups)
        self.learning_rates = [group.learning_rate for group in groups]
        self.weight_decays = [group.weight_decay for group in groups]
        self.count = len(names)


class AdamW(GroupedOptimizer):
    """Adam with bias correction and decoupled weight decay, as ``torch.optim.AdamW`` computes it."""

    def __init__(
        self, groups: Sequence[AssignedGroup], *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        super().__init__(groups)
        self.beta1 = Tensor(beta1, ms.float32)
        self.beta2 = Tensor(beta2, ms.float32)
        self.one = Tensor(1.0, ms.float32)
        self.eps = eps
        self.first_moment = zeros_for(self.parameters, "adamw.first_moment")
        self.second_moment = zeros_for(self.parameters, "adamw.second_moment")
        self.updates = Parameter(Tensor(0.0, ms.float32), name="adamw.updates", requires_grad=False)
        self.fused = ops.Adam()

    def construct(self, gradients, factor, apply):
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
        rates = []
        decays = []
        for index in range(self.num_groups):
            rate = factor * apply * self.learning_rates[index]
            rates.append(rate)
            decays.append(self.one - rate * self.weight_decays[index])
        for index in range(self.count):
            group = self.group_of[index]
            parameter = self.parameters[index]
            if self.weight_decays[group] > 0:
                ops.assign(parameter, parameter * decays[group])
            self.fused(
                parameter,
                self.first_moment[index],
                self.second_moment[index],
                power1,
                power2,
                rates[group],
                beta1,
                beta2,
                eps,
                gradients[index],
            )
        return updates


class SGD(GroupedOptimizer):
    """Stochastic gradient descent with momentum and coupled weight decay, as ``torch.optim.SGD`` computes it."""

    def __init__(self, groups: Sequence[AssignedGroup], *, momentum: float = 0.9) -> None:
        super().__init__(groups)
        self.momentum = Tensor(momentum, ms.float32)
        self.one = Tensor(1.0, ms.float32)
        self.velocity = zeros_for(self.parameters, "sgd.velocity")
        self.fused = ops.ApplyMomentum()

    def construct(self, gradients, factor, apply):
        momentum = self.one + apply * (self.momentum - self.one)
        for index in range(self.count):
            group = self.group_of[index]
            parameter = self.parameters[index]
            gradient = gradients[index]
            if self.weight_decays[group] > 0:
                gradient = gradient + parameter * (apply * self.weight_decays[group])
            rate = factor * apply * self.learning_rates[group]
            self.fused(parameter, self.velocity[index], rate, gradient, momentum)
        return factor


def build_optimizer(
    kind: str,
    groups: Sequence[AssignedGroup],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    momentum: float = 0.9,
) -> GroupedOptimizer:
    if kind == "adamw":
        return AdamW(groups, beta1=beta1, beta2=beta2, eps=eps)
    if kind == "sgd":
        return SGD(groups, momentum=momentum)
    raise UserError(f"optimizer.kind is {kind!r}; choose adamw or sgd")
