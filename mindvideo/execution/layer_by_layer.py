"""VisTR's transformer with one compiled layer for all encoder layers, and one for all decoder layers.

A graph of twelve layers keeps nearly three gigabytes for itself at full size, half of it for its own description. Here
the first layer of each stack is compiled alone, and takes the weights of each layer in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops

from mindvideo.execution.shared_graph import SharedGraph
from mindvideo.models.vistr.network import VisTR


class _Tokens(nn.Cell):
    """Coarse maps of one clip -> tokens, token positions, query positions and start content"""

    def __init__(self, network: VisTR):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, *coarse_maps):
        tokens, positions, _ = self.network.tokenize(coarse_maps, 1, None)
        query_positions, content = self.network.queries(1)
        return tokens, positions, query_positions, content


class _Answers(nn.Cell):
    """The layers' outputs -> logits, boxes, memory [T,C,h,w], attention maps [T,Q,M,h,w]"""

    def __init__(self, network: VisTR):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, coarse_map, memory, *contents):
        """``coarse_map``: any map on the grid of the tokens"""
        states = []
        for content in contents:
            states.append(self.network.decoder.norm(content))
        logits, boxes, queries, memory, _ = self.network.answers(ops.stack(states, axis=0), memory, coarse_map, 1, None)
        if self.network.mask_branch is None:
            return logits, boxes
        return logits, boxes, memory, self.network.mask_branch.attention_map(queries[0], memory, None)


class _Stack:
    """Layers of one shape, run one after the other through the first one's graph."""

    def __init__(self, layers: Sequence[nn.Cell]):
        self._layers = SharedGraph(layers)

    def __call__(self, x: ms.Tensor, *others: ms.Tensor) -> list[ms.Tensor]:
        """x and what every layer takes besides -> the output of each layer"""
        outputs = []
        for layer in self._layers:
            x = layer(x, *others)
            outputs.append(x)
        return outputs


class LayerByLayer:
    """Coarse maps [T,C,h,w] of one clip -> logits, boxes, memory and attention maps, as the network would."""

    def __init__(self, network: VisTR):
        self._network = network
        self._tokens, self._answers = _Tokens(network), _Answers(network)
        self._encoder = _Stack(list(network.encoder.layers)) if len(network.encoder.layers) else None
        self._decoder = _Stack(list(network.decoder.layers))
        for stage in (self._tokens, self._answers):
            stage.set_train(False)

    def __call__(self, *coarse_maps: ms.Tensor) -> tuple[ms.Tensor, ...]:
        memory, positions, query_positions, content = self._tokens(*coarse_maps)
        if self._encoder is not None:
            memory = self._encoder(memory, positions)[-1]
        if self._network.encoder.norm is not None:
            memory = self._network.encoder.norm(memory)
        contents = self._decoder(content, query_positions, memory, memory + positions)
        return self._answers(coarse_maps[0], memory, *contents)
