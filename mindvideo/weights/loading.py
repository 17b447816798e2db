"""Loading weights, strictly: what does not fit is refused with the names that differ, never skipped in silence."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor, nn

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import CheckpointFile, open_checkpoint
from mindvideo.weights.class_names import first_renamed
from mindvideo.weights.conversion import Fit, explain_misfit, fit_file, verify_checksum
from mindvideo.weights.rules import Plan, Rule, RuleTable, Shapes, as_tables
from mindvideo.weights.stored_tensor import StoredTensor

logger = logging.getLogger("mindvideo.weights")

# A counter that the training step lends to the dropout layers; it belongs to the run and not to the weights.
ITERATION = "iteration"
# (file) -> the configurations whose network the file fits, for the message when it does not fit this one.
Suggest = Callable[[CheckpointFile], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """The source of the names, the number of loaded parameters, and those that kept their initial values."""

    path: Path
    source: str
    loaded: int
    fresh: tuple[str, ...]


def load_weights(
    network: nn.Cell,
    path: str | Path,
    *,
    rules: Sequence[Rule | RuleTable],
    start_of_training: bool = False,
    source: str | None = None,
    suggest: Suggest | None = None,
    class_names: Mapping[int, str] | None = None,
) -> LoadedWeights:
    """Fill ``network`` from a native .ckpt, or from a published file through the tables of its family.

    Every parameter is filled, or UserError says what differs. Only at the ``start_of_training`` may a file lack the
    parameters that its table declares fresh (an ImageNet backbone, a detector's weights for a video model, what a
    training stage adds to the one before), or have class heads for another class list; what then keeps its initial
    values is named in the log. ``class_names``: those of the training; heads of as many classes with other names begin
    afresh too. ``source`` picks a table by name.
    """
    file = open_checkpoint(path)
    parameters = weights_of(network)
    shapes = {place: tuple(parameter.shape) for place, parameter in parameters.items()}
    tables = as_tables(rules)
    if file.is_native:
        verify_checksum(file)
        tables = [native_table(file, tables)]
    fit = fit_file(file, tables, shapes, source=None if file.is_native else source)
    heads = tuple(fit.wrong_shapes) if fit.only_class_heads_differ else ()
    if start_of_training and not fit.wrong_shapes:
        heads = _heads_of_other_classes(fit, file, class_names)
    if not fit.is_complete and not (start_of_training and heads):
        raise UserError(_refusal(fit, file, shapes, suggest, heads))
    fresh = (*fit.plan.fresh, *heads)
    if fresh and not start_of_training:
        raise UserError(
            f"weights {file.path}: enough to start a training from ({fit.plan.table.describes}), but they lack "
            f"{', '.join(fresh[:3])}{f' and {len(fresh) - 3} more' if len(fresh) > 3 else ''}"
        )
    filled = {place: tensor for place, tensor in fit.tensors.items() if place not in heads}
    for place, tensor in filled.items():
        require_same_kind(place, parameters[place], tensor)
    for place, tensor in filled.items():
        assign(parameters[place], tensor)
    _log_loaded(fit.plan, file, heads)
    return LoadedWeights(file.path, fit.plan.table.name, len(fit.tensors) - len(heads), fresh)


def weights_of(network: nn.Cell) -> dict[str, Parameter]:
    """The parameters by their place in the network, which stays the same inside a training step."""
    return {place: p for place, p in network.parameters_and_names() if not is_lent(place)}


def is_lent(place: str) -> bool:
    """Whether a parameter in that place belongs to the run. Its own name does not say so: it changes when a network
    that holds it becomes part of another one."""
    return place.rpartition(".")[2] == ITERATION


def assign(parameter: Parameter, tensor: StoredTensor) -> None:
    """Copy the values, converted to the parameter's type."""
    parameter.set_data(Tensor(np.array(tensor.numpy()), dtype=parameter.dtype))


def require_same_kind(place: str, parameter: Parameter, tensor: StoredTensor) -> None:
    """Whole numbers do not become weights, nor weights whole numbers."""
    if ("float" in tensor.dtype) != ("Float" in str(parameter.dtype)):
        raise UserError(f"'{place}' is {parameter.dtype} in the network and {tensor.dtype} in the file")


def native_table(file: CheckpointFile, tables: Sequence[RuleTable]) -> RuleTable:
    """For a .ckpt, whose names are the network's own; it says itself what kind of file its source was.

    What such a source does not hold stands in the family's table. The patterns in the file are not used unless they are
    those of a table: an expression of a stranger can take forever to match. What a later training stage of the family
    has may be missing as well, but only as a whole: a file that holds a part of it is a damaged one.
    """
    heads = tuple(dict.fromkeys(pattern for table in tables for pattern in table.class_heads))
    stated = file.provenance.get("fresh_patterns")
    fresh = tuple(
        pattern for pattern in tables[0].fresh if not any(re.fullmatch(pattern, name) for name in file.tensors)
    )
    if isinstance(stated, list) and stated:
        source = file.provenance.get("names")
        of_source = [pattern for table in tables if table.name == source for pattern in table.fresh]
        known = {pattern for table in tables for pattern in table.fresh}
        fresh = (*fresh, *of_source, *(pattern for pattern in stated if isinstance(pattern, str) and pattern in known))
    return RuleTable(
        "native",
        (Rule(r"(.*)", r"\1"),),
        "a checkpoint of ours, of a converted file or an earlier training stage",
        fresh=fresh,
        class_heads=heads,
        dropped=(rf"(?:.*\.)?{ITERATION}",),  # runs that evaluated used to write it
    )


def _heads_of_other_classes(fit: Fit, file: CheckpointFile, class_names: Mapping[int, str] | None) -> tuple[str, ...]:
    """Class heads whose outputs have other names in the training than in the file, where both say their names."""
    renamed = first_renamed(file.class_names or {}, class_names or {})
    if renamed is None:
        return ()
    logger.warning("class %d is '%s' in %s and '%s' in this training", renamed[0], renamed[1], file.path, renamed[2])
    return tuple(name for name in fit.tensors if fit.plan.table.is_class_head(name))


def _refusal(fit: Fit, file: CheckpointFile, shapes: Shapes, suggest: Suggest | None, heads: tuple[str, ...]) -> str:
    message = f"weights {file.path}: do not fit this network: {explain_misfit(fit, file, shapes)}"
    fitting = list(suggest(file)) if suggest is not None else []
    if fitting:
        return f"{message}. They fit {', '.join(fitting)} (give it with -c)"
    if heads:
        return f"{message}. The file is for another class list: use its configuration, or start a training from it"
    if suggest is not None:
        return f"{message}. No configuration of this project fits them"
    return message


def _log_loaded(plan: Plan, file: CheckpointFile, heads: Sequence[str]) -> None:
    dropped = f", {len(plan.dropped)} dropped on purpose" if plan.dropped else ""
    count = len(plan.links) - len(heads)
    logger.info("loaded %d parameters from %s (%s, %s)%s", count, file.path, file.format, plan.table.name, dropped)
    if heads:
        logger.warning("re-initialised for the new class list: %s", ", ".join(grouped_names(heads)))
    if plan.fresh:
        names = ", ".join(grouped_names(plan.fresh))
        logger.warning("not in the file, freshly initialised (%d): %s", len(plan.fresh), names)


def grouped_names(names: Iterable[str]) -> list[str]:
    """Every name, those that differ only in the number of their layer as one: ``class_embed.*.bias (6)``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\.\d+(?=\.)", ".*", name), []).append(name)
    return [f"{group} ({len(own)})" if len(own) > 1 else own[0] for group, own in groups.items()]
