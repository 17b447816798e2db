"""From the columns of a batch to the loss: pixels, network, matching and criterion in one graph."""

from __future__ import annotations

from collections.abc import Sequence

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
from mindvideo.modules.values import Scene, Targets
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
            # Most of a step's memory goes into these maps: one half of the frames after the other.
            TrainingPart(self.draw_first, drawing),
            TrainingPart(self.draw_rest, drawing),
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
        """Maps -> the scene with the queries whose masks are drawn; which query has which instance, logits, boxes."""
        network = self.network
        fine = network.num_fine_levels
        found = network.decode_maps(values[fine:], clip["frames"].shape[0], clip["padding"], values[:fine][::-1])
        query = self.matcher(self.predictions(found["logits"], found["boxes"]), targets_in_picture(clip["targets"]))
        queries = found["queries"]
        if network.mask_branch is not None:
            queries = queries_of_instances(part(query, 0, -1), queries)
        return (*values_of_scene(queries, found["scene"]), noted(query), found["logits"], found["boxes"])

    def draw(self, values: Tensors, clip: TrainingClip) -> Tensors:
        """The scene gives way to the masks, as far as a frame by itself tells them."""
        return self.without_scene((*values, *self.maps_of_frames(values, clip, 0.0, 1.0)))

    def draw_first(self, values: Tensors, clip: TrainingClip) -> Tensors:
        return (*values, *self.maps_of_frames(values, clip, 0.0, 0.5))

    def draw_rest(self, values: Tensors, clip: TrainingClip) -> Tensors:
        return self.without_scene((*values, *self.maps_of_frames(values, clip, 0.5, 1.0)))

    def maps_of_frames(self, values: Tensors, clip: TrainingClip, start: float, stop: float) -> Tensors:
        """The first half of the mask head for a share of all frames: [F, Q, C', H, W]; nothing where that is none."""
        if self.network.mask_branch is None:
            return ()
        queries, memory, *fine_maps = values[: self.scene_size()]
        first, last = share_of(memory.shape[0], start, stop)
        if first == last:
            return ()
        B, Q, T, C = queries.shape
        h, w = memory.shape[2:]
        by_frame = part(swapped(queries, 1, 2).reshape(B * T, Q, C), 0, first, last)
        padding = resize_padding(self.padding_of(clip), h, w).reshape(B * T, h, w)
        scene: Scene = {
            "memory": part(memory, 0, first, last),
            "fine_maps": frames_between(fine_maps, first, last),
            "padding": padding[first:last],
        }
        return (self.network.mask_branch.per_frame(by_frame, scene),)

    def padding_of(self, clip: TrainingClip) -> ms.Tensor:
        """bool [B, T, H, W] of the clips as the network sees them."""
        return clip["padding"]

    def scene_size(self) -> int:
        """How many values the queries and their scene are: those, the memory and the fine maps."""
        return 2 + self.network.num_fine_levels

    def without_scene(self, values: Tensors) -> Tensors:
        return values[self.scene_size() :]

    def judge(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """The masks along time, and the losses."""
        noted_query, logits, boxes, *maps = values
        predictions, targets = self.predictions(logits, boxes), targets_in_picture(clip["targets"])
        masks = None
        if self.network.mask_branch is not None:
            masks = masks_along_time(self.network.mask_branch, maps, targets["exists"].shape[0]).expand_dims(0)
        total, terms = self.criterion(predictions, targets, read_back(noted_query, ms.int32), masks)
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


def queries_of_instances(query: ms.Tensor, queries: ms.Tensor) -> ms.Tensor:
    """The queries [B, Q, T, C] by ``query`` int [1, B, N] -> [B, N, T, C], zeros where there is no instance."""
    return at(of_instances(rows_of(query, queries.shape[1]), queries.expand_dims(0)), 0, 0)


def values_of_scene(queries: ms.Tensor, scene: Scene) -> Tensors:
    return (queries, scene["memory"], *scene["fine_maps"])


@ops.constexpr
def share_of(count: int, start: float, stop: float) -> tuple[int, int]:
    return int(count * start), int(count * stop)


def frames_between(maps: Sequence[ms.Tensor], first: int, last: int) -> Tensors:
    """[F, ...] each -> the same frames of each."""
    chosen: Tensors = ()
    for each in maps:
        chosen += (part(each, 0, first, last),)
    return chosen


def masks_along_time(mask_branch: nn.Cell, maps: Sequence[ms.Tensor], B: int) -> ms.Tensor:
    """Maps of all frames, [F, Q, C', H, W] one after the other -> the second half, mask logits [B, Q, T, H, W]."""
    of_frames = maps[0] if len(maps) == 1 else ops.concat(maps, axis=0)
    F, Q, C, H, W = of_frames.shape
    T = F // B
    by_query = swapped(of_frames.reshape(B, T, Q, C * H * W), 1, 2).reshape(B * Q, T, C, H, W)
    masks = mask_branch.per_query(by_query)
    return masks.reshape(B, Q, T, *masks.shape[2:])
