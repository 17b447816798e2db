"""A model family gives the rest of the project one card with six answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindspore import nn
    from ml_collections import ConfigDict

    from mindvideo.inference.trackers.tracker import VideoTracker
    from mindvideo.training.parameter_groups import ParameterGroup
    from mindvideo.weights.rules import RuleTable


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of models.

    ``build_network(cfg)``: the network as users run it, with fresh weights.
    ``build_training(cfg, network, reduce_count)``: a Cell from the columns of a ClipBatch (without the ids) to
    (total loss, every loss term), with ``term_names``. ``reduce_count`` is a Cell that averages a count over the
    processes of a distributed run. A training network may bring an opponent, see training/opponent.py.
    ``mask_stride(cfg)``: the training graph takes masks at every this many pixels (see :class:`ClipBatch`).
    ``build_tracker(cfg, network)``: frames in, instances out.
    ``weight_rules(cfg)``: tables of names, source -> parameter; the published checkpoint first, then other starts.
    ``parameter_groups(cfg)``: learning rates and weight decays by name pattern; the first pattern that fits counts.
    """

    name: str
    build_network: Callable[[ConfigDict], nn.Cell]
    build_training: Callable[[ConfigDict, nn.Cell, nn.Cell], nn.Cell]
    mask_stride: Callable[[ConfigDict], int]
    build_tracker: Callable[[ConfigDict, nn.Cell], VideoTracker]
    weight_rules: Callable[[ConfigDict], Sequence[RuleTable]]
    parameter_groups: Callable[[ConfigDict], Sequence[ParameterGroup]]
