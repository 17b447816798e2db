"""How GMP-VIS learns: each clip as VisTR does, and the graphs of two clips of a video matched against each other."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops

from mindvideo.models.gmpvis.network import GMPVIS
from mindvideo.modules.clip_training import (
    ClipTraining,
    masks_along_time,
    queries_of_instances,
    values_of_scene,
)
from mindvideo.modules.losses.graph_matching import MatchedGraphs
from mindvideo.modules.losses.matched import Matched, of_instances, rows_of
from mindvideo.modules.losses.terms import softmax_classes
from mindvideo.modules.training_parts import (
    Tensors,
    TrainingClip,
    noted,
    read_back,
    weights_of,
    without,
)
from mindvideo.modules.values import Targets
from mindvideo.ops.slices import at, swapped

_products = ops.BatchMatMul()

MIN_WEIGHT = 1e-6  # of all frames of a query together


class GMPVISTraining(ClipTraining):
    """The columns of a ClipBatch -> total [], terms [n] in the order of ``term_names``.

    A sample of twice the network's ``num_frames`` is two clips of a video: both go through the network as clips of
    their own, and their graphs are matched. In a sample of ``num_frames`` the two halves of the clip make the graphs.
    ``sharpness`` gives the decisiveness of the assignment while it is being learned.
    """

    def __init__(
        self,
        *,
        pixels: nn.Cell,
        network: GMPVIS,
        num_frames: int,
        matcher: nn.Cell,
        criterion: nn.Cell,
        sharpness: nn.Cell,
    ) -> None:
        super().__init__(pixels=pixels, network=network, matcher=matcher, criterion=criterion)
        self.num_frames, self.sharpness = num_frames, sharpness

    def weights_by_part(self) -> tuple[tuple[Parameter, ...], ...]:
        seeing, decoding, drawing = super().weights_by_part()
        return seeing, without(decoding, weights_of(self.network.graph_matcher, self.network.second_classes)), drawing

    def see(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """The backbone's maps of all clips."""
        return self.network.features(clips_apart(clip["frames"], self.clips_of(clip)))

    def decode(self, values: Tensors, clip: TrainingClip) -> Tensors:  # noqa: ARG002
        """Maps -> the scene with the queries whose masks are drawn (all, where they have second classes); which query

        has which instance, logits, boxes and nodes.
        """
        network, padding = self.network, self.padding_of(clip)
        fine = network.num_fine_levels
        found = network.decode_maps(values[fine:], padding.shape[0], padding, values[:fine][::-1])
        targets = targets_of_clips(clip["targets"], self.clips_of(clip))
        query = self.matcher(self.predictions(found["logits"], found["boxes"]), targets)  # int [D, B, N]
        queries = found["queries"]
        if network.second_classes is None:
            queries = queries_of_instances(query[-1:], queries)
        scene = values_of_scene(queries, found["scene"])
        return (*scene, noted(query), found["logits"], found["boxes"], found["nodes"])

    def padding_of(self, clip: TrainingClip) -> ms.Tensor:
        return clips_apart(clip["padding"], self.clips_of(clip))

    def judge(self, values: Tensors, clip: TrainingClip) -> tuple[ms.Tensor, ms.Tensor, Tensors]:
        """The masks along time, the graphs of two clips, and the losses."""
        noted_query, logits, boxes, nodes, *maps = values
        query = read_back(noted_query, ms.int32)
        clips = self.clips_of(clip)
        targets = targets_of_clips(clip["targets"], clips)
        rows = rows_of(query[-1:], nodes.shape[1])
        masks, second = masks_along_time(self.network.mask_branch, maps, nodes.shape[0]), None
        if self.network.second_classes is None:
            masks = masks.expand_dims(0)
        else:
            second = self.network.second_classes(masks).expand_dims(0)
            masks = of_instances(rows, masks.expand_dims(0))
        graphs = self.match(nodes, at(logits, 0, -1), at(rows, 0, 0), targets["present"], clips)
        extra = {"graphs": graphs, "second_logits": second}
        total, terms = self.criterion(self.predictions(logits, boxes), targets, query, masks, extra)
        return total, terms, ()

    def clips_of(self, clip: TrainingClip) -> int:
        return clip["frames"].shape[1] // self.num_frames

    def match(
        self, nodes: ms.Tensor, logits: ms.Tensor, rows: ms.Tensor, present: ms.Tensor, clips: int
    ) -> MatchedGraphs:
        """Nodes [B, Q, T, C], logits [B, Q, T, K], rows [B, N, Q] of the instances' queries, present [B, N, T]."""
        seen = ops.stop_gradient(1.0 - ops.softmax(logits, -1)[..., -1:])  # [B, Q, T, 1]
        visible = ops.cast(present, ms.float32)
        if clips == 2:
            B, Q, T, C = nodes.shape
            nodes = mean_nodes(nodes, seen).reshape(B // 2, 2, Q, C)
            visible = ops.amax(visible, -1).reshape(B // 2, 2, -1)
            rows = rows.reshape(B // 2, 2, -1, Q)
            history, current, shown = nodes[:, 0], nodes[:, 1], visible[:, 0] * visible[:, 1]
            rows_before, rows_after = rows[:, 0], rows[:, 1]
        else:
            half = max(1, self.num_frames // 2)
            first = self.num_frames - half  # of one frame, both halves are that frame: nothing to learn then
            history = mean_nodes(nodes[:, :, :half], seen[:, :, :half])
            current = mean_nodes(nodes[:, :, first:], seen[:, :, first:])
            shown = ops.amax(visible[:, :, :half], -1) * ops.amax(visible[:, :, first:], -1)
            shown = shown if first > 0 else ops.zeros_like(shown)
            rows_before, rows_after = rows, rows
        right = _products(swapped(rows_before * shown.expand_dims(-1), 1, 2), rows_after)  # [P, Q, Q], ones
        column = ops.cast(right.argmax(-1), ms.int32)
        truth = ops.select(ops.sum(right, -1) > 0.5, column, ops.full_like(column, -1))
        _, log_assignment = self.network.graph_matcher(history, current, self.sharpness())
        return {"log_assignment": log_assignment, "truth": ops.stop_gradient(truth)}


def clips_apart(values: ms.Tensor, clips: int) -> ms.Tensor:
    """[B, clips * T, ...] -> [B * clips, T, ...]."""
    return values.reshape(values.shape[0] * clips, values.shape[1] // clips, *values.shape[2:])


def targets_of_clips(targets: Targets, clips: int) -> Targets:
    """The targets of each clip of the samples; of two clips, an instance that one does not show is not in that one."""
    present = ops.logical_and(targets["present"], targets["exists"].expand_dims(-1))
    labels, exists = targets["labels"], targets["exists"]
    if clips > 1:
        present = instance_clips_apart(present, clips)
        labels = ops.repeat_interleave(labels, clips, 0)
        exists = ops.amax(ops.cast(present, ms.float32), -1) > 0.5
    return {
        "labels": labels,
        "boxes": instance_clips_apart(targets["boxes"], clips),
        "masks": instance_clips_apart(targets["masks"], clips),
        "present": present,
        "exists": exists,
    }


def instance_clips_apart(values: ms.Tensor, clips: int) -> ms.Tensor:
    """[B, N, clips * T, ...] -> [B * clips, N, T, ...]; as they are for one clip or where they are taken apart."""
    if clips == 1:
        return values
    B, N, F = values.shape[:3]
    apart = swapped(values.reshape(B, N, clips, F // clips, *values.shape[3:]), 1, 2)
    return apart.reshape(B * clips, N, F // clips, *values.shape[3:])


def mean_nodes(nodes: ms.Tensor, seen: ms.Tensor) -> ms.Tensor:
    """Nodes [B, Q, T, C] and how sure each is to be an instance [B, Q, T, 1] -> their weighted mean [B, Q, C]."""
    return ops.sum(nodes * seen, 2) / ops.maximum(ops.sum(seen, 2), ms.Tensor(MIN_WEIGHT, ms.float32))


def second_classes(m: Matched, *, no_object_weight: float) -> ms.Tensor:
    """The cross-entropy of the classes that were read from the masks' shapes."""
    second: Matched = {
        "logits": m["extra"]["second_logits"],
        "rows": m["rows"],
        "taken": m["taken"],
        "supervised": m["supervised"],
        "boxes": None,
        "masks": None,
        "target_masks": None,
        "targets": m["targets"],
        "extra": None,
    }
    return softmax_classes(second, no_object_weight=no_object_weight)
