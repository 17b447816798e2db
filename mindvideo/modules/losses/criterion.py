"""The training loss: a table of terms over predictions that are lined up with the instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.errors import UserError
from mindvideo.modules.losses.matched import Matched, of_instances, present_by_rank, rows_of
from mindvideo.modules.values import Predictions, Targets
from mindvideo.ops.masks import resize_bilinear
from mindvideo.ops.slices import part

LAYERS = ("all", "last")
DIVISORS = ("frame", "instance", "none")
SUPERVISED = ("present", "all", "released")


class LossTerm(NamedTuple):
    """A row of the table: ``function(matched, **options) -> [D]``, as in losses/terms.py.

    ``layers``: "all" decoder layers, or the "last" only. ``per``: what the function's sum is divided by: the number of
    instances times the frames of the clip ("frame"), the number of instances ("instance"), or nothing ("none"). A
    weight of 0 reports the term without training it.
    """

    name: str
    function: Callable[..., ms.Tensor]
    weight: float
    layers: str = "all"
    per: str = "frame"
    options: dict[str, Any] = {}


class Criterion(nn.Cell):
    """predictions, targets, query [, masks, extra] -> total [], terms [n] in the order of ``term_names``.

    ``query``: what the matcher gave, int [D, B, N]. ``masks``: the mask logits of the instances' queries (made for
    those only), [D, B, N, T, h, w], with D = 1 where only the last layer has masks; they are resized to the pixels of
    ``targets["masks"]``. ``extra`` reaches the terms as ``Matched.extra``, for terms of a family's own.

    The last ``num_layers`` layers of the predictions count. A term of the last layer is called by its name, that of
    layer 0 "name_0" and so on; terms are reported before their weights. Settings of what the families do differently:

    * ``supervised``: in which frames a matched query is taught the instance: "present", those that show it; "all" of
      the clip; "released", those that show the instance whose number is the query's rank among the matched ones.
    * ``min_count``: the count of instances that sums are divided by, averaged over the processes of a run by
      ``reduce_count``, is at least one "instance", or one "frame" of one instance.
    * ``mask_stride``: target masks are averaged over squares of this many pixels before they are compared.

    A term of your own is a row more in the table; nothing here is edited.
    """

    def __init__(
        self,
        *,
        terms: Sequence[LossTerm],
        num_layers: int,
        reduce_count: nn.Cell,
        supervised: str = "present",
        min_count: str = "instance",
        mask_stride: int = 1,
    ) -> None:
        super().__init__()
        for term in terms:
            if term.layers not in LAYERS or term.per not in DIVISORS:
                raise UserError(f"loss term {term.name}: layers is one of {LAYERS}, per one of {DIVISORS}; got {term}")
        if supervised not in SUPERVISED or min_count not in DIVISORS[:2]:
            raise UserError(f"Criterion: supervised is one of {SUPERVISED}, min_count one of {DIVISORS[:2]}")
        self.functions = tuple(term.function for term in terms)
        self.divisors = tuple(term.per for term in terms)
        self.options = tuple(dict(term.options) for term in terms)
        self.last_only = tuple(term.layers == "last" for term in terms)
        self.num_layers, self.mask_stride = num_layers, mask_stride
        self.supervised, self.min_count = supervised, min_count
        self.reduce_count = reduce_count
        # The functions' answers lie term by term, layer 0 first; they are reported layer by layer, the last one first.
        answers = [(term, layer) for term in terms for layer in ((-1,) if term.layers == "last" else self.numbers())]
        order = sorted(range(len(answers)), key=lambda number: answers[number][1])
        self.term_names = tuple(name_of(*answers[number]) for number in order)
        if len(set(self.term_names)) < len(self.term_names):
            raise UserError(f"two loss terms have one name: {', '.join(sorted(self.term_names))}; rename one of them")
        self.order = ms.Tensor(np.array(order, np.int32))
        self.weights = ms.Tensor(np.array([answers[number][0].weight for number in order], np.float32))

    def numbers(self) -> tuple[int, ...]:
        """The numbers of the layers in their order; the last one is -1."""
        return (*range(self.num_layers - 1), -1)

    def construct(
        self,
        predictions: Predictions,
        targets: Targets,
        query: ms.Tensor,
        masks: ms.Tensor | None = None,
        extra: Any = None,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        every, last = self.line_up(predictions, targets, query, masks, extra)
        T = targets["boxes"].shape[2]
        instances = self.reduce_count(ops.sum(ops.cast(targets["exists"], ms.float32)))
        instances = ops.maximum(instances, ms.Tensor(1.0 if self.min_count == "instance" else 1.0 / T, ms.float32))
        answers: tuple[ms.Tensor, ...] = ()
        for number, function in enumerate(self.functions):
            matched = last if self.last_only[number] else every
            answer = function(matched, **self.options[number])
            if self.divisors[number] == "frame":
                answer = answer / (instances * T)
            if self.divisors[number] == "instance":
                answer = answer / instances
            answers += (answer,)
        terms = ops.gather(ops.cat(answers), self.order, 0)
        return ops.sum(terms * self.weights), terms

    def line_up(
        self, predictions: Predictions, targets: Targets, query: ms.Tensor, masks: ms.Tensor | None, extra: Any
    ) -> tuple[Matched, Matched]:
        """The predictions as the terms of all layers see them, and as those of the last layer do."""
        logits, boxes = part(predictions["logits"], 0, -self.num_layers), predictions["boxes"]
        query = part(query, 0, -self.num_layers)
        rows = rows_of(query, logits.shape[2])  # [D, B, N, Q]
        taken = ops.cast(query >= 0, ms.float32)
        supervised = self.supervised_frames(query, taken, targets)
        if boxes is not None:
            boxes = of_instances(rows, part(boxes, 0, -self.num_layers))
        target_masks = None
        if masks is not None:
            target_masks = self.target_masks(targets)
            masks = at_pixels_of(target_masks, masks)
        every: Matched = {
            "logits": logits,
            "rows": rows,
            "taken": taken,
            "supervised": supervised,
            "boxes": boxes,
            "masks": masks,
            "target_masks": target_masks,
            "targets": targets,
            "extra": extra,
        }
        last: Matched = {
            "logits": part(logits, 0, -1),
            "rows": part(rows, 0, -1),
            "taken": part(taken, 0, -1),
            "supervised": part(supervised, 0, -1),
            "boxes": None if boxes is None else part(boxes, 0, -1),
            "masks": None if masks is None else part(masks, 0, -1),
            "target_masks": target_masks,
            "targets": targets,
            "extra": extra,
        }
        return every, last

    def supervised_frames(self, query: ms.Tensor, taken: ms.Tensor, targets: Targets) -> ms.Tensor:
        """float [D, B, N, T]."""
        present = ops.cast(ops.logical_and(targets["present"], targets["exists"].expand_dims(-1)), ms.float32)
        if self.supervised == "all":
            return ops.broadcast_to(taken.expand_dims(-1), (*taken.shape, present.shape[-1]))
        if self.supervised == "released":
            # PARITY(vistr): the released matcher looks the frames up in the row of the query's rank.
            return present_by_rank(query, present) * taken.expand_dims(-1)
        return present.expand_dims(0) * taken.expand_dims(-1)

    def target_masks(self, targets: Targets) -> ms.Tensor:
        """float [B, N, T, h, w]."""
        B, N, T, H, W = targets["masks"].shape
        masks = ops.cast(targets["masks"], ms.float32)
        if self.mask_stride == 1:
            return masks
        pooled = ops.avg_pool2d(masks.reshape(B * N, T, H, W), self.mask_stride, self.mask_stride)
        return pooled.reshape(B, N, T, *pooled.shape[2:])


def name_of(term: LossTerm, layer: int) -> str:
    return term.name if layer < 0 else f"{term.name}_{layer}"


def at_pixels_of(target_masks: ms.Tensor, masks: ms.Tensor) -> ms.Tensor:
    """Mask logits [D, B, N, T, h, w] resized to the height and width of the targets."""
    D, B, N, T, h, w = masks.shape
    H, W = target_masks.shape[-2:]
    if (h, w) == (H, W):
        return masks
    return resize_bilinear(masks.reshape(D * B * N, T, h, w), H, W).reshape(D, B, N, T, H, W)
