"""The figures of an evaluation as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mindvideo.evaluation.precision import NOTHING
from mindvideo.evaluation.track_ap import STATISTICS

_MAX_CATEGORIES = 40


def as_percent(value: float | None) -> str:
    """``36.2``; a dash where there is nothing to score."""
    return "-" if value is None or value == NOTHING else f"{100 * value:.1f}"


def evaluation_table(metrics: Mapping) -> str:
    """Percentages in columns: the official figures first, then whatever ``metrics`` holds beside them."""
    names = list(STATISTICS)
    blocks = [_columns([names, [as_percent(metrics[name]) for name in names]])]
    rows = [["", "AP", "AP50", "AP75", "AR100"], ["tubes", *_figures(metrics)]]
    if "frame" in metrics:
        rows.append(["single frames", *_figures(metrics["frame"])])
    rows += [[f"{level} occlusion", *_figures(figures)] for level, figures in metrics.get("occlusion", {}).items()]
    for name in ("short_videos", "long_videos"):
        if name in metrics:
            rows.append([name.replace("_", " "), *_figures(metrics[name])])
    blocks.append(_columns(rows))
    if "tracking" in metrics:
        blocks.append(_tracking_table(metrics["tracking"]))
    if "errors" in metrics:
        rows = [["kind of error", "number", "AP50 it costs"]]
        for kind, entry in metrics["errors"]["kinds"].items():
            rows.append([kind, str(entry["count"]), as_percent(entry["AP50_cost"])])
        blocks.append(_columns(rows))
    blocks.append(_columns(_category_rows(metrics["per_category"])))
    return "\n\n".join(blocks)


def image_table(metrics: Mapping) -> str:
    """The figures of single images: those of the masks, those of the boxes, and the masks' by category."""
    names = list(STATISTICS)
    rows = [["", *names]]
    for label, figures in (("masks", metrics), ("boxes", metrics["box"])):
        rows.append([label, *(as_percent(figures[name]) for name in names)])
    return "\n\n".join([_columns(rows), _columns(_category_rows(metrics["per_category"]))])


def weights_table(figures: Mapping[str, Mapping]) -> str:
    """One row for each file of weights; the best AP is marked."""
    names = ["AP", "AP50", "AP75", "AR1", "AR10"]
    best = max(figures, key=lambda weights: figures[weights]["AP"])
    rows = [["weights", *names, ""]]
    rows += [[w, *(as_percent(f[name]) for name in names), "best" if w == best else ""] for w, f in figures.items()]
    return _columns(rows)


def _tracking_table(tracking: Mapping) -> str:
    names = ["HOTA", "DetA", "AssA", "IDF1"]
    figures = [as_percent(tracking[name]) for name in names]
    heading = f"tracks that score {tracking['confidence']:g}"
    return _columns([["", *names, "switches"], [heading, *figures, str(tracking["switches"])]])


def _figures(figures: Mapping) -> list[str]:
    return [as_percent(figures[name]) for name in ("AP", "AP50", "AP75", "AR100")]


def _category_rows(per_category: Mapping) -> list[list[str]]:
    known = [figures for figures in per_category.values() if figures["AP"] != NOTHING]
    rows = [["category", "AP", "AP50", "AP75", "AR100"]]
    for figures in sorted(known, key=lambda figures: -figures["AP"])[:_MAX_CATEGORIES]:
        rows.append([figures["name"], *_figures(figures)])
    left_out = len(per_category) - len(known)
    if left_out:
        rows.append([f"({left_out} without objects)", "", "", "", ""])
    return rows


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right, a rule below the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
