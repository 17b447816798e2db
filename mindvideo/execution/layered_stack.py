"""A stack of equal layers with one compiled layer for all of them.

A graph of twelve layers keeps nearly three gigabytes for itself at full size, half of it for its own description. Here
the first layer of a stack is compiled, and takes the weights of each layer in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mindspore as ms
from mindspore import nn

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.execution.shared_graph import SharedGraph


class Stack(Protocol):
    """Layers in a row: each takes the state of the one before it, and what is beside it, the same for all."""

    layers: Sequence[nn.Cell]  # equal but for their weights; layer(state, *beside) -> state

    def beside(self, *given: Any) -> tuple[Any, ...]:
        """From what the stack is called with, but for the first state, to what each layer takes beside its state."""

    def collect(self, states: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """The output of the stack, from the states that its layers gave; from the first state where it has no layer."""


class _Collect(nn.Cell):
    def __init__(self, stack: Stack):
        super().__init__(auto_prefix=False)
        self.stack = stack
        self.set_train(False)

    def construct(self, *states: ms.Tensor) -> ms.Tensor:
        return self.stack.collect(states)


class LayeredStack:
    """Calls like the stack itself."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._layers = SharedGraph(list(stack.layers)) if len(stack.layers) else ()
        self._collect = KeptGraph(_Collect(stack))

    def __call__(self, state: ms.Tensor, *given: Any) -> ms.Tensor:
        beside = self._stack.beside(*given)
        states = []
        for layer in self._layers:
            state = layer(state, *beside)
            states.append(state)
        return self._collect(*(states or [state]))
