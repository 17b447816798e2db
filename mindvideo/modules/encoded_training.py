"""The parts of a training graph that models with encoded frames have in common: see modules/training_parts.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspore import nn

from mindvideo.modules.encoded_frames import (
    EncodedFrames,
    describe_levels,
    encode_tokens,
    encoded_frames_of,
    enter_maps,
    project_frames,
)
from mindvideo.modules.training_parts import Tensors, TrainingClip, TrainingPart, weights_of


class EncodedTraining(nn.Cell):
    """A training graph around a ``network`` that encodes frames; :meth:`learn` is what the families differ in."""

    network: nn.Cell
    learn: Callable[[Tensors, Any, TrainingClip], tuple[Tensors, Any]]

    def parts(self) -> list[TrainingPart]:
        network = self.network
        return [
            TrainingPart(self.see, weights_of(network.backbone, network.projection)),
            TrainingPart(self.encode, (*weights_of(network.encoder), network.level_embed)),
            TrainingPart(self.learn),
        ]

    def see(self, values: Tensors, notes: Any, clip: TrainingClip) -> tuple[Tensors, Any]:  # noqa: ARG002
        """The levels' maps; noted: their paddings."""
        network = self.network
        return project_frames(
            clip["frames"], clip["padding"], backbone=network.backbone, projection=network.projection
        )

    def encode(self, values: Tensors, notes: Any, clip: TrainingClip) -> tuple[Tensors, Any]:
        """Maps -> tokens."""
        network = self.network
        B, T = clip["frames"].shape[:2]
        entering = enter_maps(values, notes, position=network.position, level_embed=network.level_embed)
        return (encode_tokens(entering, B, T, encoder=network.encoder),), notes

    def encoded(self, values: Tensors, notes: Any, clip: TrainingClip) -> EncodedFrames:
        """From what ``encode`` gave."""
        B, T = clip["frames"].shape[:2]
        return encoded_frames_of(values[0], describe_levels(notes), B, T, mask_features=self.network.mask_features)

