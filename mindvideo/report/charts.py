"""Charts as SVG: no script, no fonts of their own, colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 12, 34
_HALF_A_NUMBER = 14  # room that half of an axis number takes
Series = tuple[str, Sequence[float], Sequence[float]]  # name, x, y


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, faint: str = "", top: float | None = None
) -> str:
    """Lines over common axes with a legend of the names; each line has the class ``line-<number>``.

    The line called ``faint`` stays in the background. ``top`` is the least height of the y axis.
    """
    x_low, x_high = _bounds([x for _, xs, _ in series for x in xs])
    y_low, y_high = _bounds([y for _, _, ys in series for y in ys] + ([] if top is None else [top]))
    y_high = max(y_high, _ticks(y_low, y_high * 1.2)[-1]) if top is None else y_high

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)}">']
    for tick in _ticks(y_low, y_high):
        _, down = place(x_low, tick).split(",")
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{down}" dy=".32em" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(x_low, x_high):
        across, _ = place(tick, y_low).split(",")
        anchor = "end" if float(across) > WIDTH - _RIGHT - _HALF_A_NUMBER else "middle"
        parts.append(
            f'<text class="tick" x="{across}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">{tick:g}</text>'
        )
    parts.append(f'<text class="axis" x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    for number, (name, xs, ys) in enumerate(series):
        points = " ".join(place(x, y) for x, y in zip(xs, ys))
        title = f"<title>{escape(name)}</title>"
        if len(xs) == 1:
            across, down = points.split(",")
            parts.append(f'<circle class="dot line-{number}" cx="{across}" cy="{down}" r="3">{title}</circle>')
        else:
            style = "line faint" if name == faint else "line"
            parts.append(f'<polyline class="{style} line-{number}" points="{points}">{title}</polyline>')
    parts.append("</svg>")
    return "".join(parts) + _legend([name for name, _, _ in series])


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = (f'<span><i class="key line-{number}"></i>{escape(name)}</span>' for number, name in enumerate(names))
    return f'<p class="legend">{"".join(items)}</p>'


def bar_rows(rows: Sequence[tuple[str, float, str]], *, longest: float | None = None) -> str:
    """Rows of (label, length, figure) as horizontal bars; ``longest`` fills the width, else the largest length does."""
    scale = longest or max((length for _, length, _ in rows), default=0) or 1.0
    cells = []
    for label, length, figure in rows:
        width = max(0.0, min(1.0, length / scale)) * 100
        cells.append(
            f'<tr><th scope="row">{escape(label)}</th>'
            f'<td class="bar"><i style="width:{width:.1f}%"></i></td><td class="number">{escape(figure)}</td></tr>'
        )
    return f'<table class="bars"><tbody>{"".join(cells)}</tbody></table>'


def smooth(values: Sequence[float]) -> list[float]:
    """Mean over a window about each value, a twentieth of the whole long and shorter at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    begins, ends = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return ((sums[ends] - sums[begins]) / (ends - begins)).tolist()


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The values and zero."""
    low, high = min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0)
    return (low, high) if high > low else (low, low + 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - rough)) * power
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
