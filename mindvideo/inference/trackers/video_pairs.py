"""The tracker of networks that go frame by frame and are judged by the whole video: the best (query, class) pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from mindspore import Tensor, nn

from mindvideo.inference.export import ExportPlan
from mindvideo.inference.scoring.clip_prediction import crop_to_valid, segment_frame
from mindvideo.inference.trackers.any_length import AnyLengthTracker, RenewableStep
from mindvideo.inference.trackers.lives import LifeRules
from mindvideo.masks.rle import empty_mask, has_pixels
from mindvideo.structures import Segmentation, VideoInstances
from mindvideo.structures.picture_size import picture_size

# Masks are coded at once for this many times as many pairs as a result has; what they miss is looked at again.
MARGIN = 2


class QueryFrame(NamedTuple):
    """A network's answer for its queries in a frame."""

    logits: Tensor  # of the classes, [Q, K + 1]; the last one is "no object"
    masks: Tensor  # logits [Q, h, w] over the padded frame


class QueryStep(RenewableStep, Protocol):
    """One frame through the network, compiled once for each frame shape.

    ``graph`` is what runs: from the image and the tensors of the state to the columns of QueryFrame and of the next
    state, a NamedTuple of the family's own.
    """

    graph: nn.Cell

    def __call__(self, image: Tensor, state: Any) -> tuple[QueryFrame, Any]:
        """``image`` uint8 [H, W, 3]."""


class Pair(NamedTuple):
    query: int
    label: int  # of the class outputs, from 0
    score: float


@dataclasses.dataclass
class _Frame:
    """A frame that can be looked at again, and the masks that are already coded, by query."""

    image: np.ndarray | None
    state: NamedTuple | None
    masks: dict[int, Segmentation]


class VideoPairsTracker:
    """A :class:`VideoTracker` over a :class:`QueryStep`.

    The class logits of a query are averaged over the frames; the results are the ``max_tracks`` best pairs of a query
    and a class, so a query can give several. Which they are is only known at the end: the masks of those that lead on
    the way are coded at once, and a frame in which a late winner was not among them goes through the network again.
    For that the last ``max_frames`` frames are kept as the network saw them; before those a late winner has no mask.
    ``rules``: for videos of any length.
    """

    observer = None

    def __init__(
        self,
        *,
        step: QueryStep,
        resize: Callable[[np.ndarray], np.ndarray],
        max_tracks: int,
        max_frames: int,
        rules: LifeRules | None = None,
    ) -> None:
        self.step, self.resize = step, resize
        self.rules = LifeRules() if rules is None else rules
        self.max_tracks, self.max_frames = max_tracks, max_frames

    def of_any_length(self) -> AnyLengthTracker:
        """The tracker of the same network for videos in which objects come and go."""
        return AnyLengthTracker(step=self.step, resize=self.resize, rules=self.rules)

    def export_plan(self, *, size: tuple[int, int]) -> ExportPlan:
        """The step of one frame of ``size`` (H, W), with the state that begins a video."""
        state = self.step.initial_state()._asdict()
        image = Tensor(np.zeros((*size, 3), np.uint8))
        inputs = {"image": image, **state}
        return ExportPlan(graph=self.step.graph, inputs=inputs, outputs=QueryFrame._fields, state=tuple(state))

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:  # noqa: ARG002
        self.size, self.video_id = size, video_id
        self.state = self.step.initial_state()
        self.frames: list[_Frame] = []
        self.logits: np.ndarray = np.zeros((0, 0))  # their sum over the frames, float64 [Q, K + 1]

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        if frame.shape[:2] != tuple(self.size):
            raise ValueError(f"VideoPairsTracker: the video began with frames of {self.size}, got {frame.shape[:2]}")
        image, before = np.ascontiguousarray(self.resize(frame)), self.state
        seen, self.state = self.step(Tensor(image), before)
        logits = seen.logits.asnumpy().astype(np.float64)
        self.logits = self.logits + logits if self.frames else logits
        self.frames.append(_Frame(image, before, {}))
        if len(self.frames) > self.max_frames:
            forgotten = self.frames[-self.max_frames - 1]
            forgotten.image = forgotten.state = None
        pairs = self.best_pairs(MARGIN * self.max_tracks)
        self._code_masks(self.frames[-1], {pair.query for pair in pairs}, seen, image)
        return [self._shown(pairs[: self.max_tracks])]

    def finish(self) -> VideoInstances:
        """The best pairs of the video, best first; tracks without a pixel anywhere stay, as published."""
        pairs = self.best_pairs(self.max_tracks) if self.frames else []
        queries = {pair.query for pair in pairs}
        for frame in self.frames:
            missing = queries - frame.masks.keys()
            if missing and frame.image is not None:
                seen, _ = self.step(Tensor(frame.image), frame.state)
                self._code_masks(frame, missing, seen, frame.image)
        masks = [[frame.masks.get(pair.query, empty_mask(self.size)) for frame in self.frames] for pair in pairs]
        return self._instances(pairs, masks, num_frames=len(self.frames))

    def best_pairs(self, count: int) -> list[Pair]:
        return best_pairs(self.logits / len(self.frames), count)

    def _code_masks(self, frame: _Frame, queries: set[int], seen: QueryFrame, image: np.ndarray) -> None:
        chosen = sorted(queries)
        maps = seen.masks.asnumpy()[chosen]
        valid = picture_size(image)
        for query, logits in zip(chosen, maps):
            inside = crop_to_valid(logits, padded=self.step.padded_size(valid), valid=valid)
            frame.masks[query] = segment_frame(inside, self.size)

    def _shown(self, pairs: list[Pair]) -> VideoInstances:
        """The newest frame as it looks now: each query once, with its best class, if it has a mask."""
        first = list({pair.query: pair for pair in reversed(pairs)}.values())[::-1]
        masks = self.frames[-1].masks
        first = [pair for pair in first if has_pixels(masks[pair.query])]
        return self._instances(first, [[masks[pair.query]] for pair in first], num_frames=1)

    def _instances(
        self, pairs: list[Pair], masks: Sequence[Sequence[Segmentation]], *, num_frames: int
    ) -> VideoInstances:
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=num_frames,
            scores=np.array([pair.score for pair in pairs], np.float32),
            labels=np.array([pair.label + 1 for pair in pairs], np.int64),  # category ids count from 1
            track_ids=track_ids(pairs, num_queries=len(self.logits) if pairs else 0),
            segmentations=[list(frames) for frames in masks],
        )


def best_pairs(mean_logits: np.ndarray, count: int) -> list[Pair]:
    """Of logits [Q, K + 1] with "no object" last: the ``count`` most probable pairs of query and class, best first."""
    exponentials = np.exp(mean_logits - mean_logits.max(axis=1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(axis=1, keepdims=True))[:, :-1]
    K = probabilities.shape[1]
    order = np.argsort(-probabilities.reshape(-1), kind="stable")[:count]
    return [Pair(int(place // K), int(place % K), float(probabilities.reshape(-1)[place])) for place in order]


def track_ids(pairs: list[Pair], *, num_queries: int) -> np.ndarray:
    """A query's best pair has the number of the query, from 1; its further ones have numbers of their own."""
    times: dict[int, int] = {}
    ids = []
    for pair in pairs:
        times[pair.query] = times.get(pair.query, -1) + 1
        ids.append(pair.query + 1 + times[pair.query] * num_queries)
    return np.array(ids, np.int64)
