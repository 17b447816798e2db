"""Affinity and assignment between the tracks of a video and the instances of each window, drawn as matrices."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mindvideo.errors import UserError
from mindvideo.files import atomic_path

MATRICES = ("affinity", "assignment", "overlap")
KIND = "matched_windows"  # the array by which such a record is known
MAX_WINDOWS = 12  # in one picture; of more, those in which most tracks were not continued


@dataclasses.dataclass(frozen=True)
class MatchedWindow:
    """``affinity``, ``assignment``, ``overlap`` and ``accepted`` [tracks, queries] of one window."""

    number: int
    tracks: np.ndarray
    queries: np.ndarray
    affinity: np.ndarray
    assignment: np.ndarray
    overlap: np.ndarray
    accepted: np.ndarray


def is_match_record(path: str | Path) -> bool:
    """Whether a file is such a record; False for what is no archive of arrays at all."""
    try:
        with np.load(path) as stored:
            return KIND in stored
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read_matches(path: str | Path) -> list[MatchedWindow]:
    """The windows in their order; UserError for a record without one."""
    names = [field.name for field in dataclasses.fields(MatchedWindow)][1:]
    with np.load(path) as stored:
        missing = [
            f"{name}_{window}"
            for window in range(int(stored[KIND]))
            for name in names
            if f"{name}_{window}" not in stored
        ]
        if missing:
            raise UserError(f"{path}: not a record of matched windows: {', '.join(missing[:3])} missing")
        windows = [
            MatchedWindow(window + 1, **{name: stored[f"{name}_{window}"] for name in names})
            for window in range(int(stored[KIND]))
        ]
    if not windows:
        raise UserError(f"{path}: no window was matched: the video is no longer than one window, or shows nothing")
    return windows


def save_matches(path: str | Path, windows: list[MatchedWindow]) -> int:
    """A row of matrices for each window, accepted pairs framed; how many windows are drawn."""
    chosen = windows
    if len(windows) > MAX_WINDOWS:
        lost = sorted(windows, key=lambda window: window.accepted.sum() - len(window.tracks))[:MAX_WINDOWS]
        chosen = sorted(lost, key=lambda window: window.number)
    height = sum(0.9 + 0.28 * len(window.tracks) for window in chosen)
    figure = Figure(figsize=(11, max(2.5, height)), layout="constrained")
    grid = figure.subplots(len(chosen), len(MATRICES), squeeze=False)
    for axes, window in zip(grid, chosen):
        for axis, name in zip(axes, MATRICES):
            draw_matrix(axis, getattr(window, name), window)
            axis.set_title(f"{name}, window {window.number} to {window.number + 1}", fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return len(chosen)


def draw_matrix(axis: Any, values: np.ndarray, window: MatchedWindow) -> None:
    axis.imshow(values, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
    for row, column in np.ndindex(values.shape):
        colour = "white" if values[row, column] > 0.6 else "black"
        axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=6, color=colour)
        if window.accepted[row, column]:
            axis.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor="red", lw=1.5))
    axis.set_yticks(range(len(window.tracks)), [f"track {track or '-'}" for track in window.tracks], fontsize=7)
    axis.set_xticks(range(len(window.queries)), [f"query {query}" for query in window.queries], fontsize=7, rotation=45)
