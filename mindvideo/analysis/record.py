"""Reading what a tracker recorded of one video (:class:`mindvideo.inference.analysis_record.AnalysisRecorder`)."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindvideo.errors import UserError
from mindvideo.inference.output.draw import name_of_class

# Array -> number of its axes; the first two of the three long ones are frame and track.
AXES = {
    "embeddings": 3,
    "references": 3,
    "locations": 6,
    "queries": 1,
    "scores": 1,
    "labels": 1,
    "track_ids": 1,
    "size": 1,
}


@dataclasses.dataclass(frozen=True)
class AnalysisRecord:
    """N tracks over T frames, as the recorder describes them; positions are in units of the frame.

    ``embeddings`` [T, N, C]; ``references`` [T, N, 2 or 4]; ``locations`` [T, N, M, L, P, 2]; ``queries``, ``scores``,
    ``labels`` and ``track_ids`` [N]; ``size`` (H, W).
    """

    name: str
    embeddings: np.ndarray
    references: np.ndarray
    locations: np.ndarray
    queries: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray
    size: np.ndarray

    @property
    def num_frames(self) -> int:
        return self.embeddings.shape[0]

    def strongest(self, count: int) -> list[int]:
        """Rows of the best scored tracks, best first."""
        return np.argsort(-self.scores, kind="stable")[:count].tolist()

    def name_of(self, row: int, class_names: Mapping[int, str]) -> str:
        """``dog #2``, as in an overlay."""
        return f"{name_of_class(class_names, int(self.labels[row]))} #{self.track_ids[row]}"


def read_record(path: str | Path) -> AnalysisRecord:
    """The record in a file; UserError where it is not one."""
    path = Path(path)
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in AXES if name in stored}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a record of an analysis ({error})") from error
    missing = sorted(set(AXES) - set(arrays))
    wrong = [
        f"{name} has {arrays[name].ndim} axes, not {AXES[name]}" for name in arrays if arrays[name].ndim != AXES[name]
    ]
    if missing or wrong:
        problems = ([f"{', '.join(missing)} missing"] if missing else []) + wrong
        raise UserError(f"{path}: not a record of an analysis: {'; '.join(problems)}")
    return AnalysisRecord(name=path.stem, **arrays)
