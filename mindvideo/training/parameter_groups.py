"""Which learning rate and weight decay each parameter gets: name patterns, first fit counts, printed as a table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mindvideo.errors import UserError

if TYPE_CHECKING:
    from mindspore import Parameter


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose name contains ``pattern`` (a regular expression) learn at this rate with this weight decay.

    ``late``: they rest while the others warm up, where the schedule has a late warm-up.
    """

    name: str
    pattern: str
    learning_rate: float
    weight_decay: float
    late: bool = False


@dataclasses.dataclass(frozen=True)
class AssignedGroup:
    """A group with the parameters that fell to it, in the network's order."""

    name: str
    learning_rate: float
    weight_decay: float
    parameters: tuple[Parameter, ...]
    late: bool = False

    @property
    def num_values(self) -> int:
        return sum(parameter.size for parameter in self.parameters)


def assign_parameters(
    parameters: Sequence[Parameter], groups: Sequence[ParameterGroup], *, no_decay: Sequence[str] = ()
) -> list[AssignedGroup]:
    """Give every parameter to the first group whose pattern its name contains.

    A name that contains one of the ``no_decay`` patterns keeps its learning rate and gets no weight decay. A
    parameter without a group is an error; a group without parameters stays in the list, so that the table shows it.
    """
    members: dict[tuple[int, bool], list[Parameter]] = {}
    homeless = []
    for parameter in parameters:
        index = next((i for i, group in enumerate(groups) if re.search(group.pattern, parameter.name)), None)
        if index is None:
            homeless.append(parameter.name)
            continue
        decays = groups[index].weight_decay > 0 and not any(re.search(p, parameter.name) for p in no_decay)
        members.setdefault((index, decays or groups[index].weight_decay == 0), []).append(parameter)
    if homeless:
        patterns = ", ".join(repr(group.pattern) for group in groups)
        shown = ", ".join(homeless[:5]) + (f" and {len(homeless) - 5} more" if len(homeless) > 5 else "")
        raise UserError(f"no parameter group fits {shown}; the patterns are {patterns}: add a last group '.*'")
    assigned = []
    for index, group in enumerate(groups):
        kept, exempt = members.get((index, True), []), members.get((index, False), [])
        if kept or not exempt:
            assigned.append(AssignedGroup(group.name, group.learning_rate, group.weight_decay, tuple(kept), group.late))
        if exempt:
            name = f"{group.name}, no decay"
            assigned.append(AssignedGroup(name, group.learning_rate, 0.0, tuple(exempt), group.late))
    return assigned


def group_table(groups: Sequence[AssignedGroup]) -> str:
    """The groups as an aligned table: name, learning rate, weight decay, tensors, values, an example."""
    rows = [("group", "learning rate", "weight decay", "tensors", "values", "first parameter")]
    for group in groups:
        first = group.parameters[0].name if group.parameters else "-"
        count, values = str(len(group.parameters)), f"{group.num_values:,}"
        rows.append((group.name, f"{group.learning_rate:g}", f"{group.weight_decay:g}", count, values, first))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
