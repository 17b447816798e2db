"""A confusion matrix as a table of the report."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from mindvideo.evaluation.confusion import Confusion
from mindvideo.logs import counted

MAX_CLASSES = 12  # more columns cannot be read
NO_TRACK, NO_OBJECT = "no track", "no object"


def confusion_table(whole: Confusion, names: Mapping[int, str]) -> str:
    """Rows are the objects, columns what they were tracked as; the tint is a cell's share of its row."""
    shown = whole.of_most_mixed_up(MAX_CLASSES)
    own_names = [names[category] for category in shown.categories]
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in [*own_names, NO_TRACK])
    body = []
    for row, name in enumerate([*own_names, NO_OBJECT]):
        counts = shown.counts[row].tolist()
        total = sum(counts) or 1
        cells = "".join(_cell(count, count / total, right=row == column) for column, count in enumerate(counts[:-1]))
        last = _cell(counts[-1], counts[-1] / total, right=False) if row < len(own_names) else "<td></td>"
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}{last}</tr>')
    return (
        '<div class="scroll"><table class="confusion"><thead><tr><th>object ↓ tracked as →</th>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def confusion_note(whole: Confusion, confidence: float) -> str:
    """The sentences above the table: how many are mixed up, and which are counted."""
    shown = len(whole.of_most_mixed_up(MAX_CLASSES).categories)
    occurring = len(whole.of_most_mixed_up(len(whole.categories)).categories)
    note = (
        f"{counted(whole.mixed_up, 'object')} tracked under another class. Counted are tracks that score at least "
        f"{confidence:g} and cover an object by half (IoU 0.5), each object once."
    )
    return note + (f" The {shown} of {occurring} classes that are mixed up most." if shown < occurring else "")


def _cell(count: int, share: float, *, right: bool) -> str:
    if not count:
        return '<td class="none">·</td>'
    return f'<td class="{"hit" if right else "miss"}" style="--share:{share:.2f}">{count}</td>'
