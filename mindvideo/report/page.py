"""The report as HTML: what was measured goes into the template with its style and its script."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template

from mindvideo.evaluation.confusion import confusion
from mindvideo.evaluation.error_kinds import KINDS
from mindvideo.evaluation.evaluator import Evaluation
from mindvideo.evaluation.precision import NOTHING, RECALL_POINTS
from mindvideo.evaluation.table import as_percent
from mindvideo.evaluation.track_ap import STATISTICS
from mindvideo.logs import counted
from mindvideo.report.charts import bar_rows, line_chart
from mindvideo.report.confusion_table import confusion_note, confusion_table
from mindvideo.report.video_gallery import Gallery

_CURVES = ((0.5, "IoU 0.50"), (0.75, "IoU 0.75"), (0.9, "IoU 0.90"))
_NOTHING_FOUND = 0.0005  # an AP below is shown as 0.0
_FACTS = (("command", "Command"), ("started", "Started"), ("weights", "Weights"), ("mindvideo", "mindvideo"))
KIND_MEANINGS = {
    "missed": "objects that nothing found",
    "wrong class": "the right object under another class",
    "swapped identity": "the track moves from one object to another",
    "split": "the track covers only a part of the object's time",
    "poor mask": "on the object, but with too little overlap",
    "duplicate": "a second track on an object that is found already",
    "false": "a track on nothing",
}


def render_page(
    *,
    title: str,
    evaluation: Evaluation | None,
    gallery: Gallery | None,
    charts: Sequence[tuple[str, str]],
    facts: Mapping,
    confidence: float,
) -> str:
    """The whole page; parts for which there is nothing are left out."""
    metrics = evaluation.metrics() if evaluation is not None else None
    sections = []
    if evaluation is not None and metrics is not None:
        sections += [_summary(metrics), _errors_and_curves(evaluation, metrics), _confusion(evaluation, confidence)]
    if gallery is not None and gallery.videos:
        sections.append(_videos(gallery, confidence))
    if metrics is not None:
        sections += [_classes(metrics), _figures(metrics)]
    sections = [part for part in sections if part]
    if charts:
        panels = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>" for name, svg in charts)
        sections.append(section("training", "Training", f'<div class="grid-2">{panels}</div>'))
    sections.append(_about(facts))
    videos = gallery.videos if gallery else []
    return fill_template(title=title, subtitle=_subtitle(metrics), sections=sections, videos=videos)


def fill_template(*, title: str, subtitle: str, sections: Sequence[str], videos: Sequence[Mapping] = ()) -> str:
    """A page of these sections (HTML), with ``videos`` for the viewer's script."""
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        heading=_breakable(title),
        subtitle=escape(subtitle),
        style=_asset("page.css"),
        script=_asset("page.js"),
        sections="\n".join(sections),
        videos=json.dumps(list(videos), ensure_ascii=False).replace("</", "<\\/"),
    )


def _asset(name: str) -> str:
    return (resources.files("mindvideo.report") / "assets" / name).read_text(encoding="utf-8")


def _breakable(title: str) -> str:
    """Escaped, with places to break a line after the joints of a long name rather than inside a word."""
    return re.sub(r"([_./=,:-]+)(?=\w)", r"\1<wbr>", escape(title, quote=False))


def section(name: str, heading: str, content: str, note: str = "") -> str:
    """A part of the page; ``content`` and ``note`` are HTML."""
    note = f'<p class="note">{note}</p>' if note else ""
    return f'<section id="{name}"><h2>{escape(heading)}</h2>{note}{content}</section>'


def _subtitle(metrics: Mapping | None) -> str:
    if metrics is None:
        return "training"
    classes = sum(figures["AP"] != NOTHING for figures in metrics["per_category"].values())
    return f"{counted(metrics['videos'], 'video')}, {counted(classes, 'class', 'classes')} with objects"


def _summary(metrics: Mapping) -> str:
    tiles = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{as_percent(metrics[name])}</dd></div>'
        for name in ("AP50", "AP75", "AR1", "AR10")
    )
    if "frame" in metrics:
        tiles += f'<div class="tile"><dt>Frame AP</dt><dd>{as_percent(metrics["frame"]["AP"])}</dd></div>'
    sentences = "".join(f"<p>{sentence}</p>" for sentence in _reading(metrics))
    return (
        '<section id="summary" class="summary"><div class="headline">'
        f'<span class="big">{as_percent(metrics["AP"])}</span><span class="unit">AP</span></div>'
        f'<dl class="tiles">{tiles}</dl><div class="reading">{sentences}</div></section>'
    )


