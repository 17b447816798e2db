"""The clip decoder of Deformable VisTR: one query a frame for each instance slot, dense attention to the memory.

A slot's queries attend to each other, then to all tokens of the frames and to the slot's own learned tokens. Those
tokens are all that tells the slots apart: the queries of a frame start equal.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.heads.class_box import ClassBoxHead
from mindvideo.modules.layers.attention import MASKED
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.transformers.detr import DecoderLayer


@ops.constexpr
def foreign_token_bias(num_slots: int, tokens_per_slot: int, num_frames: int, num_frame_tokens: int) -> ms.Tensor:
    """0 where a query may look, a large negative number at the tokens of other slots: [1, 1, Q*T, S]."""
    own = np.repeat(np.eye(num_slots, dtype=bool), tokens_per_slot, axis=1)  # [Q, Q * tokens]
    bias = np.zeros((num_slots, num_frames, num_frame_tokens + num_slots * tokens_per_slot), np.float32)
    bias[:, :, num_frame_tokens:] = np.where(own, 0.0, MASKED)[:, None]
    return ms.Tensor(bias.reshape(1, 1, num_slots * num_frames, -1))


class SlotDecoderLayer(DecoderLayer):
    """As DETR's layer, but the self-attention stays inside a slot. All slots of a clip go through it together."""

    def construct(self, content, query_positions, memory, keys, bias):
        """content, query_positions [B*Q,T,C]; memory, keys [B,S,C]; bias [B or 1,1,Q*T,S] -> content [B*Q,T,C]"""
        batch, width = memory.shape[0], memory.shape[2]
        placed = content + query_positions
        content = self.norm1(content, self.dropout1(self.self_attn(placed, placed, content)))
        queries = (content + query_positions).reshape(batch, -1, width)
        attended = self.multihead_attn(queries, keys, memory, bias=bias).reshape(content.shape)
        content = self.norm2(content, self.dropout2(attended))
        return self.norm3(content, self.dropout3(self.ffn(content)))


class SlotDecoder(nn.Cell):
    """Layers in a row with a shared norm behind each, then the heads.

    ``slot_order``: True gives state (slot, frame) to slot ``slot`` and frame ``frame``. False is the released code,
    which reads its states, lying frame after frame, as if they lay slot after slot.
    """

    def __init__(
        self,
        *,
        layers: list[SlotDecoderLayer],
        norm: nn.Cell,
        head: nn.Cell,
        num_slots: int,
        num_frames: int,
        width: int,
        slot_order: bool = True,
    ) -> None:
        super().__init__()
        self.query_embed = Parameter(initializer(Normal(1.0), (num_frames, width)), name="query_embed")
        self.layers = nn.CellList(layers)
        self.norm = norm
        self.head = head
        self.num_slots = num_slots
        self.slot_order = slot_order

    def states(self, memory, positions, padding, tokens_per_slot):
        """memory, positions [B,S,C], padding bool [B,S] -> normed states of every layer [L,B*Q,T,C]"""
        B, S, C = memory.shape
        Q, T = self.num_slots, self.query_embed.shape[0]
        bias = foreign_token_bias(Q, tokens_per_slot, T, S - Q * tokens_per_slot)
        if padding is not None:
            bias = bias + padding.astype(ms.float32).reshape(B, 1, 1, S) * MASKED
        query_positions = ops.broadcast_to(self.query_embed.expand_dims(0), (B * Q, T, C))
        content = ops.zeros_like(query_positions)
        keys = memory + positions
        outputs = ()
        for layer in self.layers:
            content = layer(content, query_positions, memory, keys, bias)
            outputs += (self.norm(content),)
        return ops.stack(outputs)

    def construct(self, memory, positions, padding, frame_levels):
        """``frame_levels``: (spatial shapes, valid ratios, tokens per slot) as the network lays its tokens out.

        -> class logits [L,B,Q,T,K], boxes [L,B,Q,T,4], last states [B,Q,T,C]
        """
        hs = self.states(memory, positions, padding, frame_levels[2])
        L, B, Q, T = hs.shape[0], memory.shape[0], self.num_slots, hs.shape[2]
        hs = hs.reshape(L, B, Q, T, hs.shape[3])
        if not self.slot_order:
            # PARITY(defvistr): the released reshape skips the transposition.
            hs = hs.swapaxes(2, 3).reshape(hs.shape)
        logits, boxes = self.head(hs)
        return logits, boxes, hs[-1]


def build_slot_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    ffn_width: int,
    dropout: float,
    num_logits: int,
    num_slots: int,
    num_frames: int,
    slot_order: bool,
) -> SlotDecoder:
    layers = [
        SlotDecoderLayer(width=width, heads=heads, ffn_width=ffn_width, dropout=dropout) for _ in range(num_layers)
    ]
    return SlotDecoder(
        layers=layers,
        norm=LayerNorm(width),
        head=ClassBoxHead(width=width, num_logits=num_logits),
        num_slots=num_slots,
        num_frames=num_frames,
        width=width,
        slot_order=slot_order,
    )
