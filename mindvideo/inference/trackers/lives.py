"""The lives of tracks: born when a query is sure, followed while it shows the same object, lost, found again.

Works on what an online network said of one frame, without the network, so it can be tried on stored predictions. Its
answer is which query shows which track, and which queries may begin anew.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.inference.scoring.track_evidence import TrackEvidence

BITS_DROPPED = 5  # of a colour's channels: eight steps are left of each
MIN_CELLS = 4  # a mask of fewer cells shows nothing
# Masks that share this much, of both together or of the smaller one, show the same object.
SAME_OBJECT, INSIDE_ANOTHER = 0.5, 0.7


class Observation(NamedTuple):
    """An online network's answer for a frame: arrays over its Q queries."""

    probabilities: np.ndarray  # float32 [Q, K], of the categories
    mask_logits: np.ndarray  # float32 [Q, h, w]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifeRules:
    """``min_birth``: probability from which a query is sure enough to begin a track; ``min_life``: to continue one.

    ``max_gap``: a track that was not seen for more frames has ended. ``min_likeness``: how alike, from 0 to 1, a query
    must be to the track that it continues; ``min_return``: to one that was lost for a while. ``kept_frames``: masks of
    older frames are forgotten.
    """

    min_birth: float = 0.25
    min_life: float = 0.1
    max_gap: int = 60
    min_likeness: float = 0.45
    min_return: float = 0.6
    kept_frames: int = 100_000


@dataclasses.dataclass(eq=False)
class Life:
    """One track: its number, what was seen of it, and where it was last."""

    track_id: int
    query: int
    first: int  # frame
    last: int  # frame in which it was seen last
    mask: np.ndarray  # bool [h * w], there
    place: np.ndarray  # (x, y, extent) of that mask, in units of the map's longer side
    colours: np.ndarray  # float32 [512], slowly following, see colours_under
    evidence: TrackEvidence


class Shown(NamedTuple):
    """A query that shows a track in the frame at hand."""

    life: Life
    query: int
    is_birth: bool


class Followed(NamedTuple):
    """A frame's tracks in the order of their birth, the tracks that have ended before it, and idle queries, bool [Q].

    Idle is a query that shows nothing, or an object that another one shows. A query that is not yet sure is not idle.
    """

    shown: list[Shown]
    ended: list[Life]
    idle: np.ndarray


class _Seen(NamedTuple):
    """A frame's candidates, in the terms in which they are compared."""

    frame: int
    probabilities: np.ndarray  # [Q, K]
    masks: np.ndarray  # bool [Q, h * w]
    areas: np.ndarray  # [Q]
    places: np.ndarray  # [Q, 3]
    colours: np.ndarray  # [Q, 512]
    overlap: np.ndarray  # [Q, Q], cells shared


class TrackLives:
    """``follow`` takes the frames of a video in order. ``alive``: tracks that may still be continued."""

    # How far, in extents of its mask, an object may move between two frames, and how much farther each frame of a gap.
    REACH, DRIFT = 1.0, 0.15
    COLOUR_PACE = 0.1

    def __init__(self, rules: LifeRules) -> None:
        self.rules = rules
        self.alive: list[Life] = []
        self._frame = -1
        self._num_born = 0

    def follow(self, seen: Observation, picture: np.ndarray) -> Followed:
        """The next frame; ``picture`` is the frame at the resolution of the masks, uint8 [h, w, 3]."""
        self._frame += 1
        frame = _compare(seen, picture, self._frame, self.rules.min_life)
        ended = [life for life in self.alive if self._frame - life.last > self.rules.max_gap]
        self.alive = [life for life in self.alive if life not in ended]
        sureness = frame.probabilities.max(axis=1)
        usable = frame.areas >= MIN_CELLS
        candidates = np.flatnonzero(usable & (sureness >= self.rules.min_life))
        recent = [life for life in self.alive if self._frame - life.last == 1]
        pairs = self._assign(recent, candidates, frame, self.rules.min_likeness)
        pairs = _without_repeats(pairs, frame)
        taken = [query for _, query, _ in pairs]
        free = self._free(candidates, sureness, taken, frame)
        found = {id(life) for life, _, _ in pairs}
        lost = [life for life in self.alive if id(life) not in found]
        pairs += self._assign(lost, free, frame, self.rules.min_return)
        taken = {query for _, query, _ in pairs}
        births = [self._born(query, frame) for query in free.tolist() if query not in taken]
        for life, query, _ in pairs:
            self._see(life, query, frame)
        shown = [Shown(life, query, False) for life, query, _ in pairs] + births
        taken |= {birth.query for birth in births}
        idle = np.ones(len(sureness), bool)
        for query in candidates.tolist():
            idle[query] = query not in taken and any(_same_object(frame, query, other) for other in taken)
        return Followed(sorted(shown, key=lambda each: each.life.track_id), ended, idle)

    def _assign(
        self, lives: list[Life], queries: np.ndarray, frame: _Seen, least: float
    ) -> list[tuple[Life, int, float]]:
        """The assignment with the largest sum of likeness, without pairs below ``least``."""
        if not lives or not len(queries):
            return []
        likeness = np.array([self._likeness(life, queries, frame) for life in lives])
        rows, columns = linear_sum_assignment(likeness, maximize=True)
        return [
            (lives[row], int(queries[column]), float(likeness[row, column]))
            for row, column in zip(rows, columns)
            if likeness[row, column] >= least
        ]

    def _likeness(self, life: Life, queries: np.ndarray, frame: _Seen) -> np.ndarray:
        """[len(queries)], from 0 to 1; 0 where the object cannot have got to."""
        gap = frame.frame - life.last
        kind = _cosine(life.evidence.mean(), frame.probabilities[queries])
        look = np.sqrt(frame.colours[queries]) @ np.sqrt(life.colours)  # Bhattacharyya's coefficient
        apart = np.abs(frame.places[queries, :2] - life.place[:2]).max(axis=1)
        near = apart <= self.REACH * life.place[2] + self.DRIFT * (gap - 1)
        if gap > 1:
            return np.where(near, 0.3 * kind + 0.7 * look, 0.0)
        shared = frame.masks[queries] @ life.mask.astype(np.float32)
        overlap = shared / np.maximum(frame.areas[queries] + life.mask.sum() - shared, 1.0)
        same = queries == life.query
        return np.where(near | (overlap > 0), 0.35 * overlap + 0.1 * kind + 0.4 * look + 0.15 * same, 0.0)

    def _free(self, candidates: np.ndarray, sureness: np.ndarray, taken: list[int], frame: _Seen) -> np.ndarray:
        """Sure queries, the surest first, that show nothing which another one shows already."""
        free: list[int] = []
        for query in candidates[np.argsort(-sureness[candidates], kind="stable")].tolist():
            if query in taken or sureness[query] < self.rules.min_birth:
                continue
            if not any(_same_object(frame, query, other) for other in (*taken, *free)):
                free.append(query)
        return np.array(free, np.int64)

    def _born(self, query: int, frame: _Seen) -> Shown:
        self._num_born += 1
        life = Life(
            track_id=self._num_born,
            query=query,
            first=frame.frame,
            last=frame.frame,
            mask=frame.masks[query],
            place=frame.places[query],
            colours=frame.colours[query],
            evidence=TrackEvidence(),
        )
        life.evidence.add(frame.probabilities[query])
        self.alive.append(life)
        return Shown(life, query, True)

    def _see(self, life: Life, query: int, frame: _Seen) -> None:
        life.query, life.last = query, frame.frame
        life.mask, life.place = frame.masks[query], frame.places[query]
        life.colours = (1.0 - self.COLOUR_PACE) * life.colours + self.COLOUR_PACE * frame.colours[query]
        life.evidence.add(frame.probabilities[query])


