"""Whether a gradient differs by rounding: an activation within rounding of zero falls on either side of its ReLU.

Then single gradients of the backbone jump, by up to a few thousandths, when the frames change by one part in five
million, and stay where they are otherwise. So what does not agree at once must agree for one of a few such frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NOISE = 2e-7  # of a pixel, relative: about half the spacing of float32
DRAWS = 24


def left_after_rounding(off: set[str], frames: np.ndarray, disagreeing: Callable[[np.ndarray], set[str]]) -> set[str]:
    """The names of ``off`` that disagree for every drawn change of the frames as well."""
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        if not off:
            break
        off = off & disagreeing((frames * (1 + NOISE * rng.standard_normal(frames.shape))).astype(np.float32))
    return off
