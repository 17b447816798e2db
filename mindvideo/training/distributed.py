"""Data parallel training: who this process is, and what is averaged over the processes.

The processes are started by ``msrun`` (docs/training.md). Rank 0 writes; every rank reads its own share of the data.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, communication, nn, ops
from mindspore.communication import GlobalComm


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def start_distributed() -> Ranks:
    """Join the other processes if a launcher started this one; the gradients are then averaged over all of them."""
    launched = int(os.environ.get("MS_WORKER_NUM", "1"))
    if launched > 1 and not GlobalComm.INITED:
        communication.init()
        ms.set_auto_parallel_context(
            parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=communication.get_group_size()
        )
    return current_ranks()


def current_ranks() -> Ranks:
    if not GlobalComm.INITED:
        return Ranks()
    return Ranks(communication.get_rank(), communication.get_group_size())


class MeanOverRanks(nn.Cell):
    """The mean of a float tensor over the processes; the identity when there is one."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.world_size = current_ranks().world_size
        self.all_reduce = ops.AllReduce() if self.world_size > 1 else None

    def construct(self, value: ms.Tensor) -> ms.Tensor:
        if self.all_reduce is None:
            return value
        return self.all_reduce(value) / self.world_size


class _SumOverRanks(nn.Cell):
    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.all_reduce = ops.AllReduce()

    def construct(self, value: ms.Tensor) -> ms.Tensor:
        return self.all_reduce(value)


@functools.cache
def _sum_over_ranks() -> nn.Cell:
    return _SumOverRanks()  # made once: every shape compiles once


def meet() -> None:
    """Returns when every process has come here."""
    if current_ranks().world_size > 1:
        _sum_over_ranks()(ms.Tensor(1.0, ms.float32)).asnumpy()


def follow_first(parameters: Sequence[ms.Parameter]) -> None:
    """Give every process the first one's values of what each keeps by itself, such as running statistics."""
    ranks = current_ranks()
    if ranks.world_size == 1:
        return
    for parameter in parameters:
        own = parameter.asnumpy() * (1 if ranks.is_first else 0)
        parameter.set_data(_sum_over_ranks()(ms.Tensor(own, parameter.dtype)))


_mean_of = ops.MultitypeFuncGraph("mean_of")


@_mean_of.register("Function", "Number", "Tensor")
def _mean_of_tensor(all_reduce: ops.AllReduce, world_size: int, value: ms.Tensor) -> ms.Tensor:
    return all_reduce(value) / world_size


class MeanOfEach(nn.Cell):
    """The mean over the processes of every tensor in a tuple."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.mean = MeanOverRanks()
        self.map = ops.HyperMap()

    def construct(self, values: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        if self.mean.world_size == 1:
            return values
        return self.map(ops.partial(_mean_of, self.mean.all_reduce, self.mean.world_size), values)


def gradient_reducer(parameters: Sequence[Parameter]) -> nn.Cell:
    """The Cell that averages gradients over the processes, in the device's own way of grouping transfers."""
    world_size = current_ranks().world_size
    if world_size == 1 or ms.get_context("device_target") == "CPU":
        return MeanOfEach()
    return nn.DistributedGradReducer(parameters, mean=True, degree=world_size)
