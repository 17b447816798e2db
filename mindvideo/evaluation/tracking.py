"""How well tracks keep their objects: HOTA with its two halves, IDF1 and identity switches, on masks.

AP ranks all tracks by their scores and never asks which ones a user would be shown. These figures look at the tracks
that reach a score, frame by frame: DetA says how many masks are right, AssA how well the right ones keep to one object,
and HOTA is their geometric mean, averaged over mask IoU thresholds from 0.05 to 0.95 (Luiten et al., IJCV 2021). IDF1
is the share of masks that lie on the one object to which their track was given for the whole video; a switch is a
change of the track that covers an object. Each category of each video is counted by itself, and the counts are summed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.masks.overlap import TubeOverlap

THRESHOLDS = np.arange(0.05, 0.99, 0.05)
FOUND = 0.5  # mask IoU of a match, for IDF1 and switches
KEEPS_ITS_TRACK = 1000.0  # a match that goes on outweighs every gain of overlap elsewhere
_ROUNDING = np.finfo(float).eps
_IMPOSSIBLE = 1e10


@dataclasses.dataclass(frozen=True)
class TrackingCounts:
    """Counts that add up over videos and categories.

    Per threshold [A]: ``matched``, ``missed`` and ``false`` masks, and ``kept``, the sum over the matched masks of how
    well their track and their object keep together. ``id_matched``, ``id_missed``, ``id_false``: masks under the best
    assignment of whole tracks to whole objects. ``switches``: changes of an object's track.
    """

    matched: np.ndarray
    missed: np.ndarray
    false: np.ndarray
    kept: np.ndarray
    id_matched: int = 0
    id_missed: int = 0
    id_false: int = 0
    switches: int = 0

    def __add__(self, other: TrackingCounts) -> TrackingCounts:
        names = [field.name for field in dataclasses.fields(self)]
        return TrackingCounts(*(getattr(self, name) + getattr(other, name) for name in names))

    def figures(self) -> dict[str, float]:
        """HOTA, DetA, AssA and IDF1 in 0..1, and the number of switches."""
        detection = self.matched / np.maximum(1.0, self.matched + self.missed + self.false)
        association = self.kept / np.maximum(1.0, self.matched)
        id_error = 0.5 * (self.id_false + self.id_missed)
        return {
            "HOTA": float(np.sqrt(detection * association).mean()),
            "DetA": float(detection.mean()),
            "AssA": float(association.mean()),
            "IDF1": float(self.id_matched / max(1.0, self.id_matched + id_error)),
            "switches": int(self.switches),
        }


def no_counts() -> TrackingCounts:
    nothing = np.zeros(len(THRESHOLDS))
    return TrackingCounts(nothing, nothing, nothing, nothing)


def count_video(
    overlap: TubeOverlap,
    labels: np.ndarray,
    truth_labels: np.ndarray,
    *,
    shown: np.ndarray,
    crowd: np.ndarray,
) -> TrackingCounts:
    """The counts of one video. ``shown`` bool [D]: the tracks that count; ``crowd`` bool [G]: truths that do not."""
    iou = overlap.frame_iou()  # [T, D, G]
    in_frame, truth_in_frame = overlap.detection_areas.T > 0, overlap.truth_areas.T > 0
    counts = no_counts()
    for category in sorted({*labels[shown].tolist(), *truth_labels[~crowd].tolist()}):
        tracks = np.flatnonzero(shown & (labels == category))
        objects = np.flatnonzero(~crowd & (truth_labels == category))
        similarity = iou[:, tracks][:, :, objects].swapaxes(1, 2)  # [T, G, D]
        counts += count_sequence(similarity, truth_in_frame[:, objects], in_frame[:, tracks])
    return counts


def count_sequence(similarity: np.ndarray, objects: np.ndarray, tracks: np.ndarray) -> TrackingCounts:
    """``similarity`` [T, G, D] of masks; bool [T, G] and [T, D]: which objects and tracks have one in which frame."""
    num_objects, num_tracks = int(objects.sum()), int(tracks.sum())
    if not num_objects or not num_tracks:
        every = np.ones(len(THRESHOLDS))
        return dataclasses.replace(
            no_counts(),
            missed=num_objects * every,
            false=num_tracks * every,
            id_missed=num_objects,
            id_false=num_tracks,
        )
    pairs = objects[:, :, None] & tracks[:, None, :]
    similarity = np.where(pairs, similarity, 0.0)
    matched, missed, false, kept = _hota_counts(similarity, objects, tracks)
    return TrackingCounts(
        matched,
        missed,
        false,
        kept,
        *_identity_counts(similarity, objects, tracks),
        _switches(similarity, objects, tracks),
    )


def _hota_counts(
    similarity: np.ndarray, objects: np.ndarray, tracks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matched, missed and false masks and the sum of their association, each [A]."""
    object_masks, track_masks = objects.sum(0)[:, None], tracks.sum(0)[None]
    total = similarity.sum(1, keepdims=True) + similarity.sum(2, keepdims=True) - similarity
    share = np.divide(similarity, total, out=np.zeros_like(similarity), where=total > _ROUNDING)
    potential = share.sum(0)  # [G, D]
    alignment = potential / np.maximum(object_masks + track_masks - potential, _ROUNDING)
    matches = np.zeros((len(THRESHOLDS), *potential.shape))
    for frame in np.flatnonzero(objects.any(1) & tracks.any(1)):
        rows, columns = np.flatnonzero(objects[frame]), np.flatnonzero(tracks[frame])
        here = similarity[frame][np.ix_(rows, columns)]
        chosen = linear_sum_assignment(-alignment[np.ix_(rows, columns)] * here)
        reached = here[chosen] >= THRESHOLDS[:, None] - _ROUNDING  # [A, matches]
        matches[:, rows[chosen[0]], columns[chosen[1]]] += reached  # no pair of a frame comes twice
    association = matches / np.maximum(1.0, object_masks + track_masks - matches)
    matched = matches.sum((1, 2))
    return matched, objects.sum() - matched, tracks.sum() - matched, (matches * association).sum((1, 2))


