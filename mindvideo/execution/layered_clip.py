"""A clip network of dense layers at inference: the layers of its transformer one by one, see layered_stack.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import mindspore as ms
from mindspore import nn

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.execution.layered_stack import LayeredStack, Stack


class LayeredNetwork(Protocol):
    """A network whose clip is one sequence of tokens, with an encoder over them and a decoder over the queries."""

    encoder: Stack
    decoder: Stack
    queries: nn.Cell  # B -> start content and query position, [B, T*Q, C]

    def tokenize(self, maps: tuple[ms.Tensor, ...], B: int) -> Any:
        """Coarse maps [T, C', h, w] -> ``content`` and ``position`` of the tokens, [B, S, C]."""

    def answer(
        self, states: ms.Tensor, memory: ms.Tensor, token_padding: None, grid_map: ms.Tensor
    ) -> Mapping[str, Any]:
        """States [D, B, T*Q, C], memory [B, S, C] and any map on its grid -> a DecodedClip, and what

        else the network knows of a clip.
        """


class _Stage(nn.Cell):
    def __init__(self, network: LayeredNetwork):
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)


class _Tokenize(_Stage):
    """The coarse maps of one clip -> tokens and their position [1, S, C], content and query position [1, T*Q, C]"""

    def construct(self, *maps: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        tokens = self.network.tokenize(maps, 1)
        content, query_position = self.network.queries(1)
        return tokens["content"], tokens["position"], content, query_position


class _Answer(_Stage):
    """States [D, 1, T*Q, C], memory [1, S, C] and any map on its grid -> logits, boxes, queries, memory as a map

    and what else the clip is asked for, by its name in the network's answer.
    """

    def __init__(self, network: LayeredNetwork, more: Sequence[str]):
        super().__init__(network)
        self.more = tuple(more)

    def construct(self, states: ms.Tensor, memory: ms.Tensor, grid_map: ms.Tensor) -> tuple[ms.Tensor, ...]:
        clip = self.network.answer(states, memory, None, grid_map)
        found: tuple[ms.Tensor, ...] = (clip["logits"], clip["boxes"], clip["queries"], clip["scene"]["memory"])
        for name in self.more:
            found += (clip[name],)
        return found


class LayeredClip:
    """The part of such a network that sees the clip as a whole, see :data:`mindvideo.execution.portions.ClipStage`."""

    def __init__(self, network: LayeredNetwork, *, more: Sequence[str] = ()):
        self._tokenize, self._answer = KeptGraph(_Tokenize(network)), KeptGraph(_Answer(network, more))
        self._encoder, self._decoder = LayeredStack(network.encoder), LayeredStack(network.decoder)

    def __call__(self, *maps: ms.Tensor) -> tuple[ms.Tensor, ...]:
        tokens, position, content, query_position = self._tokenize(*maps)
        memory = self._encoder(tokens, position)
        states = self._decoder(content, query_position, memory, position)
        return self._answer(states, memory, maps[0])
