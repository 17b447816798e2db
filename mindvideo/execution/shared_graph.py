"""One compiled graph for cells that differ in their weights only, such as the layers of a stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mindspore as ms
from mindspore import nn

from mindvideo.execution.kept_graph import KeptGraph


class SharedGraph:
    """Iterating gives the first cell once for each cell, every time with that cell's weights.

    The graph of the first serves them all, so memory and time for compiling are those of one; the others have what it
    has, in the same places, and what else they have is not used. After the iteration,
    also when it ends early, the first has its own weights again.
    """

    def __init__(self, cells: Sequence[nn.Cell]) -> None:
        self._vessel = KeptGraph(cells[0])
        places = [place for place, _ in cells[0].parameters_and_names()]
        of_cells = [dict(cell.parameters_and_names()) for cell in cells]
        self._weights = [[own[place] for place in places] for own in of_cells]
        self._parameters = list(self._weights[0])

    def __iter__(self) -> Iterator[KeptGraph]:
        own = [ms.Tensor(parameter.asnumpy().copy()) for parameter in self._parameters]
        try:
            for index, weights in enumerate(self._weights):
                if index:
                    self._fill(weights)
                yield self._vessel
        finally:
            self._fill(own)

    def _fill(self, values: Sequence[ms.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values):
            parameter.set_data(ms.Tensor(value.asnumpy()))
