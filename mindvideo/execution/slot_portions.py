"""A clip through a slot network some frames at a time, so that memory does not grow with the number of masks.

At 36 frames of 300 x 540 the maps of 360 masks would fill more than ten gigabytes. Here the backbone and the mask head
take a few frames, and the sequence head one slot. Every norm is per map or per slot, so the numbers are those of the
whole network; each stage is one compiled graph, used for every portion.
"""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn, ops


def frames_of_portion(num_frames: int, most: int) -> int:
    """The greatest divisor of ``num_frames`` up to ``most``, so that one graph serves every portion.

    Where that is less than half of ``most`` (a prime number, say), ``most`` itself: the last portion is a shorter one.
    """
    most = max(1, min(most, num_frames))
    best = max(count for count in range(1, most + 1) if num_frames % count == 0)
    return best if 2 * best >= most else most


class _Stage(nn.Cell):
    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network


class _FrameStage(_Stage):
    """frames [1,P,3,H,W] -> the backbone's maps, each [P,C,h,w]"""

    def construct(self, frames):
        return self.network.features(frames)


class _ClipStage(_Stage):
    """Coarse maps of the clip, each [T,C,h,w] -> logits, boxes, memory [T,C,h,w] and attention maps [T,Q,M,h,w]."""

    def construct(self, *levels):
        logits, boxes, queries, memory, padding = self.network.slots(levels, 1)
        if self.network.mask_branch is None:
            return logits, boxes
        return logits, boxes, memory, self.network.mask_branch.attention_map(queries[0], memory, padding)


class _FrameMaskStage(_Stage):
    """memory [T,C,h,w], attention maps [T,Q,M,h,w] and the fine maps of a portion -> [P*Q,C,H,W]"""

    def construct(self, memory, attention_maps, frames, *fine_maps):
        """``frames`` int [P]: which frames the portion has"""
        return self.network.mask_branch.frame_head(
            ops.gather(memory, frames, 0), ops.gather(attention_maps, frames, 0), fine_maps
        )


class _SlotMaskStage(_Stage):
    """The portions' maps [P*Q,C,H,W] -> mask logits [T,H,W] of one slot"""

    def __init__(self, network: nn.Cell, num_slots: int):
        super().__init__(network)
        self.num_slots = num_slots

    def construct(self, slot, *portions):
        """``slot`` int [1]"""
        maps = []
        for portion in portions:
            _, C, H, W = portion.shape
            of_frames = ops.gather(portion.reshape(-1, self.num_slots, C * H * W), slot, 1)
            maps.append(of_frames.reshape(-1, C, H, W))
        maps = ops.concat(maps, axis=0)
        return self.network.mask_branch.sequence_head(maps, maps.shape[0])


class PortionedSlots:
    """Calls like the network itself, for one clip without padding: frames [1,T,3,H,W] -> the network's results.

    ``clip_stage``: another way from the coarse maps [T,C,h,w] to logits, boxes, memory and attention maps.
    """

    def __init__(
        self,
        *,
        network: nn.Cell,
        num_slots: int,
        maps_per_portion: int,
        clip_stage: Callable[..., tuple[ms.Tensor, ...]] | None = None,
    ):
        network.set_train(False)
        self._network = network
        self._num_slots = num_slots
        self._most_frames = max(1, maps_per_portion // num_slots)
        self._frame_stage = _FrameStage(network)
        self._clip_stage = clip_stage or _ClipStage(network).set_train(False)
        self._frame_mask_stage = _FrameMaskStage(network)
        self._slot_mask_stage = _SlotMaskStage(network, num_slots)
        for stage in (self._frame_stage, self._frame_mask_stage, self._slot_mask_stage):
            stage.set_train(False)

    def __call__(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        num_frames = frames.shape[1]
        step = frames_of_portion(num_frames, self._most_frames)
        starts = range(0, num_frames, step)
        maps = [self._frame_stage(frames[:, start : start + step]) for start in starts]
        fine = self._network.num_fine_levels
        coarse = [ops.concat(parts, axis=0) for parts in zip(*(portion[fine:] for portion in maps))]
        results = self._clip_stage(*coarse)
        if self._network.mask_branch is None:
            return results
        logits, boxes, memory, attention_maps = results
        portions = []
        for index, start in enumerate(starts):
            numbers = ms.Tensor(np.arange(start, min(start + step, num_frames), dtype=np.int32))
            fine_maps = maps[index][:fine][::-1]
            maps[index] = None  # its memory is free after this portion
            portions.append(self._frame_mask_stage(memory, attention_maps, numbers, *fine_maps))
        masks = [
            self._slot_mask_stage(ms.Tensor([slot], ms.int32), *portions).asnumpy() for slot in range(self._num_slots)
        ]
        return logits, boxes, ms.Tensor(np.stack(masks)[None])  # [1, Q, T, H, W]
