"""Gradients for less memory: the backward pass computes the inside of each part of a training network again.

A training network that can do this has ``parts()``, a row of (run, weights):

* ``run(values, clip) -> values``: what passes from part to part, tuples of float tensors. The first part gets none. The
  last one gives the total loss [], the terms [n], and what an opponent learns from, a tuple;
* ``weights``: the parameters that the part works with, which may be those of another part, too. The last part has all
  that no other has.

Only what passes is kept of the forward pass. Then, from the last part to the first, each is computed once more and
differentiated, so memory holds the inside of one part at a time. MindSpore's own ``Cell.recompute`` keeps what
operators with a ``bprop`` of their own read, and here most have one: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
from mindspore import Parameter, ParameterTuple, nn, ops

from mindvideo.errors import UserError
from mindvideo.training.loss_scale import scaled
from mindvideo.training.running_statistics import copy_after, put_back, running_statistics

Tensors = tuple[ms.Tensor, ...]


class _Part(nn.Cell):
    """A part as a cell.

    The very cell that runs has to be the one that is differentiated: MindSpore 2.10 fails on a graph that is used by
    itself and inside another which is differentiated, where it reads the step's number (dropout).
    """

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__(auto_prefix=False)
        self.run = run

    def construct(self, values: Tensors, clip: dict[str, Any]) -> Tensors:
        return self.run(values, clip)


class _Link(nn.Cell):
    """A part and all that follow.

    Values, clip, loss scale -> what the last part gives, the gradients of the values, and of the weights from here on.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        weights: Sequence[Parameter],
        following: nn.Cell,
        statistics: Sequence[Parameter],
    ) -> None:
        super().__init__(auto_prefix=False)
        self.part, self.weights, self.following = _Part(run), ParameterTuple(weights), following
        self.statistics, self.map = ParameterTuple(statistics), ops.HyperMap()
        self.differentiate = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(
        self, values: Tensors, clip: dict[str, Any], scale: ms.Tensor
    ) -> tuple[tuple[Any, ...], Tensors, Tensors]:
        given = self.part(values, clip)
        moved = self.statistics_after(given)
        results, of_given, of_later = self.following(given, clip, scale)
        # Not before those gradients are there; nor can the compiler take this pass for the first one.
        values, clip = _after(values, (of_given, moved)), _clip_after(clip, (of_given, moved))
        of_inputs, of_weights = self.differentiate(self.part, self.weights)(values, clip, of_given)
        return results, of_inputs[0], self.as_moved_once(moved, of_weights) + of_later

    def statistics_after(self, given: Tensors) -> Tensors:
        """Copies of what the first pass moved."""
        return self.map(ops.partial(copy_after, given), self.statistics) if len(self.statistics) > 0 else ()

    def as_moved_once(self, moved: Tensors, gradients: Tensors) -> Tensors:
        """The gradients; what the second pass moved once more is put back before anyone has them."""
        if len(self.statistics) == 0:
            return gradients
        done = self.map(ops.partial(put_back, gradients), self.statistics, moved)
        return _after(gradients, done)


class _ScaledEnd(nn.Cell):
    """The last part with its loss multiplied by the loss scale."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__(auto_prefix=False)
        self.run = run

    def construct(self, values: Tensors, clip: dict[str, Any], scale: ms.Tensor) -> tuple[Any, ...]:
        total, terms, material = self.run(values, clip)
        return scaled(total, terms, scale), total, terms, material


class _LastLink(nn.Cell):
    """As a link; nothing follows, so nothing is computed twice."""

    def __init__(self, run: Callable[..., Any], weights: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.differentiate = ops.value_and_grad(_ScaledEnd(run), 0, ParameterTuple(weights), has_aux=True)

    def construct(
        self, values: Tensors, clip: dict[str, Any], scale: ms.Tensor
    ) -> tuple[tuple[Any, ...], Tensors, Tensors]:
        results, (of_values, of_weights) = self.differentiate(values, clip, scale)
        return results, of_values, of_weights


class RecomputedGradients(nn.Cell):
    """The columns of a batch and the loss scale -> ((scaled loss, loss, terms, material), gradient of each weight)."""

    def __init__(self, training: nn.Cell, weights: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        if not hasattr(training, "parts"):
            raise UserError(f"train.recompute: {type(training).__name__} has no parts() to compute again; leave it out")
        self.training_network = training  # a cell within, so that it follows set_train
        for _, cell in training.cells_and_names():
            if hasattr(cell, "keeps_weights"):  # attention, which computes them again otherwise
                cell.keeps_weights = False
        *early, last = training.parts()
        owned = [_among(weights, part.weights) for part in early]
        elsewhere = {id(weight) for group in owned for weight in group}
        rest = [weight for weight in weights if id(weight) not in elsewhere]
        link: nn.Cell = _LastLink(last.run, rest)
        for part, group in zip(reversed(early), reversed(owned)):
            link = _Link(part.run, group, link, running_statistics(training, part.weights))
        self.first = link
        in_row = [id(weight) for group in (*owned, rest) for weight in group]
        # Of a weight that several parts work with, each has its share of the gradient.
        self.places = tuple(
            tuple(place for place, each in enumerate(in_row) if each == id(weight)) for weight in weights
        )

    def construct(
        self,
        images: ms.Tensor,
        sizes: ms.Tensor,
        labels: ms.Tensor,
        boxes: ms.Tensor,
        masks: ms.Tensor,
        present: ms.Tensor,
        exists: ms.Tensor,
        scale: ms.Tensor,
    ) -> tuple[tuple[Any, ...], Tensors]:
        frames, padding = self.training_network.pixels(images, sizes)
        targets = {"labels": labels, "boxes": boxes, "masks": masks, "present": present, "exists": exists}
        clip = {"frames": frames, "padding": padding, "sizes": sizes, "targets": targets}
        results, _, in_row = self.first((), clip, scale)
        gradients: Tensors = ()
        for places in self.places:
            gradients += (_sum_at(in_row, places),)
        return results, gradients


def _sum_at(tensors: Tensors, places: tuple[int, ...]) -> ms.Tensor:
    total = tensors[places[0]]
    for place in places[1:]:
        total = total + tensors[place]
    return total


def _after(values: Tensors, first: Any) -> Tensors:
    """The same values, not before ``first``."""
    later: Tensors = ()
    for value in values:
        later += (ops.depend(value, first),)
    return later


def _clip_after(clip: dict[str, Any], first: Any) -> dict[str, Any]:
    return {
        "frames": ops.depend(clip["frames"], first),
        "padding": clip["padding"],
        "sizes": clip["sizes"],
        "targets": clip["targets"],
    }


def _among(weights: Sequence[Parameter], chosen: Sequence[Parameter]) -> list[Parameter]:
    """Those of ``chosen`` that are in ``weights``, in the order there."""
    wanted = {id(weight) for weight in chosen}
    return [weight for weight in weights if id(weight) in wanted]
