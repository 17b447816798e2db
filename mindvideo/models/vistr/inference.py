"""How VisTR runs on a clip at inference: frames in portions, the layers of the transformer one by one."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from mindvideo.execution.layered_stack import LayeredStack
from mindvideo.models.vistr.network import VisTR


class _Stage(nn.Cell):
    def __init__(self, network: VisTR):
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)


class _Tokenize(_Stage):
    """The coarse maps of one clip -> tokens and their position [1, S, C], content and query position [1, T*Q, C]"""

    def construct(self, *maps):
        tokens = self.network.tokenize(maps, 1)
        content, query_position = self.network.queries(1)
        return tokens["content"], tokens["position"], content, query_position


class _Answer(_Stage):
    """States [D, 1, T*Q, C], memory [1, S, C] and any map on its grid -> logits, boxes, queries, memory as a map"""

    def construct(self, states, memory, grid_map):
        clip = self.network.answer(states, memory, None, grid_map)
        return clip["logits"], clip["boxes"], clip["queries"], clip["scene"]["memory"]


class LayeredVisTR:
    """The part of VisTR that sees the clip as a whole, see :data:`mindvideo.execution.portions.ClipStage`."""

    def __init__(self, network: VisTR):
        self._tokenize, self._answer = _Tokenize(network), _Answer(network)
        self._encoder, self._decoder = LayeredStack(network.encoder), LayeredStack(network.decoder)

    def __call__(self, *maps: ms.Tensor) -> tuple[ms.Tensor, ...]:
        tokens, position, content, query_position = self._tokenize(*maps)
        memory = self._encoder(tokens, position)
        states = self._decoder(content, query_position, memory, position)
        return self._answer(states, memory, maps[0])
