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
    enter_tokens,
    project_frames,
)
from mindvideo.modules.training_parts import Tensors, TrainingClip, TrainingPart, noted, read_back, weights_of
from mindvideo.modules.transformers.deformable_encoder import flatten_levels


class EncodedTraining(nn.Cell):
    """A training graph around a ``network`` that encodes frames; :meth:`learn` is what the families differ in."""

    network: nn.Cell
    learn: Callable[[Tensors, TrainingClip], tuple[ms.Tensor, ms.Tensor, Tensors]]

    def parts(self) -> list[TrainingPart]:
        network = self.network
        layers = list(network.encoder.layers)
        half = len(layers) // 2
        return [
            TrainingPart(self.see, weights_of(network.backbone, network.projection)),
            # Most of a step's memory goes into these layers: one half of them after the other.
            TrainingPart(self.encode_first, (*weights_of(*layers[:half]), network.level_embed)),
            TrainingPart(self.encode_rest, (*weights_of(*layers[half:]), network.level_embed)),
            TrainingPart(self.learn),
        ]

    def see(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The tokens of the levels' maps, and the padding of each level."""
        network = self.network
        maps, paddings = project_frames(
            clip["frames"], clip["padding"], backbone=network.backbone, projection=network.projection
        )
        values = (flatten_levels(maps),)
        for padding in paddings:
            values += (noted(padding),)
        return values

    def encode_first(self, values: Tensors, clip: TrainingClip) -> Tensors:
        return self.through_layers(values, clip, 0, len(self.network.encoder.layers) // 2)

    def encode_rest(self, values: Tensors, clip: TrainingClip) -> Tensors:
        count = len(self.network.encoder.layers)
        return self.through_layers(values, clip, count // 2, count)

    def through_layers(self, values: Tensors, clip: TrainingClip, first: int, last: int) -> Tensors:
        """Tokens and paddings -> the same after some layers of the encoder."""
        network = self.network
        B, T = clip["frames"].shape[:2]
        paddings = truth_of(values[1:])
        entering = enter_tokens(values[0], paddings, position=network.position, level_embed=network.level_embed)
        return (encode_tokens(entering, B, T, encoder=network.encoder, layers=(first, last)), *values[1:])

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