def _identity_counts(similarity: np.ndarray, objects: np.ndarray, tracks: np.ndarray) -> tuple[int, int, int]:
    """Masks matched, missed and false when each track is given to at most one object for the whole video."""
    together = (similarity >= FOUND).sum(0)  # [G, D]
    object_masks, track_masks = objects.sum(0), tracks.sum(0)
    G, D = together.shape
    cost = np.zeros((G + D, G + D))
    cost[:G, :D] = object_masks[:, None] + track_masks[None] - 2.0 * together
    # An object or a track may also stay by itself, which costs all of its masks.
    cost[:G, D:] = np.where(np.eye(G, dtype=bool), object_masks[:, None], _IMPOSSIBLE)
    cost[G:, :D] = np.where(np.eye(D, dtype=bool), track_masks[None], _IMPOSSIBLE)
    rows, columns = linear_sum_assignment(cost)
    paired = (rows < G) & (columns < D)
    matched = int(together[rows[paired], columns[paired]].sum())
    return matched, int(object_masks.sum()) - matched, int(track_masks.sum()) - matched


def _switches(similarity: np.ndarray, objects: np.ndarray, tracks: np.ndarray) -> int:
    """How often the track on an object is another one than when the object was last found."""
    nobody = -1
    last = np.full(objects.shape[1], nobody)  # the track that found each object last
    before = last.copy()  # the track that found it in the frame before
    switches = 0
    for frame in np.flatnonzero(objects.any(1) & tracks.any(1)):
        rows, columns = np.flatnonzero(objects[frame]), np.flatnonzero(tracks[frame])
        here = similarity[frame][np.ix_(rows, columns)]
        gain = np.where(here >= FOUND - _ROUNDING, here + KEEPS_ITS_TRACK * (before[rows, None] == columns), 0.0)
        chosen = linear_sum_assignment(-gain)
        found = gain[chosen] > _ROUNDING
        rows, columns = rows[chosen[0][found]], columns[chosen[1][found]]
        switches += int(((last[rows] != nobody) & (last[rows] != columns)).sum())
        last[rows] = columns
        before[:] = nobody
        before[rows] = columns
    return switches


def total_counts(counts: Iterable[TrackingCounts]) -> TrackingCounts:
    return sum(counts, no_counts())
