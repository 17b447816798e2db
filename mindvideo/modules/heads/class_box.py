"""Class and box of a query."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.mlp import MLP


class ClassBoxHead(nn.Cell):
    """states [..., Q, T, C] -> class logits [..., Q, T, K] and boxes cxcywh [..., Q, T, 4] in units of the frame.

    ``box_anchors`` [Q, 4] in (0, 1), if given, are where the boxes of a query start in every frame.
    """

    def __init__(self, *, width: int, num_logits: int, box_layers: int = 3, box_anchors: np.ndarray | None = None):
        super().__init__()
        self.class_embed = Linear(width, num_logits)
        self.bbox_embed = MLP(in_width=width, hidden=width, out_width=4, num_layers=box_layers)
        self.box_bias = None
        if box_anchors is not None:
            anchors = np.asarray(box_anchors, np.float64)
            self.box_bias = ms.Tensor(np.log(anchors / (1 - anchors)).astype(np.float32)[:, None])  # [Q, 1, 4]

    def construct(self, states: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        boxes = self.bbox_embed(states)
        if self.box_bias is not None:
            boxes = boxes + self.box_bias
        return self.class_embed(states), ops.sigmoid(boxes)
