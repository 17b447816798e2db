"""The parts of a training graph that models with encoded frames have in common: see modules/training_parts.py."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
from mindspore import nn

from mindvideo.modules.encoded_frames import (
    EncodedFrames,
    describe_levels,
    encode_tokens,
    encoded_frames_of,
    enter_maps,
    project_frames,
)
from mindvideo.modules.training_parts import Tensors, TrainingClip, TrainingPart, noted, read_back, weights_of


class EncodedTraining(nn.Cell):
    """A training graph around a ``network`` that encodes frames; :meth:`learn` is what the families differ in."""

    network: nn.Cell
    learn: Callable[[Tensors, TrainingClip], tuple[ms.Tensor, ms.Tensor, Tensors]]

    def parts(self) -> list[TrainingPart]:
        network = self.network
        return [
            TrainingPart(self.see, weights_of(network.backbone, network.projection)),
            TrainingPart(self.encode, (*weights_of(network.encoder), network.level_embed)),
            TrainingPart(self.learn),
        ]

    def see(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The levels' maps, and the padding of each."""
        network = self.network
        maps, paddings = project_frames(
            clip["frames"], clip["padding"], backbone=network.backbone, projection=network.projection
        )
        for padding in paddings:
            maps += (noted(padding),)
        return maps

    def encode(self, values: Tensors, clip: TrainingClip) -> Tensors:
        """Maps and paddings -> tokens and paddings."""
        network = self.network
        B, T = clip["frames"].shape[:2]
        levels = len(values) // 2
        paddings = truth_of(values[levels:])
        entering = enter_maps(values[:levels], paddings, position=network.position, level_embed=network.level_embed)
        return (encode_tokens(entering, B, T, encoder=network.encoder), *values[levels:])

    def encoded(self, values: Tensors, clip: TrainingClip) -> EncodedFrames:
        """From what ``encode`` gave."""
        B, T = clip["frames"].shape[:2]
        levels = describe_levels(truth_of(values[1:]))
        return encoded_frames_of(values[0], levels, B, T, mask_features=self.network.mask_features)


def truth_of(notes: Tensors) -> Tensors:
    marks: Tensors = ()
    for note in notes:
        marks += (read_back(note, ms.bool_),)
    return marks
