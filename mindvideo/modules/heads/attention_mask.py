"""Masks from attention maps: a query's attention to the frame, refined up the backbone's maps, then along time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeUniform, Uniform, XavierUniform, initializer

from mindvideo.modules.layers.attention import MASKED
from mindvideo.modules.layers.convolution import Conv2d, ConvolutionPass
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import GroupNorm
from mindvideo.modules.layers.row_order import LeadingAxes
from mindvideo.modules.values import Scene
from mindvideo.ops.deform_conv import deform_conv2d
from mindvideo.ops.masks import join_nearest
from mindvideo.ops.slices import swapped


def _group_norm_relu(channels: int, groups: int = 8) -> GroupNorm:
    """Groups as published where they divide the channels (at every published width they do)."""
    return GroupNorm(math.gcd(channels, groups), channels, relu=True)


class AttentionMap(nn.Cell):
    """How each query of a frame looks at the frame: [F,Q,C] and [F,C,H,W] -> [F,Q,M,H,W].

    The softmax runs over heads and positions together, so a query's M maps sum to 1 as a whole: next to features of
    about 1 they are faint until attention is sharp. ``unit_mean`` scales them so that a map without preference is 1
    everywhere, which lets a short training from nothing tell the queries apart.
    """

    def __init__(self, *, width: int, heads: int, unit_mean: bool = False):
        super().__init__()
        self.q_linear = Linear(width, width, weight_init=XavierUniform(), bias_init="zeros")
        self.k_linear = Linear(width, width, weight_init=XavierUniform(), bias_init="zeros")
        self.heads, self.depth = heads, width // heads
        self.scale = self.depth**-0.5
        self.unit_mean = unit_mean
        self.times_transposed = ops.BatchMatMul(transpose_b=True)
        self.softmax = ops.Softmax(-1)

    def construct(self, queries: ms.Tensor, memory: ms.Tensor, padding: ms.Tensor | None = None) -> ms.Tensor:
        """padding bool [F,H,W], True = ignore"""
        F, Q, width = queries.shape
        height, columns = memory.shape[2:]
        tokens = swapped(memory.reshape(F, width, height * columns), 1, 2)  # [F, S, C]
        q = swapped((self.q_linear(queries) * self.scale).reshape(F, Q, self.heads, self.depth), 1, 2)
        k = swapped(self.k_linear(tokens).reshape(F, height * columns, self.heads, self.depth), 1, 2)
        logits = swapped(self.times_transposed(q, k), 1, 2)  # [F, Q, M, S]
        if padding is not None:
            logits = logits + ops.cast(padding, ms.float32).reshape(F, 1, 1, height * columns) * MASKED
        # PARITY(vistr): jointly over heads and positions, not per head; the published weights need it.
        weights = self.softmax(logits.reshape(F, Q, self.heads * height * columns))
        if self.unit_mean:
            weights = weights * float(self.heads * height * columns)
        return weights.reshape(F, Q, self.heads, height, columns)


def _convolution(in_channels: int, out_channels: int, kernel: int) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=kernel // 2,
        weight_init=HeUniform(negative_slope=1),
        bias_init="zeros",
    )


class DeformConv(nn.Cell):
    """Deformable convolution v1, 3x3, no bias: x [N,C,H,W], offsets [N,18,H,W] -> [N,C',H,W]."""

    keeps_float32 = True  # half precision stops at native operators

    def __init__(self, *, in_channels: int, out_channels: int):
        super().__init__()
        init = HeUniform(nonlinearity="relu")
        self.weight = Parameter(initializer(init, (out_channels, in_channels, 3, 3)), name="weight")

    def construct(self, x: ms.Tensor, offset: ms.Tensor) -> ms.Tensor:
        return deform_conv2d(x, offset, self.weight)


class FrameMaskHead(nn.Cell):
    """Attention maps and the frame's features -> one map of ``out_channels`` for each query and frame, at stride 4.

    ``widths`` are the output channels of lay2, lay3 and so on; each layer after lay2 first joins one finer map of the
    backbone (``fine_channels``, coarse to fine). All norms are per map, so frames and queries form one batch.
    """

    def __init__(
        self, *, width: int, heads: int, widths: Sequence[int], fine_channels: Sequence[int], out_channels: int
    ):
        super().__init__()
        joined = width + heads
        self.width = width
        self.lay1 = _convolution(joined, joined, 3)
        self.gn1 = _group_norm_relu(joined)
        channels = [joined, *widths]
        self.lay = nn.CellList([_convolution(a, b, 3) for a, b in zip(channels[:-1], channels[1:])])
        self.gn = nn.CellList([_group_norm_relu(c) for c in widths])
        self.adapter = nn.CellList([_convolution(a, b, 1) for a, b in zip(fine_channels, widths)])
        self.conv_offset = Conv2d(widths[-1], 18, 1, weight_init="zeros", bias_init="zeros")
        self.dcn = DeformConv(in_channels=widths[-1], out_channels=out_channels)
        self.gn_out = _group_norm_relu(out_channels)
        self.first = ConvolutionPass(joined, 3, padding=1)

    def first_layer(self, memory: ms.Tensor, maps: ms.Tensor) -> ms.Tensor:
        """lay1 of the concatenation [memory, map] for every query: [F,C,H,W], [F,Q,M,H,W] -> [F*Q,C+M,H,W].

        The memory is the same for all queries of a frame and a convolution is linear, so its part is computed once.
        """
        F, Q, M, height, columns = maps.shape
        weight = self.lay1.weight
        shared = self.first(memory, weight[:, : self.width], None, self.lay1.bias)
        own = self.first(maps.reshape(F * Q, M, height, columns), weight[:, self.width :])
        return join_nearest(own, shared)

    def join(self, x: ms.Tensor, fine: ms.Tensor, adapter: nn.Cell) -> ms.Tensor:
        """The upsampled x [F*Q,C,.,.] plus the frame's adapted map [F,C',H,W] -> [F*Q,C,H,W]."""
        return join_nearest(x, adapter(fine))

    def stages(self, memory: ms.Tensor, maps: ms.Tensor, fine_maps: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        """Every intermediate map, in order: after gn1, gn2 ... (with ReLU), offsets, deformable convolution, result."""
        x = self.gn1(self.first_layer(memory, maps))
        trace: tuple[ms.Tensor, ...] = (x,)
        for index, fine in enumerate(fine_maps):
            x = self.gn[index](self.lay[index](x))
            trace = (*trace, x)
            x = self.join(x, fine, self.adapter[index])
        offset = self.conv_offset(x)
        x = self.dcn(x, offset)
        return (*trace, offset, x, self.gn_out(x))

    def construct(self, memory: ms.Tensor, maps: ms.Tensor, fine_maps: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """memory [F,C,H,W], maps [F,Q,M,H,W], fine_maps tuple of [F,C',H',W'] coarse to fine -> [F*Q,C'',H'',W'']"""
        return self.stages(memory, maps, fine_maps)[-1]


class _TimeConvolution(nn.Cell):
    """3x3x3 convolution with dilation 2 that keeps the size, over maps that lie frame after frame.

    x [G*T,C,H,W] -> [G*T,C',H,W]. The three taps along time are computed as one 2-D convolution with three times the
    outputs, then shifted by two frames and added: exact, and faster than the 3-D kernels of most devices.
    """

    def __init__(self, *, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = Parameter(
            initializer(HeUniform(math.sqrt(5)), (out_channels, in_channels, 3, 3, 3)), name="weight"
        )
        bound = 1 / math.sqrt(in_channels * 27)
        self.bias = Parameter(initializer(Uniform(bound), (out_channels,)), name="bias")
        self.out_channels = out_channels
        self.taps = ConvolutionPass(3 * out_channels, 3, padding=2, dilation=2)

    def construct(self, x: ms.Tensor, num_frames: int) -> ms.Tensor:
        height, columns = x.shape[2:]
        kernel = self.weight.transpose(2, 0, 1, 3, 4).reshape(3 * self.out_channels, x.shape[1], 3, 3)
        size = self.out_channels * height * columns  # of one frame
        taps = self.taps(x, kernel).reshape(-1, 3 * size)
        past, present, future = ops.split(taps, size, axis=1)
        y = present.reshape(-1, num_frames * size)
        if num_frames > 2:
            edge = ops.zeros((y.shape[0], 2 * size), y.dtype)
            past = past.reshape(-1, num_frames * size)[:, : (num_frames - 2) * size]
            future = future.reshape(-1, num_frames * size)[:, 2 * size :]
            y = y + ops.concat((edge, past), axis=1) + ops.concat((future, edge), axis=1)
        return ops.bias_add(y.reshape(-1, self.out_channels, height, columns), self.bias)


class SequenceMaskHead(nn.Cell):
    """Three dilated 3-D convolutions and a 1x1x1 over the maps of one query: [G*T,C,H,W] -> logits [G*T,H,W]."""

    def __init__(self, *, in_channels: int, width: int, groups: int = 4):
        super().__init__()
        widths = [in_channels, width, width, width]
        self.conv = nn.CellList(
            [_TimeConvolution(in_channels=a, out_channels=b) for a, b in zip(widths[:-1], widths[1:])]
        )
        self.gn = nn.CellList([_group_norm_relu(width, groups) for _ in range(3)])
        self.out = Conv2d(width, 1, 1)
        self.width = width
        self.swap = LeadingAxes(0, 2, 1)

    def construct(self, x: ms.Tensor, num_frames: int) -> ms.Tensor:
        height, columns = x.shape[2:]
        for conv, norm in zip(self.conv, self.gn):
            x = conv(x, num_frames)
            # The norm's statistics run over all frames of the query.
            x = self.swap(x.reshape(-1, num_frames, self.width, height, columns))  # [G, C, T, H, W]
            x = self.swap(norm(x)).reshape(-1, self.width, height, columns)
        return self.out(x).reshape(-1, height, columns)


class MaskTrace(TypedDict):
    """Everything that :class:`AttentionMaskHead` computes on the way."""

    attention: ms.Tensor  # [B*T, Q, M, h, w]
    stages: tuple[ms.Tensor, ...]  # see FrameMaskHead.stages, each [B*T*Q, ...]
    logits: ms.Tensor  # [B, Q, T, H, W]


class AttentionMaskHead(nn.Cell):
    """queries [B, Q, T, C] and their scene -> mask logits [B, Q, T, H, W], at the stride of the finest map.

    A query's attention to its frame, refined up the backbone's maps frame by frame, then smoothed along time query by
    query. The two stages can be run apart, see execution/portions.py.
    """

    def __init__(self, *, attention_map: AttentionMap, frame_head: FrameMaskHead, sequence_head: SequenceMaskHead):
        super().__init__()
        self.attention_map = attention_map
        self.frame_head = frame_head
        self.sequence_head = sequence_head
        self.swap = LeadingAxes(0, 2, 1)

    def construct(self, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
        return self.trace(queries, scene)["logits"]

    def trace(self, queries: ms.Tensor, scene: Scene) -> MaskTrace:
        """-> :class:`MaskTrace`."""
        B, Q, T, C = queries.shape
        attention, stages = self.frame_stages(swapped(queries, 1, 2).reshape(B * T, Q, C), scene)
        maps = stages[-1]
        of_query = self.swap(maps.reshape(B, T, Q, *maps.shape[1:]))  # [B, Q, T, C', H, W]
        logits = self.per_query(of_query.reshape(B * Q, T, *maps.shape[1:]))
        return {"attention": attention, "stages": stages, "logits": logits.reshape(B, Q, T, *logits.shape[2:])}

    def per_frame(self, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
        """queries [F, Q, C] of F frames, and the scene of those -> maps [F, Q, C', H, W]"""
        maps = self.frame_stages(queries, scene)[1][-1]
        return maps.reshape(queries.shape[0], queries.shape[1], *maps.shape[1:])

    def per_query(self, maps: ms.Tensor) -> ms.Tensor:
        """maps [G, T, C', H, W] of G queries -> mask logits [G, T, H, W]"""
        G, T = maps.shape[:2]
        logits = self.sequence_head(maps.reshape(G * T, *maps.shape[2:]), T)
        return logits.reshape(G, T, *logits.shape[1:])

    def weights_along_time(self) -> tuple[Parameter, ...]:
        """Those of ``per_query``; all others are of ``per_frame``."""
        return tuple(self.sequence_head.trainable_params())

    def frame_stages(self, queries: ms.Tensor, scene: Scene) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
        attention = self.attention_map(queries, scene["memory"], scene["padding"])  # [F, Q, M, h, w]
        return attention, self.frame_head.stages(scene["memory"], attention, scene["fine_maps"])


def build_attention_mask_head(
    *,
    width: int,
    heads: int,
    fine_channels: Sequence[int],
    widths: Sequence[int],
    channels: int,
    unit_maps: bool,
) -> AttentionMaskHead:
    """``fine_channels``: channels of the backbone's maps that are finer than the tokens, fine to coarse.

    No ``widths`` halve the width at each of them; ``channels`` 0 takes width / 16 for the sequence head.
    """
    widths = list(widths) or [width // 2 ** (i + 1) for i in range(len(fine_channels))]
    channels = channels or width // 16
    return AttentionMaskHead(
        attention_map=AttentionMap(width=width, heads=heads, unit_mean=unit_maps),
        frame_head=FrameMaskHead(
            width=width, heads=heads, widths=widths, fine_channels=fine_channels[::-1], out_channels=channels
        ),
        sequence_head=SequenceMaskHead(in_channels=channels, width=channels // 2),
    )
