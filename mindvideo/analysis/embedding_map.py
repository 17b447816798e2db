"""The embeddings of tracks on a plane: does a track stay together over time, and apart from the others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from mindvideo.analysis.record import AnalysisRecord
from mindvideo.errors import UserError
from mindvideo.files import atomic_path
from mindvideo.inference.output.colors import track_color
from mindvideo.logs import counted

MIN_POINTS = 4
LARGEST_PERPLEXITY = 30.0


def place_embeddings(embeddings: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE of [T, N, C] -> [T, N, 2]."""
    T, N, C = embeddings.shape
    if T * N < MIN_POINTS:
        raise UserError(f"a map needs at least {MIN_POINTS} embeddings, this record has {T} frames of {N} tracks")
    perplexity = min(LARGEST_PERPLEXITY, (T * N - 1) / 3)
    placed = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings.reshape(T * N, C))
    return placed.reshape(T, N, 2)


def save_embedding_map(
    path: str | Path,
    runs: Sequence[tuple[AnalysisRecord, Sequence[int], Mapping[int, str]]],
    *,
    max_frames: int = 200,
    seed: int = 0,
) -> None:
    """A scatter plot for each run (record, rows, class names), side by side: coloured by track, early frames pale.

    Longer videos are thinned to ``max_frames`` frames.
    """
    figure = Figure(figsize=(7 * len(runs), 6), layout="constrained")
    for axes, (record, rows, names) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs):
        _draw_map(axes, record, rows, names, max_frames=max_frames, seed=seed)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_map(
    axes: Axes,
    record: AnalysisRecord,
    rows: Sequence[int],
    class_names: Mapping[int, str],
    *,
    max_frames: int,
    seed: int,
) -> None:
    frames = np.unique(np.linspace(0, record.num_frames - 1, min(max_frames, record.num_frames)).astype(int))
    placed = place_embeddings(record.embeddings[np.ix_(frames, np.asarray(rows, int))], seed=seed)
    opacity = np.linspace(0.35, 1.0, len(frames))
    for column, row in enumerate(rows):
        color = tuple(channel / 255 for channel in track_color(int(record.track_ids[row])))
        label = f"{record.name_of(row, class_names)}, {record.scores[row]:.2f}"
        x, y = placed[:, column].T
        axes.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
        axes.scatter(x, y, color=[(*color, alpha) for alpha in opacity], s=26)
        axes.scatter([], [], color=color, s=26, label=label)
    axes.set(
        title=f"{record.name}: embeddings of {counted(len(rows), 'track')} over {counted(record.num_frames, 'frame')}",
        xlabel="t-SNE, first axis (only nearness has a meaning)",
        ylabel="t-SNE, second axis",
        xticks=[],
        yticks=[],
    )
    times = "pale: early frames\nfull colour: late ones\nline: from frame to frame"
    axes.legend(title=times, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.get_legend().get_title().set(fontsize="small", color="0.4")
