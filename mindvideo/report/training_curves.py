"""The curves of a training from its ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from mindvideo.report.charts import line_chart, smooth
from mindvideo.run_folder import METRICS

_NOT_A_LOSS = {"loss_scale"}
_MAX_TERMS = 6
_OF_EARLIER_LAYER = re.compile(r"_\d+$")
_AS_RECORDED = "as recorded"


def read_records(folder: Path) -> list[dict]:
    """The records of the run in ``folder``; a last line that an interruption cut short is left out."""
    path = folder / METRICS
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            records.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            continue
    return [record for record in records if isinstance(record, dict) and _is_number(record.get("step"))]


def training_charts(records: list[dict]) -> list[tuple[str, str]]:
    """(heading, SVG) of the loss, its terms, the learning rate and the evaluations, as far as they were recorded."""
    steps = [record for record in records if record.get("kind") == "train"]
    evaluations = [record for record in records if record.get("kind") == "evaluation"]
    charts = []
    if loss := series_of(steps, "loss"):
        _, xs, ys = loss
        charts.append(("Loss", [("averaged", xs, smooth(ys)), (_AS_RECORDED, xs, ys)] if len(ys) > 20 else [loss]))
    if terms := _loss_terms(steps):
        charts.append(("Terms of the loss", terms))
    figures = [series_of(evaluations, name) for name in ("AP", "AP50", "AP75")]
    if figures := [(name, xs, [100 * y for y in ys]) for name, xs, ys in filter(None, figures)]:
        charts.append(("Evaluated while training", figures))
    if rate := series_of(steps, "learning_rate"):
        charts.append(("Learning rate", [rate]))
    return [
        (heading, line_chart(series, x_label="step", y_label=heading, faint=_AS_RECORDED)) for heading, series in charts
    ]


def series_of(records: list[dict], name: str) -> tuple[str, list[float], list[float]] | None:
    """(name, steps, values) of one figure over the records; None where it was never a number."""
    points = [(record["step"], record[name]) for record in records if _is_number(record.get(name))]
    return (name, [x for x, _ in points], [y for _, y in points]) if points else None


def _loss_terms(steps: list[dict]) -> list[tuple[str, list[float], list[float]]]:
    """The terms of the last decoder layer, those that are largest in the last record."""
    if not steps:
        return []
    losses = [name for name, value in steps[-1].items() if name.startswith("loss_") and _is_number(value)]
    names = [name for name in losses if not _OF_EARLIER_LAYER.search(name) and name not in _NOT_A_LOSS]
    chosen = sorted(names, key=lambda name: -steps[-1][name])[:_MAX_TERMS]
    return [(name, xs, smooth(ys)) for name, xs, ys in filter(None, (series_of(steps, name) for name in chosen))]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
