"""Which query carries which instance: the cheapest one-to-one assignment by a table of costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mindspore as ms
from mindspore import nn, ops

from mindvideo.errors import UserError
from mindvideo.modules.values import MatchTargets, Predictions
from mindvideo.ops.assignment import assignment
from mindvideo.ops.slices import part

FRAMES = ("all", "present", "first")


class CostTerm(NamedTuple):
    """A row of the table: ``function(predictions, targets, counted, **options) -> [D, B, Q, N]``.

    See matching/costs.py for such functions. (A ``functools.partial`` is no function to MindSpore: the graph would hand
    it to the Python interpreter.)
    """

    name: str
    function: Callable[..., ms.Tensor]
    weight: float
    options: dict[str, Any] = {}


class Matcher(nn.Cell):
    """predictions, targets -> the query of each instance, int32 [D, B, N]; -1 where there is none.

    Each decoder layer is matched by itself and each clip by itself; no gradient passes. The cost of a pair is the sum
    of ``terms``, each times its weight. ``frames`` says which frames count: "all" of the clip, where an absent instance
    counts with whatever box its row holds; "present", those that show the instance; "first", frame 0, however many
    frames predictions and targets have. How frames are reduced is up to a term: a mean, or a joint distance.

    The masks of ``predictions`` and ``targets`` are not read and can be left out.
    """

    def __init__(self, *, terms: Sequence[CostTerm], frames: str = "all") -> None:
        super().__init__()
        if frames not in FRAMES:
            raise UserError(f"Matcher: frames is '{frames}'; choose one of {', '.join(FRAMES)}")
        self.names = tuple(term.name for term in terms)
        self.functions = tuple(term.function for term in terms)
        self.weights = tuple(float(term.weight) for term in terms)
        self.options = tuple(dict(term.options) for term in terms)
        self.frames = frames

    def construct(self, predictions: Predictions, targets: MatchTargets) -> ms.Tensor:
        cost = self.cost(predictions, targets)
        D, B, Q, N = cost.shape
        exists = ops.broadcast_to(targets["exists"].expand_dims(0), (D, B, N)).reshape(D * B, N)
        return assignment(cost.reshape(D * B, Q, N), exists).reshape(D, B, N)

    def cost(self, predictions: Predictions, targets: MatchTargets) -> ms.Tensor:
        """[D, B, Q, N]."""
        logits, boxes = ops.stop_gradient(predictions["logits"]), ops.stop_gradient(predictions["boxes"])
        target_boxes, present = targets["boxes"], targets["present"]
        if self.frames == "first":
            logits, boxes = part(logits, 3, 0, 1), part(boxes, 3, 0, 1)
            target_boxes, present = part(target_boxes, 2, 0, 1), part(present, 2, 0, 1)
        counted = ops.cast(present, ms.float32)
        if self.frames != "present":
            counted = ops.ones_like(counted)
        compared: Predictions = {"logits": logits, "boxes": boxes, "masks": None}
        wanted: MatchTargets = {
            "labels": targets["labels"],
            "boxes": target_boxes,
            "present": present,
            "exists": targets["exists"],
        }
        total = ms.Tensor(0.0, ms.float32)  # not called like the method: MindSpore would take it for a recursion
        for number, function in enumerate(self.functions):
            total = total + self.weights[number] * function(compared, wanted, counted, **self.options[number])
        return ops.stop_gradient(total)
