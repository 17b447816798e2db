"""The lives of tracks: born when a query is sure, followed while it shows the same object, lost, found again.

Works on what a network said of one frame, without the network, so it can be tried on stored predictions. Its
answer is which query shows which track, and which queries may begin anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.inference.scoring.track_evidence import TrackEvidence
from mindvideo.inference.trackers.colours import COARSE, FINE, colour_numbers, shares_of_colours

COLOUR_SIDE = 320  # of the picture in which colours are compared
MIN_CELLS = 4  # a mask of fewer cells shows nothing
FIRM = 1.5  # logit from which a cell is surely in the mask; down to minus this much it may be
# Masks that share this much, of both together or of the smaller one, show the same object.
SAME_OBJECT, INSIDE_ANOTHER = 0.5, 0.7


class Observation(NamedTuple):
    """A network's answer for a frame: arrays over its Q queries."""

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
    max_gap: int = 150
    min_likeness: float = 0.7
    min_return: float = 0.55
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
    colours: np.ndarray  # float32 [N], slowly following, see colours_under
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
    """A frame's candidates, the S queries that show something, in the terms in which they are compared."""

    frame: int
    queries: np.ndarray  # [S], their numbers
    probabilities: np.ndarray  # [S, K]
    masks: np.ndarray  # bool [S, h * w]
    firmness: np.ndarray  # [S], of the masks
    areas: np.ndarray  # [S]
    places: np.ndarray  # [S, 3]
    colours: np.ndarray  # [S, N]
    colour_roots: np.ndarray  # the square roots of those
    overlap: np.ndarray  # [S, S], cells shared


class TrackLives:
    """``follow`` takes the frames of a video in order. ``alive``: tracks that may still be continued."""

    # Parts of the likeness of two frames. Which query shows an object says nothing that these do not: queries
    # change over to another object just where two of them meet.
    OVERLAP, KIND, LOOK = 0.2, 0.1, 0.7
    KIND_AFTER_GAP, LOOK_AFTER_GAP = 0.3, 0.7
    # How far, in extents of its mask, an object may move between two frames, and how much farther each frame of a gap.
    REACH, DRIFT = 1.0, 0.15
    # Fine steps tell objects apart, coarse ones know an object again in another light: both count by half.
    COLOUR_STEPS = (COARSE, FINE)
    COLOUR_PACE = 0.1
    FIRM_COLOURS = 4  # power of a mask's firmness with which its colours count: a vague mask lies over others too

    def __init__(self, rules: LifeRules) -> None:
        self.rules = rules
        self.alive: list[Life] = []
        self._frame = -1
        self._num_born = 0

    def follow(self, seen: Observation, picture: np.ndarray) -> Followed:
        """The next frame; ``picture`` uint8 [H', W', 3] shows it in any size, for its colours: see small_picture."""
        self._frame += 1
        frame = _compare(seen, picture, self._frame, self.rules.min_life, self.COLOUR_STEPS)
        ended = [life for life in self.alive if self._frame - life.last > self.rules.max_gap]
        self.alive = [life for life in self.alive if life not in ended]
        recent = [life for life in self.alive if self._frame - life.last == 1]
        pairs = self._assign(recent, list(range(len(frame.queries))), frame, self.rules.min_likeness)
        pairs = _without_repeats(pairs, frame)
        free = self._free({row for _, row, _ in pairs}, frame)
        found = {id(life) for life, _, _ in pairs}
        lost = [life for life in self.alive if id(life) not in found]
        pairs += self._assign(lost, free, frame, self.rules.min_return)
        taken = {row for _, row, _ in pairs}
        births = [row for row in free if row not in taken]
        for life, row, _ in pairs:
            self._see(life, row, frame)
        shown = [Shown(life, life.query, False) for life, _, _ in pairs]
        shown += [Shown(self._born(row, frame), int(frame.queries[row]), True) for row in births]
        idle = np.ones(len(seen.probabilities), bool)
        for row, query in enumerate(frame.queries):
            shows_another = any(_same_object(frame, row, other) for other in (*taken, *births))
            idle[query] = row not in taken and row not in births and shows_another
        return Followed(sorted(shown, key=lambda each: each.life.track_id), ended, idle)

    def _assign(self, lives: list[Life], rows: list[int], frame: _Seen, least: float) -> list[tuple[Life, int, float]]:
        """Lives and rows of the frame, with the largest sum of likeness and without pairs below ``least``."""
        if not lives or not rows:
            return []
        likeness = np.array([self._likeness(life, frame)[rows] for life in lives])
        likeness[likeness < least] = 0.0  # what is refused must not draw another row to a life
        pairs = zip(*linear_sum_assignment(likeness, maximize=True))
        return [(lives[i], rows[j], float(likeness[i, j])) for i, j in pairs if likeness[i, j] > 0.0]

    def _likeness(self, life: Life, frame: _Seen) -> np.ndarray:
        """To each row of the frame, [S], from 0 to 1; 0 where the object cannot have got to."""
        gap = frame.frame - life.last
        kind = _cosine(life.evidence.mean(), frame.probabilities)
        look = frame.colour_roots @ np.sqrt(life.colours)  # Bhattacharyya's coefficient
        apart = np.abs(frame.places[:, :2] - life.place[:2]).max(axis=1)
        near = apart <= self.REACH * life.place[2] + self.DRIFT * (gap - 1)
        if gap > 1:
            return np.where(near, self.KIND_AFTER_GAP * kind + self.LOOK_AFTER_GAP * look, 0.0)
        shared = (frame.masks & life.mask).sum(axis=1)
        overlap = shared / np.maximum(frame.areas + life.mask.sum() - shared, 1.0)
        likeness = self.OVERLAP * overlap + self.KIND * kind + self.LOOK * look
        return np.where(near | (overlap > 0), likeness, 0.0)

    def _free(self, taken: set[int], frame: _Seen) -> list[int]:
        """Rows of sure queries, the surest first, that show nothing which another one shows already."""
        sureness = frame.probabilities.max(axis=1)
        free: list[int] = []
        for row in np.argsort(-sureness, kind="stable").tolist():
            if row in taken or sureness[row] < self.rules.min_birth:
                continue
            if not any(_same_object(frame, row, other) for other in (*taken, *free)):
                free.append(row)
        return free

    def _born(self, row: int, frame: _Seen) -> Life:
        self._num_born += 1
        life = Life(
            track_id=self._num_born,
            query=int(frame.queries[row]),
            first=frame.frame,
            last=frame.frame,
            mask=frame.masks[row],
            place=frame.places[row],
            colours=frame.colours[row],
            evidence=TrackEvidence(),
        )
        life.evidence.add(frame.probabilities[row])
        self.alive.append(life)
        return life

    def _see(self, life: Life, row: int, frame: _Seen) -> None:
        life.query, life.last = int(frame.queries[row]), frame.frame
        life.mask, life.place = frame.masks[row], frame.places[row]
        pace = self.COLOUR_PACE * float(frame.firmness[row]) ** self.FIRM_COLOURS
        life.colours = (1.0 - pace) * life.colours + pace * frame.colours[row]
        life.evidence.add(frame.probabilities[row])


