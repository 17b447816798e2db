"""Records how the instances of each window were matched with the tracks of a bank, in one file a video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindvideo.files import atomic_path
from mindvideo.inference.trackers.track_bank import Decision


class MatchRecorder:
    """Takes the decisions of a :class:`TrackBank` and writes ``<video_id>.npz`` into ``folder`` when a video ends.

    The file holds, for the windows 0, 1, ... that were matched: ``affinity_0``, ``assignment_0`` and ``overlap_0``
    float32 [tracks, queries]; ``tracks_0``, the ids that the tracks have in the result (0 for one that is in no frame);
    ``queries_0``; and ``accepted_0`` bool [tracks, queries].
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.decisions: list[Decision] = []

    def begin(self, *, video_id: int | str) -> None:
        self.video_id = video_id
        self.decisions = []

    def observe(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def finish(self, ids: Mapping[int, int]) -> None:
        """``ids``: number of a track in the bank -> its id in the result."""
        arrays: dict[str, np.ndarray] = {}
        for window, decision in enumerate(self.decisions):
            accepted = np.zeros(decision.affinity.shape, bool)
            for query, track in decision.accepted.items():
                accepted[decision.tracks.index(track), decision.queries.index(query)] = True
            arrays |= {
                f"affinity_{window}": decision.affinity.astype(np.float32),
                f"assignment_{window}": decision.assignment.astype(np.float32),
                f"overlap_{window}": decision.overlap.astype(np.float32),
                f"tracks_{window}": np.array([ids.get(track, 0) for track in decision.tracks], np.int64),
                f"queries_{window}": np.array(decision.queries, np.int64),
                f"accepted_{window}": accepted,
            }
        with atomic_path(self.folder / f"{self.video_id}.npz") as temporary:
            np.savez_compressed(temporary, matched_windows=np.int64(len(self.decisions)), **arrays)
