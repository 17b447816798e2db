"""Greedy matching of detections to truths in the order of their scores, as COCO and YouTube-VIS define it."""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
UNMATCHED = -1


def match_detections(
    iou: np.ndarray, truth_ignored: np.ndarray, truth_crowd: np.ndarray, present: np.ndarray | None = None
) -> np.ndarray:
    """Truth of each detection, int [B, t, D] (t thresholds), UNMATCHED where it has none.

    ``iou`` [B or 1, D, G], detections in falling order of score; ``truth_ignored`` bool [B, G]: truths that do not
    count in case b; ``truth_crowd`` bool [G]: may be matched again and again (an ignored truth); ``present`` bool
    [B, D]: detections that take part. A truth that counts is preferred to an ignored one; of equal IoU the last truth
    wins.
    """
    B, G = truth_ignored.shape
    D = iou.shape[1]
    matches = np.full((B, len(THRESHOLDS), D), UNMATCHED, np.int64)
    if not G:
        return matches
    least = np.minimum(THRESHOLDS, 1 - 1e-10)[None, :, None]
    free = np.ones((B, len(THRESHOLDS), G), bool)
    counts = ~truth_ignored[:, None, :]
    cases = np.arange(B)[:, None]
    levels = np.arange(len(THRESHOLDS))[None, :]
    # Detections that reach the lowest threshold nowhere cannot match: most of the loop is spared.
    hopeful = (iou.max(axis=2) >= least[0, 0, 0]).any(axis=0)
    for d in np.flatnonzero(hopeful):
        quality = np.broadcast_to(iou[:, None, d, :], free.shape)
        able = (quality >= least) & (free | truth_crowd)
        if present is not None:
            able &= present[:, d, None, None]
        counted = np.where(able & counts, quality, -1.0)
        ignored = np.where(able & ~counts, quality, -1.0)
        best = np.where((counted.max(axis=2) >= 0)[:, :, None], counted, ignored)
        chosen = G - 1 - best[:, :, ::-1].argmax(axis=2)
        found = best.max(axis=2) >= 0
        matches[:, :, d] = np.where(found, chosen, UNMATCHED)
        free[cases, levels, chosen] &= ~found
    return matches
