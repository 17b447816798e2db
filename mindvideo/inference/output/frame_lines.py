"""The results of a video frame by frame, one line of JSON each, on disk as soon as a frame is final.

A video that ends has everything in ``results.json``; of a stream without end these lines are what there is at any time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mindvideo.structures import VideoInstances


class FrameLines:
    """Appends to ``path``, which gets its final name with ``finish``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.begun = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._stream = open(self.begun, "w", encoding="utf-8")

    def add(self, index: int, name: str, instances: VideoInstances, *, is_cut: bool) -> None:
        """A frame, by its index and name, with the instances that have a mask in it."""
        line = {"frame": index, "file_name": name, "tracks": tracks_of_frame(instances)}
        if is_cut:
            line["cut"] = True
        self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._stream.flush()

    def close(self, *, complete: bool) -> None:
        self._stream.close()
        if complete:
            self.begun.replace(self._path)

    def abandon(self) -> None:
        self._stream.close()
        self.begun.unlink(missing_ok=True)


def tracks_of_frame(instances: VideoInstances) -> Sequence[dict]:
    """One entry a track of a single frame, as far as it has a mask."""
    rows = zip(instances.track_ids.tolist(), instances.labels.tolist(), instances.scores.tolist())
    return [
        {"track_id": track, "category_id": label, "score": round(score, 4), "segmentation": masks[0]}
        for (track, label, score), masks in zip(rows, instances.segmentations)
        if masks[0] is not None
    ]
