"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops

from mindvideo.modules.losses.matched import of_instances, rows_of
from mindvideo.modules.training_parts import (
    Tensors,
    TrainingClip,
    TrainingPart,
    noted,
    read_back,
    weights_of,
    without,
)
from mindvideo.modules.values import DecodedClip, Scene, Targets
from mindvideo.ops.masks import resize_padding
from mindvideo.ops.slices import at, part, swapped


class ClipTraining(nn.Cell):
    """The training graph of a network that decodes whole clips: columns of a ClipBatch -> total [], terms [n].

    The terms are in the order of ``term_names``. Masks are made of the queries that carry an instance in the last
    decoder layer, of no others.
    """

    def __init__(self, *, pixels: nn.Cell, network: nn.Cell, matcher: nn.Cell, criterion: nn.Cell):
        super().__init__(auto_prefix=False)
        self.pixels = pixels
        self.network = network
        self.matcher = matcher
        self.criterion = criterion
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
        frames, padding = self.pixels(images, sizes)
        targets: Targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        return self.loss(frames, padding, targets)

    def loss(self, frames: ms.Tensor, padding: ms.Tensor, targets: Targets) -> tuple[ms.Tensor, ms.Tensor]:
        """As ``construct``, from normalised frames [B, T, 3, H, W] and padding bool [B, T, H, W]."""
        clip: TrainingClip = {"frames": frames, "padding": padding, "targets": targets}
        total, terms, _ = self.judge(self.draw(self.decode(self.see((), clip), clip), clip), clip)
        return total, terms

    def parts(self) -> list[TrainingPart]:
        """See modules/training_parts.py."""
        seeing, decoding, drawing = self.weights_by_part()
        return [
            TrainingPart(self.see, seeing),
            TrainingPart(self.decode, decoding),
            TrainingPart(self.draw, drawing),
            TrainingPart(self.judge),
        ]

    def weights_by_part(self) -> tuple[tuple[Parameter, ...], ...]:
        """Of all parts but the last."""
        seeing, branch = weights_of(self.network.backbone), self.network.mask_branch
        masks = weights_of(branch)
        decoding = without(self.network.trainable_params(), (*seeing, *masks))
        return seeing, decoding, masks if branch is None else without(masks, branch.weights_along_time())

    def see(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The backbone's maps."""
        return self.network.features(clip["frames"])

    def decode(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """Maps -> which query has which instance, logits, boxes, queries and the scene's maps."""
        network = self.network
        fine = network.num_fine_levels
        found = network.decode_maps(values[fine:], clip["frames"].shape[0], clip["padding"], values[:fine][::-1])
        query = self.matcher(self.predictions(found["logits"], found["boxes"]), targets_in_picture(clip["targets"]))
        return (noted(query), *values_of_scene(found))

    def draw(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The masks of the instances' queries, as far as a frame by itself tells them."""
        noted_query, logits, boxes, queries, memory = values[:5]
        if self.network.mask_branch is None:
            return noted_query, logits, boxes
        query = read_back(noted_query, ms.int32)
        rows = rows_of(part(query, 0, -1), queries.shape[1])
        queries = at(of_instances(rows, queries.expand_dims(0)), 0, 0)  # [B, N, T, C], zeros without an instance
        scene = scene_of_values(memory, values[5:], clip["padding"])
        return noted_query, logits, boxes, maps_by_frame(self.network.mask_branch, queries, scene)

    def judge(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """The masks along time, and the losses."""
        predictions, targets = self.predictions(values[1], values[2]), targets_in_picture(clip["targets"])
        masks = None
        if self.network.mask_branch is not None:
            masks = masks_along_time(self.network.mask_branch, values[3], targets["exists"].shape[0]).expand_dims(0)
        total, terms = self.criterion(predictions, targets, read_back(values[0], ms.int32), masks)
        return total, terms, ()

    def predictions(self, logits: ms.Tensor, boxes: ms.Tensor) -> dict[str, ms.Tensor]:
        """Of the layers that are trained: fewer than the decoder's when the earlier ones are not."""
        trained = self.criterion.num_layers
        return {"logits": part(logits, 0, -trained), "boxes": part(boxes, 0, -trained)}


def targets_in_picture(targets: Targets) -> Targets:
    """The same; an instance that does not exist is in no frame."""
    return {
        "labels": targets["labels"],
        "boxes": targets["boxes"],
        "masks": targets["masks"],
        "present": ops.logical_and(targets["present"], targets["exists"].expand_dims(-1)),
        "exists": targets["exists"],
    }


def values_of_scene(clip: DecodedClip) -> Tensors:
    """Logits, boxes, queries, memory and fine maps, in one row."""
    scene = clip["scene"]
    return (clip["logits"], clip["boxes"], clip["queries"], scene["memory"], *scene["fine_maps"])


def scene_of_values(memory: ms.Tensor, fine_maps: Tensors, padding: ms.Tensor) -> Scene:
    """``padding`` bool [B, T, H, W]."""
    F, _, h, w = memory.shape
    return {"memory": memory, "fine_maps": fine_maps, "padding": resize_padding(padding, h, w).reshape(F, h, w)}


def maps_by_frame(mask_branch: nn.Cell, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
    """queries [B, Q, T, C] -> the first half of the mask head, [B*T, Q, C', H, W]."""
    B, Q, T, C = queries.shape
    return mask_branch.per_frame(swapped(queries, 1, 2).reshape(B * T, Q, C), scene)


def masks_along_time(mask_branch: nn.Cell, maps: ms.Tensor, B: int) -> ms.Tensor:
    """Maps [B*T, Q, C', H, W] -> the second half, mask logits [B, Q, T, H, W]."""
    F, Q, C, H, W = maps.shape
    T = F // B
    by_query = swapped(maps.reshape(B, T, Q, C * H * W), 1, 2).reshape(B * Q, T, C, H, W)
    masks = mask_branch.per_query(by_query)
    return masks.reshape(B, Q, T, *masks.shape[2:])