def _compare(seen: Observation, picture: np.ndarray, frame: int, min_life: float, colour_steps: Sequence[int]) -> _Seen:
    queries = np.flatnonzero(seen.probabilities.max(axis=1) >= min_life)
    queries = queries[(seen.mask_logits[queries] > 0.0).sum(axis=(1, 2)) >= MIN_CELLS]
    logits = seen.mask_logits[queries]
    inside = logits > 0.0
    masks = inside.reshape(len(queries), inside.shape[1] * inside.shape[2])
    flat = masks.astype(np.float32)
    colours = colours_under(picture, _masks_over(picture, logits), colour_steps)
    return _Seen(
        frame=frame,
        queries=queries,
        probabilities=seen.probabilities[queries],
        masks=masks,
        firmness=firmness(logits),
        areas=flat.sum(axis=1),
        places=_places(inside),
        colours=colours,
        colour_roots=np.sqrt(colours),
        overlap=flat @ flat.T,
    )


def small_picture(frame: np.ndarray) -> np.ndarray:
    """The frame uint8 [H, W, 3], at most COLOUR_SIDE pixels long: enough for its colours."""
    scale = COLOUR_SIDE / max(frame.shape[:2])
    if scale >= 1.0:
        return frame
    height, width = (max(round(side * scale), 1) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _masks_over(picture: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Logits [S, h, w] -> masks bool [S, H' * W'] of the picture.

    Cells as coarse as the network's would mix the colours of a small object with those around it.
    """
    height, width = picture.shape[:2]
    maps = [cv2.resize(np.ascontiguousarray(each), (width, height)) for each in logits]
    return np.array(maps).reshape(len(maps), height * width) > 0.0


def colours_under(picture: np.ndarray, masks: np.ndarray, colour_steps: Sequence[int]) -> np.ndarray:
    """Shares of colours under each mask: uint8 [h, w, 3], bool [S, h * w] -> float32 [S, N], whose rows add up to 1.

    N: the colours of all ``colour_steps``, n ** 3 for n steps of each channel; each of them counts alike.
    """
    numbers = [colour_numbers(picture, steps).ravel() for steps in colour_steps]
    shares = np.zeros((len(masks), sum(steps**3 for steps in colour_steps)), np.float32)
    for share, mask in zip(shares, masks):
        if mask.any():
            parts = [shares_of_colours(each[mask], steps) for each, steps in zip(numbers, colour_steps)]
            share[:] = np.concatenate(parts) / len(parts)
    return shares


def firmness(logits: np.ndarray) -> np.ndarray:
    """Mask logits [S, h, w] -> for each the share of the cells that may be in it which surely are, [S], from 0 to 1."""
    sure, possible = ((logits > threshold).sum(axis=(1, 2)) for threshold in (FIRM, -FIRM))
    return sure / np.maximum(possible, 1)


def _places(inside: np.ndarray) -> np.ndarray:
    """Masks bool [S, h, w] with pixels -> middle (x, y) and longer side of the box around each, [S, 3]."""
    S, h, w = inside.shape
    places = np.zeros((S, 3))
    for axis, line in ((0, inside.any(axis=1)), (1, inside.any(axis=2))):  # columns, rows
        first = line.argmax(axis=1)
        last = line.shape[1] - line[:, ::-1].argmax(axis=1)
        places[:, axis] = (first + last) / 2
        places[:, 2] = np.maximum(places[:, 2], last - first)
    return places / max(h, w)


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
