"""Checkpoints of a run: training states to go on from, and weights to use.

<output>/checkpoints/step_00001000.state   everything a run needs to go on as if it had never stopped
<output>/best.ckpt, last.ckpt              only the weights, in MindSpore's format (averaged ones where kept)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn

from mindvideo.errors import UserError
from mindvideo.training.state_file import DamagedStateError, read_state, write_state
from mindvideo.weights.conversion import write_native_file
from mindvideo.weights.loading import ITERATION, is_lent, weights_of
from mindvideo.weights.stored_tensor import from_numpy

FOLDER = "checkpoints"
LAST_WEIGHTS, BEST_WEIGHTS = "last.ckpt", "best.ckpt"
_STATE_NAME = re.compile(r"step_(\d+)\.state")
# Set by a signal in one process for one moment; no part of what a run is.
_TRANSIENT = {"stop_request"}
_log = logging.getLogger("mindvideo.checkpoint")


class CheckpointFolder:
    """The training states of one run, the newest ``keep`` of them."""

    def __init__(self, output: Path, *, keep: int = 3) -> None:
        self.path = output / FOLDER
        self.keep = keep

    def state_path(self, iteration: int) -> Path:
        return self.path / f"step_{iteration:08d}.state"

    def states(self) -> list[Path]:
        """Complete or damaged, newest first; files half written when a process died do not count."""
        numbered = [(_STATE_NAME.fullmatch(path.name), path) for path in self.path.glob("step_*.state")]
        found = [(int(name[1]), path) for name, path in numbered if name]
        return [path for _, path in sorted(found, reverse=True)]

    def save(self, iteration: int, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Path:
        path = self.state_path(iteration)
        write_state(path, arrays, facts)
        for old in self.states()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def newest_good(self) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest state that is whole; damaged ones are named and passed over. None when there is no state."""
        states = self.states()
        for path in states:
            try:
                arrays, facts = read_state(path)
            except DamagedStateError as error:
                _log.warning("%s; trying the checkpoint before it", error)
                continue
            return path, arrays, facts
        if states:
            raise UserError(f"every checkpoint in {self.path} is damaged ({len(states)} of them); start a new --output")
        return None

    def discard_after(self, iteration: int) -> None:
        """Remove states newer than ``iteration`` (they are damaged: the run goes on from there) and half files."""
        for path in [*self.path.glob(".step_*"), *self.states()]:
            match = _STATE_NAME.fullmatch(path.name)
            if match is None or int(match.group(1)) > iteration:
                path.unlink(missing_ok=True)


def parameters_of(step: nn.Cell) -> dict[str, Parameter]:
    """Everything that a step changes or computes with, by name."""
    counter = getattr(step, ITERATION, None)
    found: dict[str, Parameter] = {}
    for parameter in step.get_parameters():
        # The dropout layers hold the counter too, and whatever takes in the network names it after its place there.
        name = ITERATION if parameter is counter else parameter.name
        if name in found and found[name] is not parameter:
            raise ValueError(f"two parameters are called {name}")
        if name not in _TRANSIENT:
            found[name] = parameter
    return found


def collect_state(step: nn.Cell) -> dict[str, np.ndarray]:
    """Network, optimiser, average, loss scale and counters on the host."""
    return {name: parameter.asnumpy() for name, parameter in parameters_of(step).items()}


def restore_state(step: nn.Cell, arrays: Mapping[str, np.ndarray], *, source: Path) -> None:
    """Put a collected state back; it has to fit name by name and shape by shape."""
    parameters, arrays = parameters_of(step), with_counter(arrays)
    problems = [f"{name} is not in the file" for name in parameters if name not in arrays]
    problems += [f"{name} is not in this run" for name in arrays if name not in parameters]
    for name, parameter in parameters.items():
        if name in arrays and arrays[name].shape != tuple(parameter.shape):
            problems.append(f"{name} is {arrays[name].shape} in the file and {tuple(parameter.shape)} in this run")
    if problems:
        shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise UserError(f"{source} is of another model or optimiser: {shown}. Resume with the run's own configuration")
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name], parameter.dtype))


def with_counter(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A collected state with the counter of its steps under its own name.

    Runs that evaluated used to write it under the name of a place in the network.
    """
    misplaced = [name for name in arrays if is_lent(name)]
    if ITERATION in arrays or len(misplaced) != 1:
        return arrays
    return {ITERATION if name == misplaced[0] else name: value for name, value in arrays.items()}


def network_weights(network: nn.Cell, *, averages: Mapping[str, Parameter] | None = None) -> dict[str, np.ndarray]:
    """The weights by their place in the network; ``averages`` (parameter name -> average) take their place."""
    averages = averages or {}
    return {place: averages.get(p.name, p).asnumpy() for place, p in weights_of(network).items()}


def save_weights(
    path: Path, weights: Mapping[str, np.ndarray], *, class_names: Mapping[int, str] | None = None
) -> None:
    """Write weights as a MindSpore checkpoint with a check sum, whole or not at all; ``class_names`` by category id."""
    tensors = {name: from_numpy(value) for name, value in weights.items()}
    write_native_file(path, tensors, {}, class_names=class_names)
