"""A clip through a network some frames at a time, so that memory does not grow with the number of masks.

At 36 frames of 300 x 540 the maps of 360 masks would fill more than ten gigabytes. Here the backbone and the first half
of the mask head take a few frames at a time, and its second half one query. Each stage is one compiled graph, used for
every portion; since nothing in these stages looks across frames, or across queries, the numbers are the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.modules.values import DecodedClip, Scene
from mindvideo.ops.slices import swapped


class MaskHead(Protocol):
    """A mask head in two halves, of which the first sees one frame and the second one query."""

    def per_frame(self, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
        """queries [F, Q, C] of F frames, and the scene of those -> maps [F, Q, C', H, W]."""

    def per_query(self, maps: ms.Tensor) -> ms.Tensor:
        """maps [G, T, C', H, W] of G queries -> mask logits [G, T, H, W]."""


class ClipNetwork(Protocol):
    """A network that takes frames one by one as far as the backbone, and then the clip as a whole."""

    num_fine_levels: int  # that many of the maps, the finest, serve the masks only
    mask_branch: MaskHead | None

    def features(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """frames [1, F, 3, H, W] -> the backbone's maps [F, C', h, w], fine to coarse."""

    def decode_maps(self, maps: tuple[ms.Tensor, ...], B: int) -> DecodedClip:
        """The clip's coarse maps [T, C', h, w] -> everything but its masks."""


class MaskingNetwork(ClipNetwork, Protocol):
    """A clip network that has masks."""

    mask_branch: MaskHead


# The coarse maps of a clip, each [T, C', h, w] -> logits, boxes, queries [1, Q, T, C], memory [T, C, h, w], and more
ClipStage = Callable[..., tuple[ms.Tensor, ...]]


def frames_of_portion(num_frames: int, limit: int) -> int:
    """The greatest divisor of ``num_frames`` up to ``limit``, so that one graph serves every portion.

    Where that is less than half of ``limit`` (a prime number, say), ``limit`` itself: the last portion is shorter.
    """
    limit = max(1, min(limit, num_frames))
    best = max(count for count in range(1, limit + 1) if num_frames % count == 0)
    return best if 2 * best >= limit else limit


class _Stage(nn.Cell):
    def __init__(self, network: ClipNetwork):
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)


class _FrameStage(_Stage):
    """frames [1, P, 3, H, W] -> the backbone's maps, each [P, C', h, w]"""

    def construct(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        return self.network.features(frames)


class _WholeClipStage(_Stage):
    """A :data:`ClipStage` as one graph."""

    def construct(self, *maps: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        clip = self.network.decode_maps(maps, 1)
        return clip["logits"], clip["boxes"], clip["queries"], clip["scene"]["memory"]


class _FrameMaskStage(_Stage):
    """queries [1, Q, T, C], memory [T, C, h, w], the numbers of the portion's frames int [P], and their fine maps.

    -> maps [P, Q, C', H, W]
    """

    network: MaskingNetwork

    def construct(self, queries: ms.Tensor, memory: ms.Tensor, frames: ms.Tensor, *fine_maps: ms.Tensor) -> ms.Tensor:
        of_frames = swapped(ops.gather(queries[0], frames, 1), 0, 1)  # [P, Q, C]
        scene: Scene = {"memory": ops.gather(memory, frames, 0), "fine_maps": fine_maps, "padding": None}
        return self.network.mask_branch.per_frame(of_frames, scene)


class _QueryMaskStage(_Stage):
    """The number of a query int [1], and every portion's maps [P, Q, C', H, W] -> its mask logits [T, H, W]"""

    network: MaskingNetwork

    def construct(self, query: ms.Tensor, *portions: ms.Tensor) -> ms.Tensor:
        maps = []
        for portion in portions:
            P, Q, C, H, W = portion.shape
            maps.append(ops.gather(portion.reshape(P, Q, C * H * W), query, 1).reshape(1, P, C, H, W))
        return self.network.mask_branch.per_query(ops.concat(maps, axis=1))[0]


class PortionedClip:
    """Calls like the network itself, for one clip without padding: frames [1, T, 3, H, W] -> logits, boxes, masks.

    ``frames_at_a_time`` bounds a portion. ``clip_stage``: another way from the coarse maps to what the masks need, see
    execution/layered_clip.py; ``more``: the names of what it gives besides.
    """

    def __init__(
        self,
        *,
        network: nn.Cell,
        frames_at_a_time: int,
        clip_stage: ClipStage | None = None,
        more: Sequence[str] = (),
    ):
        network.set_train(False)
        self._network = network
        self._frames_at_a_time = frames_at_a_time
        self._frame_stage = KeptGraph(_FrameStage(network))
        self._clip_stage = clip_stage or KeptGraph(_WholeClipStage(network))
        self._frame_mask_stage = KeptGraph(_FrameMaskStage(network))
        self._query_mask_stage = KeptGraph(_QueryMaskStage(network))
        self._more = tuple(more)

    def __call__(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        found = self.run(frames)
        return tuple(found[name] for name in ("logits", "boxes", "masks") if name in found)

    def run(self, frames: ms.Tensor) -> dict[str, ms.Tensor]:
        """The same by name, with the last decoder layer's ``queries`` [1, Q, T, C] and what else was asked for."""
        num_frames = frames.shape[1]
        step = frames_of_portion(num_frames, self._frames_at_a_time)
        starts = range(0, num_frames, step)
        maps = [self._frame_stage(frames[:, start : start + step]) for start in starts]
        fine = self._network.num_fine_levels
        coarse = [ops.concat(parts, axis=0) for parts in zip(*(portion[fine:] for portion in maps))]
        logits, boxes, queries, memory, *others = self._clip_stage(*coarse)
        found = {"logits": logits, "boxes": boxes, "queries": queries, **dict(zip(self._more, others, strict=True))}
        if self._network.mask_branch is None:
            return found
        portions = []
        for index, start in enumerate(starts):
            numbers = ms.Tensor(np.arange(start, min(start + step, num_frames), dtype=np.int32))
            fine_maps = maps[index][:fine][::-1]
            maps[index] = None  # its memory is free after this portion
            portions.append(self._frame_mask_stage(queries, memory, numbers, *fine_maps))
        masks = [
            self._query_mask_stage(ms.Tensor([query], ms.int32), *portions).asnumpy()
            for query in range(queries.shape[1])
        ]
        return found | {"masks": ms.Tensor(np.stack(masks)[None])}  # [1, Q, T, H, W]
