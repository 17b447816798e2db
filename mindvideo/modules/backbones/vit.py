"""A plain vision transformer with register tokens, as DINOv2 and DINOv3 train it."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import initializer

from mindvideo.modules.layers.feed_forward import FEED_FORWARDS
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.patches import PositionTable, grid_of
from mindvideo.modules.layers.rotary import RotaryPositions, Rotation
from mindvideo.modules.layers.self_attention import SelfAttention


class LayerScale(nn.Cell):
    """A learnt factor for each channel: [..., C] -> [..., C]."""

    def __init__(self, *, width: int, start: float) -> None:
        super().__init__()
        self.weight = Parameter(initializer(start, (width,)), name="weight")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x * self.weight


class VitBlock(nn.Cell):
    """Self-attention and feed-forward, each after a norm and scaled channel by channel: [B, S, C] -> [B, S, C]."""

    def __init__(self, *, width: int, attention: SelfAttention, feed_forward: nn.Cell, epsilon: float, scale: float):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width, epsilon=epsilon), LayerNorm(width, epsilon=epsilon)
        self.attention, self.mlp = attention, feed_forward
        self.layer_scale1, self.layer_scale2 = (LayerScale(width=width, start=scale) for _ in range(2))

    def construct(self, tokens: ms.Tensor, rotation: Rotation | None = None) -> ms.Tensor:
        tokens = tokens + self.layer_scale1(self.attention(self.norm1(tokens), rotation))
        return tokens + self.layer_scale2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nn.Cell):
    """Frames to tokens, and the blocks that work on them.

    Tokens are in the order [class, registers, patches]; whoever calls :meth:`blocks` may put more in front. Positions
    come from ``position``, a table added to the patches (DINOv2), or from ``rotary``, which turns the patches' queries
    and keys in every block (DINOv3). ``patch_embed``: [F, 3, H, W] -> [F, P, C], with its ``patch_size``.
    """

    def __init__(
        self,
        *,
        width: int,
        patch_embed: nn.Cell,
        layers: Sequence[VitBlock],
        num_registers: int,
        epsilon: float,
        position: PositionTable | None = None,
        rotary: RotaryPositions | None = None,
    ) -> None:
        super().__init__()
        self.width, self.patch_size = width, patch_embed.patch_size
        self.patch_embed = patch_embed
        self.cls_token = Parameter(initializer("normal", (1, 1, width)), name="cls_token")
        self.register_tokens = Parameter(initializer("normal", (1, num_registers, width)), name="register_tokens")
        self.num_prefix = 1 + num_registers
        self.has_table, self.has_rotary = position is not None, rotary is not None
        if position is not None:
            self.position = position
        if rotary is not None:
            self.rotary = rotary
        self.layers = nn.CellList(layers)
        self.norm = LayerNorm(width, epsilon=epsilon)

    def construct(self, frames: ms.Tensor) -> ms.Tensor:
        """frames [F, 3, H, W] -> tokens after all blocks and the final norm, [F, 1 + R + P, C]."""
        grid = grid_of(*frames.shape[-2:], self.patch_size)
        rotation = self.rotation(0, grid, self.zoom())
        return self.norm(self.blocks(self.embed(frames), rotation, 0, len(self.layers))[-1])

    def embed(self, frames: ms.Tensor) -> ms.Tensor:
        """frames [F, 3, H, W] -> [F, 1 + R + P, C]."""
        F, _, H, W = frames.shape
        patches = self.patch_embed(frames)
        if self.has_table:
            rows, columns = grid_of(H, W, self.patch_size)
            patches = patches + self.position(rows, columns)
        prefix = ops.cat((self.cls_token, self.register_tokens), 1)
        return ops.cat((prefix.broadcast_to((F, self.num_prefix, self.width)), patches), 1)

    def blocks(self, tokens: ms.Tensor, rotation: Rotation | None, first: int, last: int) -> tuple[ms.Tensor, ...]:
        """The tokens [B, S, C] after each of the blocks ``first`` to ``last`` - 1."""
        outputs: tuple[ms.Tensor, ...] = ()
        for number in range(first, last):  # a slice would be a list of its own, and name the parameters after itself
            tokens = self.layers[number](tokens, rotation)
            outputs += (tokens,)
        return outputs

    def zoom(self) -> ms.Tensor | None:
        """The factor on this pass's coordinates; None without rotary positions."""
        return self.rotary.zoom() if self.has_rotary else None

    def rotation(self, num_in_front: int, grid: tuple[int, int], zoom: ms.Tensor | None) -> Rotation | None:
        """The rotation for :meth:`blocks` with ``num_in_front`` more tokens before the class token."""
        if not self.has_rotary:
            return None
        rows, columns = grid
        return self.rotary(num_in_front + self.num_prefix, rows, columns, zoom)


def build_vit_layers(
    *,
    num_blocks: int,
    width: int,
    heads: int,
    hidden: int,
    feed_forward: str = "gelu",
    key_bias: bool = True,
    epsilon: float = 1e-6,
    scale: float = 1.0,
) -> list[VitBlock]:
    return [
        VitBlock(
            width=width,
            attention=SelfAttention(width=width, heads=heads, key_bias=key_bias),
            feed_forward=FEED_FORWARDS[feed_forward](width=width, hidden=hidden),
            epsilon=epsilon,
            scale=scale,
        )
        for _ in range(num_blocks)
    ]
