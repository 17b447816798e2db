"""Section ``evaluation``: running a model over a labelled set and what is said about it."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Evaluation:
    max_videos: int | None = key(
        None, "evaluate only the first videos of the set; null takes all", minimum=1, maximum=10_000_000
    )
    long_videos: str = key(
        "", "score long videos apart: minimum number of frames, or a file that lists them; empty does not"
    )
    read_ahead: int = key(8, "frames that a thread reads in advance", minimum=1, maximum=1000)
    report: bool = key(True, "write report.html")
    report_videos: int = key(24, "videos shown in the report, the worst ones", minimum=0, maximum=10_000)
    report_megabytes: float = key(25.0, "size that the report's pictures may reach", minimum=1, maximum=10_000)
    confidence: float = key(0.3, "minimum score of a track to be drawn in the report", minimum=0.0, maximum=1.0)