def _compare(seen: Observation, picture: np.ndarray, frame: int, min_life: float) -> _Seen:
    Q, h, w = seen.mask_logits.shape
    inside = seen.mask_logits > 0.0
    masks = inside.reshape(Q, h * w)
    flat = masks.astype(np.float32)
    compared = np.where((seen.probabilities.max(axis=1) >= min_life)[:, None], masks, False)
    return _Seen(
        frame=frame,
        probabilities=seen.probabilities,
        masks=masks,
        areas=flat.sum(axis=1),
        places=_places(inside),
        colours=colours_under(picture, compared),
        overlap=flat @ flat.T,
    )


def colours_under(picture: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Shares of 512 colours under each mask: uint8 [h, w, 3], bool [Q, h * w] -> float32 [Q, 512]; 0 if it is empty."""
    red, green, blue = np.moveaxis(picture.astype(np.int64) >> BITS_DROPPED, -1, 0)
    steps = 256 >> BITS_DROPPED
    colours = ((red * steps + green) * steps + blue).ravel()
    shares = np.zeros((len(masks), steps**3), np.float32)
    for query in np.flatnonzero(masks.any(axis=1)):
        counts = np.bincount(colours[masks[query]], minlength=steps**3)
        shares[query] = counts / counts.sum()
    return shares


def _places(inside: np.ndarray) -> np.ndarray:
    """Masks bool [Q, h, w] -> middle (x, y) and longer side of the box around each, [Q, 3]; 0 for an empty one."""
    Q, h, w = inside.shape
    places = np.zeros((Q, 3))
    for axis, line in ((0, inside.any(axis=1)), (1, inside.any(axis=2))):  # columns, rows
        first = line.argmax(axis=1)
        last = line.shape[1] - line[:, ::-1].argmax(axis=1)
        places[:, axis] = (first + last) / 2
        places[:, 2] = np.maximum(places[:, 2], last - first)
    return np.where(inside.any(axis=(1, 2))[:, None], places / max(h, w), 0.0)


def _same_object(frame: _Seen, first: int, second: int) -> bool:
    shared = frame.overlap[first, second]
    union = frame.areas[first] + frame.areas[second] - shared
    smaller = min(frame.areas[first], frame.areas[second])
    return bool(shared > SAME_OBJECT * union or shared > INSIDE_ANOTHER * smaller)


def _without_repeats(pairs: list[tuple[Life, int, float]], frame: _Seen) -> list[tuple[Life, int, float]]:
    """Where two tracks have got to the same object, the one that it is more like keeps it; the other is lost."""
    kept: list[tuple[Life, int, float]] = []
    for pair in sorted(pairs, key=lambda each: -each[2]):
        if not any(_same_object(frame, pair[1], other[1]) for other in kept):
            kept.append(pair)
    return kept


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _cosine(vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return _unit(rows) @ _unit(vector)
