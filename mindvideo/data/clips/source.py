"""The source of training clips, before any transform."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mindvideo.data.transforms.sample import ClipSample


class ClipSource(Protocol):
    """Clips as they are on disk (or made from images)."""

    def __len__(self) -> int: ...

    def category_ids(self) -> set[int]:
        """The labels that its clips have."""

    def frame_size(self, index: int) -> tuple[int, int]: ...

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample: ...
