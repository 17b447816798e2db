"""Records what an online network saw of each track, frame by frame, in one compact file a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mindvideo.files import atomic_path
from mindvideo.structures import VideoInstances


class AnalysisRecorder:
    """A ``FrameObserver`` that writes ``<video_id>.npz`` into ``folder`` when a video ends.

    The file holds, for N tracks over T frames: ``embeddings`` float32 [T, N, C], the queries' last outputs;
    ``references`` [T, N, 2 or 4], the points (or boxes) they began from; ``locations`` float16 [T, N, M, L, P, 2], what
    the last decoder layer read, as (x, y) in units of the frame; ``queries``, ``scores``, ``labels`` and ``track_ids``
    [N]; ``size`` (H, W). It grows with the length of the video, unlike tracking itself.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def begin(self, *, video_id: int | str, size: tuple[int, int]) -> None:
        self.video_id, self.size = video_id, size
        self.embeddings: list[np.ndarray] = []
        self.references: list[np.ndarray] = []
        self.locations: list[np.ndarray] = []

    def observe(self, *, embeddings: np.ndarray, references: np.ndarray, locations: np.ndarray) -> None:
        self.embeddings.append(embeddings.astype(np.float32))
        self.references.append(references.astype(np.float32))
        self.locations.append(locations.astype(np.float16))

    def finish(self, video: VideoInstances, *, queries: list[int], kept: list[int]) -> None:
        if not self.embeddings:
            return
        with atomic_path(self.folder / f"{self.video_id}.npz") as temporary:
            np.savez_compressed(
                temporary,
                embeddings=np.stack(self.embeddings)[:, kept],
                references=np.stack(self.references)[:, kept],
                locations=np.stack(self.locations)[:, kept],
                queries=np.asarray(queries, np.int64)[kept],
                scores=video.scores,
                labels=video.labels,
                track_ids=video.track_ids,
                size=np.asarray(self.size, np.int64),
            )