def _reading(metrics: Mapping) -> list[str]:
    """The meaning of the figures, in words."""
    sentences = []
    if "frame" in metrics and NOTHING not in (metrics["AP"], metrics["frame"]["AP"]):
        gap = 100 * (metrics["frame"]["AP"] - metrics["AP"])
        frame = as_percent(metrics["frame"]["AP"])
        if max(metrics["AP"], metrics["frame"]["AP"]) < _NOTHING_FOUND:
            sentences.append(
                "No track and no single frame matches an object well enough to count: the network has learned nothing "
                "yet, or its weights are for other classes or other frames."
            )
        elif gap >= 3:
            sentences.append(
                f"Single frames reach {frame} AP, {gap:.1f} more than whole tracks: "
                "objects are found better than they are kept apart through time."
            )
        else:
            sentences.append(
                f"Single frames reach {frame} AP, about as much as whole tracks: "
                "what is lost is lost in finding and outlining objects, not in following them."
            )
    if "errors" in metrics:
        kinds = metrics["errors"]["kinds"]
        worst = max(kinds, key=lambda kind: kinds[kind]["AP50_cost"])
        if kinds[worst]["AP50_cost"] > 0:
            sentences.append(
                f"The costliest kind of error is <em>{escape(worst)}</em> ({KIND_MEANINGS[worst]}): "
                f"without it AP50 would be {100 * kinds[worst]['AP50_cost']:.1f} higher."
            )
    return sentences


def _errors_and_curves(evaluation: Evaluation, metrics: Mapping) -> str:
    panels = []
    if "errors" in metrics:
        kinds = metrics["errors"]["kinds"]
        rows = [
            (kind, kinds[kind]["AP50_cost"], f"{100 * kinds[kind]['AP50_cost']:.1f}  ({kinds[kind]['count']}×)")
            for kind in sorted(KINDS, key=lambda kind: -kinds[kind]["AP50_cost"])
        ]
        meanings = "".join(f"<dt>{kind}</dt><dd>{KIND_MEANINGS[kind]}</dd>" for kind in KINDS)
        panels.append(
            "<figure><figcaption>AP50 that each kind of error costs, and how often it occurs</figcaption>"
            f"{bar_rows(rows)}<details><summary>What the kinds mean</summary><dl class='meanings'>{meanings}</dl>"
            "<p>Each cost is what AP50 would gain if only this kind were put right.</p></details></figure>"
        )
    curves = [
        (name, RECALL_POINTS.tolist(), evaluation.tracks.curve(threshold).tolist()) for threshold, name in _CURVES
    ]
    chart = line_chart(curves, x_label="recall", y_label="precision", top=1.0)
    panels.append(f"<figure><figcaption>Precision over recall, mean of the classes</figcaption>{chart}</figure>")
    return section("errors", "What goes wrong", f'<div class="grid-2">{"".join(panels)}</div>')


def _confusion(evaluation: Evaluation, confidence: float) -> str:
    names = evaluation.ground_truth.categories
    if evaluation.errors is None or len(names) < 2:
        return ""
    whole = confusion(evaluation.verdicts, names, confidence=confidence)
    return section(
        "confusion", "Classes that are mixed up", confusion_table(whole, names), confusion_note(whole, confidence)
    )


def _videos(gallery: Gallery, confidence: float) -> str:
    shown = len(gallery.videos)
    note = f"The worst first. {shown} of {counted(gallery.total, 'video')}, {gallery.megabytes:.1f} MB of pictures"
    note += f"; {gallery.reason}" if gallery.reason else ""
    note += f". Tracks that score at least {confidence:g} are drawn; a track that is right has its object's colour."
    return section("videos", "Videos", _asset("viewer.html"), escape(note))


def _classes(metrics: Mapping) -> str:
    known = [figures for figures in metrics["per_category"].values() if figures["AP"] != NOTHING]
    rows = [
        (figures["name"], figures["AP"], as_percent(figures["AP"]))
        for figures in sorted(known, key=lambda figures: -figures["AP"])
    ]
    return section("classes", "AP of each class", f'<div class="columns">{bar_rows(rows, longest=1.0)}</div>')


def _figures(metrics: Mapping) -> str:
    official_names = "".join(f"<th>{name}</th>" for name in STATISTICS)
    official = "".join(f"<td>{as_percent(metrics[name])}</td>" for name in STATISTICS)
    official_head = f"<thead><tr>{official_names}</tr></thead>"
    rows = [("whole tracks", metrics)]
    if "frame" in metrics:
        rows.append(("single frames", metrics["frame"]))
    rows += [(f"{level} occlusion", figures) for level, figures in metrics.get("occlusion", {}).items()]
    rows += [(n.replace("_", " "), metrics[n]) for n in ("short_videos", "long_videos") if n in metrics]
    names = ("AP", "AP50", "AP75", "AR100")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{as_percent(figures[name])}</td>' for name in names)}</tr>"
        for label, figures in rows
    )
    official_body = f"<tbody><tr>{official}</tr></tbody>"
    tables = (
        f'<div class="scroll"><table class="figures wide">{official_head}{official_body}</table></div>'
        f'<table class="figures"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'
    )
    note = "In per cent. A dash: nothing in the set to score. Sizes by mean area: s below 128², m below 256², l above."
    return section("figures", "All figures", tables, note)


def _about(facts: Mapping) -> str:
    rows = [(label, str(facts[name])) for name, label in _FACTS if facts.get(name)]
    rows += [(name, version) for name, version in (facts.get("packages") or {}).items() if version]
    body = "".join(f"<tr><th>{escape(label)}</th><td><code>{escape(value)}</code></td></tr>" for label, value in rows)
    return section("about", "About this run", f'<table class="facts"><tbody>{body}</tbody></table>') if rows else ""
