"""``comparison.html``: several runs side by side, from what their folders hold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from mindvideo.errors import UserError
from mindvideo.evaluation.error_kinds import KINDS
from mindvideo.evaluation.precision import NOTHING
from mindvideo.evaluation.table import as_percent
from mindvideo.evaluation.track_ap import STATISTICS
from mindvideo.files import write_text
from mindvideo.logs import counted
from mindvideo.report.charts import line_chart, smooth
from mindvideo.report.page import fill_template, section
from mindvideo.report.run_report import EVALUATED
from mindvideo.report.training_curves import read_records, series_of
from mindvideo.run_folder import ENVIRONMENT, METRICS, RESOLVED_CONFIG

COMPARISON = "comparison.html"
MAX_RUNS = 6  # as many colours as charts have
_EVALUATION = "metrics.json"
_MAX_CLASSES = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """``metrics`` of an evaluation, ``records`` of a training; empty where the folder has none."""

    name: str
    metrics: dict[str, Any]
    records: list[dict]
    settings: dict[str, str]
    annotations: str
    command: str


def read_run(folder: Path, name: str) -> Run:
    """Figures, curves and settings of a run folder; UserError where it is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    metrics, evaluated = _read_json(folder / _EVALUATION), _read_json(folder / EVALUATED)
    training = Path(evaluated.get("training") or folder)
    records = read_records(training)
    if not metrics and not records:
        raise UserError(f"{folder}: neither {_EVALUATION} of mindvideo eval nor {METRICS} of mindvideo train is in it")
    return Run(
        name=name,
        metrics=metrics,
        records=records,
        settings=_settings(folder / RESOLVED_CONFIG),
        annotations=str(evaluated.get("annotations") or ""),
        command=str(_read_json(folder / ENVIRONMENT).get("command") or ""),
    )


def short_names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or their whole paths where two are called alike."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def write_comparison(path: Path, runs: Sequence[Run], *, title: str) -> None:
    """Write the page; the runs stand in the order given, and differences are to the first."""
    evaluated = [run for run in runs if run.metrics]
    sections = []
    if len(evaluated) > 1:
        sections += [_figures(evaluated), _errors(evaluated), _classes(evaluated)]
    sections += [_training(runs), _differences(runs), _about(runs)]
    videos = {run.metrics["videos"] for run in evaluated}
    subtitle = counted(len(runs), "run") + (f", {counted(videos.pop(), 'video')}" if len(videos) == 1 else "")
    write_text(path, fill_template(title=title, subtitle=subtitle, sections=[part for part in sections if part]))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({str(error)[:200]}); run the evaluation again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, got {type(content).__name__}; run the evaluation again")
    return content


def _settings(path: Path) -> dict[str, str]:
    """``section.key`` -> value of a resolved configuration; nothing where there is none that can be read."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a configuration ({str(error)[:200]})") from error
    flat: dict[str, str] = {}
    for section_name, values in (content or {}).items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        flat.update({f"{section_name}.{key}".rstrip("."): json.dumps(value, default=str) for key, value in pairs})
    return flat


def _table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr><th>{label}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for label, cells in rows)
    return (
        f'<div class="scroll"><table class="figures {kind}"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(values: Sequence[float | None], *, show: Callable[[float | None], str], less_is_better: bool) -> list[str]:
    """Each run's figure, the best in bold, and the difference of the others to the first."""
    known = [value for value in values if value not in (None, NOTHING)]
    best = (min if less_is_better else max)(known) if len(set(known)) > 1 else None
    cells = []
    for place, value in enumerate(values):
        cell = show(value)
        if value == best and best is not None:
            cell = f"<b>{cell}</b>"
        first = values[0]
        if place and value not in (None, NOTHING, first) and first not in (None, NOTHING):
            sign = "+" if value > first else "−"
            cell += f' <small class="change">{sign}{show(abs(value - first))}</small>'
        cells.append(cell)
    return cells


