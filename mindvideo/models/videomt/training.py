"""VidEoMT on a clip with targets: all frames, the matching of every prediction, and every loss term, in one graph."""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.models.videomt.network import VidEoMT
from mindvideo.modules.layers.rotary import Rotation
from mindvideo.modules.losses.matched import rows_of
from mindvideo.modules.losses.point_sampling import MaskPoints, sample_channels, sample_maps
from mindvideo.modules.losses.point_terms import PointMasks
from mindvideo.modules.matching.first_appearance import FirstAppearanceMatcher
from mindvideo.modules.training_parts import Tensors, TrainingClip, TrainingPart, weights_of, without
from mindvideo.modules.values import Targets
from mindvideo.ops.slices import swapped


class MatchedClip(TypedDict):
    """The part of a clip that the criterion takes."""

    logits: ms.Tensor  # [D, B, Q, T, K + 1]
    query: ms.Tensor  # int [D, B, N], of each instance; -1 for none
    masks: PointMasks


class VidEoMTTraining(nn.Cell):
    """``construct`` takes the columns of a batch (without the ids) and gives (total loss [], terms [n_terms]).

    ``pixels`` turns bytes into frames. ``absent_as_positive``: an instance is taught its class and an empty mask in the
    frames that do not show it, as the published models were; otherwise its query is "no object" there.
    """

    def __init__(
        self,
        *,
        network: VidEoMT,
        pixels: nn.Cell,
        matcher: FirstAppearanceMatcher,
        points: MaskPoints,
        criterion: nn.Cell,
        absent_as_positive: bool = True,
    ) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        self.matcher, self.points, self.criterion = matcher, points, criterion
        self.absent_as_positive = absent_as_positive
        self.term_names = criterion.term_names

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        frames, _ = self.pixels(images, sizes)
        targets: Targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        targets = with_classes_from_zero(targets)
        return self.losses(self.predict(frames, targets), targets)

    def losses(self, clip: MatchedClip, targets: Targets) -> tuple[ms.Tensor, ms.Tensor]:
        """(total [], terms [n])."""
        present = targets["present"]
        taught: Targets = {
            "labels": targets["labels"],
            "boxes": targets["boxes"],
            "masks": targets["masks"],
            "present": ops.ones_like(present) if self.absent_as_positive else present,
            "exists": targets["exists"],
        }
        return self.criterion({"logits": clip["logits"], "boxes": None}, taught, clip["query"], None, clip["masks"])

    def predict(self, frames: ms.Tensor, targets: Targets) -> MatchedClip:
        """frames [B, T, 3, H, W]."""
        blocks, _, rotation = self.network.encode(frames)
        return self.answer(blocks[-1], rotation, frames.shape[-2:], targets)

    def parts(self) -> list[TrainingPart]:
        """See modules/training_parts.py."""
        backbone = self.network.backbone
        # One by one: a slice is a new CellList, which would name the weights anew.
        numbers = range(self.network.first_query_block, self.network.num_blocks)
        late = weights_of(backbone.norm, *(backbone.layers[number] for number in numbers))
        return [TrainingPart(self.see, without(weights_of(backbone), late)), TrainingPart(self.learn)]

    def see(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The tokens of the frames by themselves."""
        blocks, _, _ = self.network.encode(clip["frames"])
        return (blocks[-1],)

    def learn(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """As ``construct``, from what :meth:`see` gave."""
        targets = with_classes_from_zero(clip["targets"])
        size = clip["frames"].shape[-2:]
        rotation = self.network.query_rotation(*size)
        total, terms = self.losses(self.answer(values[0], rotation, size, targets), targets)
        return total, terms, ()

    def answer(
        self, tokens: ms.Tensor, rotation: Rotation | None, size: tuple[int, int], targets: Targets
    ) -> MatchedClip:
        """From the tokens of the frames by themselves, [B, T, S, C]; ``size`` of the frames."""
        network = self.network
        around, _ = network.decode(tokens, rotation, network.first_query(tokens.shape[0]))
        stages = network.stages(around)
        logits = network.classify(stages)
        vectors: tuple[ms.Tensor, ...] = ()
        features: tuple[ms.Tensor, ...] = ()
        for tokens in stages:
            vectors += (network.mask_head(network.queries_of(tokens)),)  # [B, T, Q, C]
            features += (network.features(tokens, size)[-1],)  # [B, T, h, w, C]
        query = self.match(logits, vectors, features, targets)
        rows = rows_of(query, network.num_queries)  # [D, B, N, Q]
        point_logits: tuple[ms.Tensor, ...] = ()
        point_targets: tuple[ms.Tensor, ...] = ()
        for stage in range(len(stages)):
            taken = ops.matmul(rows[stage].expand_dims(1), vectors[stage])  # [B, T, N, C]
            predicted, wanted = self.at_points(network.masks(taken, features[stage]), targets["masks"], stage)
            point_logits += (predicted,)
            point_targets += (wanted,)
        masks: PointMasks = {"logits": ops.stack(point_logits, 0), "targets": ops.stack(point_targets, 0)}
        return {"logits": logits, "query": query, "masks": masks}

    def match(self, logits: ms.Tensor, vectors: ms.Tensor, features: ms.Tensor, targets: Targets) -> ms.Tensor:
        """int [D, B, N]."""
        D = len(vectors)
        B, T = vectors[0].shape[:2]
        points = self.points.uniform(D, B, T)  # [D, B, T, P, 2]
        predicted: tuple[ms.Tensor, ...] = ()
        wanted: tuple[ms.Tensor, ...] = ()
        for stage in range(D):
            of_stage = points[stage].reshape(B * T, -1, 2)
            predicted += (
                self.masks_at(ops.stop_gradient(vectors[stage]), ops.stop_gradient(features[stage]), of_stage),
            )
            wanted += (self.targets_at(targets["masks"], of_stage),)
        return self.matcher(ops.stop_gradient(logits), ops.stack(predicted, 0), ops.stack(wanted, 0), targets)

    def masks_at(self, vectors: ms.Tensor, features: ms.Tensor, points: ms.Tensor) -> ms.Tensor:
        """Mask logits of all queries at points [B * T, P, 2] of the frames: [B, T, P, Q]."""
        B, T, h, w, C = features.shape
        maps = ops.matmul(features.reshape(B, T, h * w, C), swapped(vectors, 2, 3))  # [B, T, h * w, Q]
        sampled = sample_channels(maps.reshape(B * T, h, w, -1), points)
        return sampled.reshape(B, T, *sampled.shape[1:])

    def targets_at(self, masks: ms.Tensor, points: ms.Tensor) -> ms.Tensor:
        """uint8 [B, N, T, H, W] at points [B * T, P, 2] of the frames: [B, T, P, N]."""
        B, N, T, H, W = masks.shape
        P = points.shape[1]
        points = points.reshape(B, 1, T, P, 2).broadcast_to((B, N, T, P, 2)).reshape(B * N * T, P, 2)
        return sample_maps(masks.reshape(B * N * T, H, W), points).reshape(B, N, T, P).transpose(0, 2, 3, 1)

    def at_points(self, masks: ms.Tensor, target_masks: ms.Tensor, stage: int) -> tuple[ms.Tensor, ms.Tensor]:
        """Masks of the instances' queries [B, T, N, h, w] and of the instances: [B, N, T, P] each."""
        B, N, T, H, W = target_masks.shape
        maps = swapped(masks, 1, 2).reshape(B * N * T, *masks.shape[3:])
        points = self.points.uncertain(maps, stage)
        wanted = sample_maps(target_masks.reshape(B * N * T, H, W), points)
        return sample_maps(maps, points).reshape(B, N, T, -1), wanted.reshape(B, N, T, -1)


def with_classes_from_zero(targets: Targets) -> Targets:
    """Category ids count from 1 and class outputs from 0; rows of padding hold any number."""
    labels, exists = ops.cast(targets["labels"], ms.int32), targets["exists"]
    return {
        "labels": ops.select(exists, labels - 1, ops.zeros_like(labels)),
        "boxes": targets["boxes"],
        "masks": targets["masks"],
        "present": targets["present"],
        "exists": exists,
    }
