"""How long graphs took to compile on this machine, so that the next run can say what it waits for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from mindvideo.errors import UserError
from mindvideo.files import write_json
from mindvideo.resources import cache_folder


@dataclasses.dataclass
class KeptGraphs:
    """Whether this process keeps its graphs for the next one, after how many seconds of calls operator by operator it
    compiles one (execution/kept_graph.py); how many it found from an earlier one, how many it had to trace because they
    were not kept yet, the seconds that both took, and how many calls went operator by operator."""

    on: bool = False
    compiles: bool = True  # False where everything runs operator by operator (runtime.mode=pynative)
    compile_after: float = 0.0
    found: int = 0
    traced: int = 0
    seconds: float = 0.0
    stepped: int = 0


kept_graphs = KeptGraphs()

FILE = "compile_seconds.json"
_MAX_ENTRIES = 500


def remember(graph: str, seconds: float) -> None:
    """Keep the time of one graph (``vistr training``); a folder that cannot be written forgets it."""
    known = {name: value for name, value in _read().items() if name != graph}
    kept = dict(list(known.items())[-_MAX_ENTRIES + 1 :])
    with contextlib.suppress(OSError, UserError):
        write_json(_file(), {**kept, graph: round(seconds, 1)})


def about(graph: str) -> str:
    """``about 24 s``, the time of the last run; else what is known of all graphs."""
    seconds = _read().get(graph)
    if seconds is None:
        return "ten seconds for a small network, minutes for a large one"
    return f"about {max(seconds, 1):.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"


def _file() -> Path:
    return cache_folder() / FILE


def _read() -> dict[str, float]:
    """Nothing where the file is not there, or was damaged: it only serves messages."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: float(value) for name, value in content.items() if isinstance(value, (int, float)) and value >= 0}