def _figures(runs: Sequence[Run]) -> str:
    tables = [("", {name: [run.metrics.get(name) for run in runs] for name in STATISTICS})]
    frame = {"frame AP": [run.metrics.get("frame", {}).get("AP") for run in runs]}
    tracking = {n: [run.metrics.get("tracking", {}).get(n) for run in runs] for n in ("HOTA", "DetA", "AssA", "IDF1")}
    tables.append(("", {**frame, **tracking}))
    rows = [
        (name, _cells(values, show=as_percent, less_is_better=False))
        for _, table in tables
        for name, values in table.items()
        if any(value not in (None, NOTHING) for value in values)
    ]
    switches = [run.metrics.get("tracking", {}).get("switches") for run in runs]
    if None not in switches:
        rows.append(("identity switches", _cells(switches, show=str, less_is_better=True)))
    note = "In per cent; the best in bold, small the difference to the first run."
    if len({run.metrics.get("videos") for run in runs}) > 1 or len({run.annotations for run in runs}) > 1:
        note += " <b>The runs were evaluated on different annotation files: their figures cannot be compared.</b>"
    return section("figures", "Figures", _table([run.name for run in runs], rows), note)


def _errors(runs: Sequence[Run]) -> str:
    if not all("errors" in run.metrics for run in runs):
        return ""
    costs = {kind: [run.metrics["errors"]["kinds"][kind]["AP50_cost"] for run in runs] for kind in KINDS}
    order = sorted(KINDS, key=lambda kind: -max(costs[kind]))
    rows = [(kind, _cells(costs[kind], show=as_percent, less_is_better=True)) for kind in order]
    note = "AP50 that each kind of error costs: what it would gain if only this kind were put right."
    return section("errors", "What goes wrong", _table([run.name for run in runs], rows), note)


def _classes(runs: Sequence[Run]) -> str:
    names = {figures["name"] for run in runs for figures in run.metrics["per_category"].values()}
    figures = {name: [_ap_of(run, name) for run in runs] for name in names}
    known = {name: values for name, values in figures.items() if any(v not in (None, NOTHING) for v in values)}

    def spread(name: str) -> float:
        values = [value for value in known[name] if value not in (None, NOTHING)]
        return max(values) - min(values)

    order = sorted(known, key=lambda name: (-spread(name), name))[:_MAX_CLASSES]
    rows = [(escape(name), _cells(known[name], show=as_percent, less_is_better=False)) for name in order]
    note = "Those that differ most come first." + (f" {len(order)} of {len(known)}." if len(order) < len(known) else "")
    return section("classes", "AP of each class", _table([run.name for run in runs], rows), note)


def _ap_of(run: Run, name: str) -> float | None:
    return next((f["AP"] for f in run.metrics["per_category"].values() if f["name"] == name), None)


def _training(runs: Sequence[Run]) -> str:
    panels = []
    for heading, kind, key, factor in (("Loss", "train", "loss", 1), ("AP while training", "evaluation", "AP", 100)):
        lines = []
        for run in runs:
            found = series_of([record for record in run.records if record.get("kind") == kind], key)
            if found is not None:
                ys = smooth(found[2]) if kind == "train" and len(found[2]) > 20 else found[2]
                lines.append((run.name, found[1], [factor * y for y in ys]))
        if lines:
            chart = line_chart(lines, x_label="step", y_label=heading)
            panels.append(f"<figure><figcaption>{escape(heading)}</figcaption>{chart}</figure>")
    return section("training", "Training", f'<div class="grid-2">{"".join(panels)}</div>') if panels else ""


def _differences(runs: Sequence[Run]) -> str:
    configured = [run for run in runs if run.settings]
    if len(configured) < 2:
        return ""
    keys = sorted({key for run in configured for key in run.settings})
    rows = []
    for key in keys:
        values = [run.settings.get(key, "-") for run in configured]
        if len(set(values)) > 1:
            rows.append((escape(key), [f"<code>{escape(value[:200])}</code>" for value in values]))
    content = _table([run.name for run in configured], rows, "settings") if rows else "<p>None.</p>"
    return section("settings", "Settings that differ", content)


def _about(runs: Sequence[Run]) -> str:
    rows = [(escape(run.name), [f"<code>{escape(run.command)}</code>"]) for run in runs if run.command]
    return section("about", "Commands", _table([""], rows, "settings")) if rows else ""
