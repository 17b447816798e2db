"""Milliseconds that matching two graphs adds: to a training step, forward and backward, and to a window at inference.

    python -m benchmarks.graph_matching [--nodes 10] [--width 64]

The shortest of many calls, taken in turn; a graph that does nothing is subtracted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import mindvideo  # noqa: F401  (prepares the environment before MindSpore is imported)
from benchmarks.rows import append_rows

# isort: split
import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo.modules.losses.graph_matching import balanced_cross_entropy
from mindvideo.modules.matching.graph_matching import FINAL_SHARPNESS, GraphMatcher, match_on_host

CALLS = 40


class Loss(nn.Cell):
    """The matching loss of two graphs; without a matcher, a product of them."""

    def __init__(self, matcher: nn.Cell | None) -> None:
        super().__init__()
        self.matcher = matcher

    def construct(self, history, current, truth, sharpness):
        if self.matcher is None:
            return (history * current).sum()
        _, scores = self.matcher(history, current, sharpness)
        return balanced_cross_entropy(scores, truth).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    history, current = rng.standard_normal((2, arguments.nodes, arguments.width))
    given = [ms.Tensor(nodes[None].astype(np.float32)) for nodes in (history, current)]
    given += [ms.Tensor(np.arange(arguments.nodes, dtype=np.int32)[None]), ms.Tensor(FINAL_SHARPNESS, ms.float32)]
    matchers = {solver: GraphMatcher(width=arguments.width, solver=solver) for solver in ("program", "sinkhorn")}
    steps = {name: ms.value_and_grad(Loss(matcher), (0, 1)) for name, matcher in {"nothing": None, **matchers}.items()}
    shortest = shortest_times({name: lambda step=step: step(*given)[0].asnumpy() for name, step in steps.items()})
    training = {solver: shortest[solver] - shortest["nothing"] for solver in matchers}
    weights = {"weight": np.eye(arguments.width), "bias": np.zeros(arguments.width)}
    calls = {
        solver: lambda solver=solver: match_on_host(history, current, solver=solver, **weights) for solver in matchers
    }
    window = shortest_times(calls)
    for solver in matchers:
        row = {"solver": solver, "training_ms": round(training[solver], 1), "window_ms": round(window[solver], 2)}
        print(row)
        if arguments.csv:
            append_rows(arguments.csv, [row])


def shortest_times(calls) -> dict[str, float]:
    """Milliseconds by name; each call is made once before it counts."""
    for call in calls.values():
        call()
    shortest = dict.fromkeys(calls, float("inf"))
    for _ in range(CALLS):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            shortest[name] = min(shortest[name], (time.perf_counter() - begin) * 1e3)
    return shortest


if __name__ == "__main__":
    main()
