"""The tracker of families that go frame by frame: the network keeps its own state, so any length of video fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from mindspore import Tensor, nn

from mindvideo.data.media.frame_size import size_after
from mindvideo.inference.export import ExportPlan
from mindvideo.inference.scoring.clip_prediction import require_finite, segment_frame
from mindvideo.inference.scoring.track_vote import TrackVote, first_candidates
from mindvideo.inference.trackers.any_length import AnyLengthTracker, RenewableStep
from mindvideo.inference.trackers.lives import LifeRules
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation, VideoInstances

# PARITY(instanceformer): a track that scores less than this has no mask in any frame.
MIN_TRACK_SCORE = 0.001
# The picture that is shown of a frame takes scores and classes from a vote that is held again whenever the video has
# grown by this factor, so that a frame costs the same however long the video is.
VOTE_INTERVAL = 1.1


OnDeviceOrHost = Any  # a Tensor as the graph gave it, an np.ndarray once it was fetched


class SeenFrame(NamedTuple):
    """A frame as the network saw it: tensors of all queries, arrays of some of them once they are on the host."""

    probabilities: OnDeviceOrHost  # of the classes, [Q, K]
    boxes: OnDeviceOrHost  # [Q, 4], cxcywh in units of the frame
    mask_logits: OnDeviceOrHost  # [Q, h, w]
    embeddings: OnDeviceOrHost  # [Q, C], what the queries held at the end
    references: OnDeviceOrHost  # [Q, 2 or 4], where they began to look
    locations: OnDeviceOrHost  # [Q, M, L, P, 2], where they looked at last

    def on_host(self) -> SeenFrame:
        return SeenFrame(*(part.asnumpy() for part in self))

    def of_queries(self, queries: list[int]) -> SeenFrame:
        """The rows of some queries, of a frame that is on the host."""
        return SeenFrame(*(part[queries] for part in self))


class OnlineStep(RenewableStep, Protocol):
    """One frame through the network, compiled once for each frame shape.

    The state is a NamedTuple of the family's own, of tensors (None where a model has no such part). ``graph`` is what
    runs: from the image and the tensors of the state to the columns of SeenFrame and of the next state.
    """

    graph: nn.Cell

    def __call__(self, image: Tensor, state: Any) -> tuple[SeenFrame, Any]:
        """``image`` uint8 [H, W, 3]."""


class FrameObserver(Protocol):
    """Receives, for analysis, what the network saw of the tracks in each frame."""

    def begin(self, *, video_id: int | str, size: tuple[int, int]) -> None: ...

    def observe(self, *, embeddings: np.ndarray, references: np.ndarray, locations: np.ndarray) -> None: ...

    def finish(self, video: VideoInstances, *, queries: list[int], kept: list[int]) -> None: ...


class OnlineTracker:
    """A :class:`VideoTracker` over an :class:`OnlineStep`.

    The candidates are the queries of the ``candidate_pairs`` best (frame, query, class) of the first ``first_frames``
    frames; until they are known the predictions of those frames are kept, afterwards only the candidates' masks as RLE
    and their best scores. ``resize`` gives a frame the size in which the network is to see it. ``rules``: for videos
    of any length.
    """

    def __init__(
        self,
        *,
        step: OnlineStep,
        resize: Callable[[np.ndarray], np.ndarray],
        first_frames: int,
        candidate_pairs: int,
        frames_per_vote: int,
        rules: LifeRules | None = None,
        observer: FrameObserver | None = None,
    ) -> None:
        self.step = step
        self.resize = resize
        self.first_frames, self.candidate_pairs, self.frames_per_vote = first_frames, candidate_pairs, frames_per_vote
        self.rules = LifeRules() if rules is None else rules
        self.observer = observer

    def of_any_length(self) -> AnyLengthTracker:
        """The tracker of the same network for videos in which objects come and go."""
        return AnyLengthTracker(step=self.step, resize=self.resize, rules=self.rules)

    def export_plan(self, *, size: tuple[int, int]) -> ExportPlan:
        """The step of one frame of ``size`` (H, W), with the state that begins a video."""
        state = {name: part for name, part in self.step.initial_state()._asdict().items() if part is not None}
        image = Tensor(np.zeros((*size, 3), np.uint8))
        return ExportPlan(
            graph=self.step.graph, inputs={"image": image, **state}, outputs=SeenFrame._fields, state=tuple(state)
        )

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size in which the network sees frames of ``size`` (H, W)."""
        return size_after(self.resize, size)

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self.size, self.num_frames, self.video_id = size, num_frames, video_id
        self.state = self.step.initial_state()
        self.undecided: list[SeenFrame] = []  # the first frames, while they are all there is
        self.queries: list[int] | None = None
        self.masks: list[list[Segmentation]] = []
        self.boxes: list[np.ndarray] = []
        if self.observer is not None:
            self.observer.begin(video_id=video_id, size=size)

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        if frame.shape[:2] != tuple(self.size):
            raise ValueError(f"OnlineTracker: the video began with frames of {self.size}, got {frame.shape[:2]}")
        seen, self.state = self.step(Tensor(np.ascontiguousarray(self.resize(frame))), self.state)
        seen = seen.on_host()
        require_finite(seen.probabilities)
        if self.queries is not None:
            return [self._keep(seen, self.queries)]
        self.undecided.append(seen)
        return self._decide() if len(self.undecided) == self.first_frames else []

    def finish(self) -> VideoInstances:
        """The whole video; tracks without a pixel anywhere are left out."""
        if self.queries is None and self.undecided:
            self._decide()
        tracks = range(len(self.queries or ()))
        kept = [track for track in tracks if any(has_pixels(masks) for masks in self.masks[track])]
        scores, labels = self.vote.result() if self.queries else (np.zeros(0, np.float32), np.zeros(0, np.int64))
        segmentations: list[list[Segmentation | None]] = [
            list(self.masks[track]) if scores[track] >= MIN_TRACK_SCORE else [None] * len(self.boxes) for track in kept
        ]
        video = VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=len(self.boxes),
            scores=scores[kept],
            labels=labels[kept],
            track_ids=np.asarray(kept, np.int64) + 1,
            segmentations=segmentations,
            boxes=np.stack(self.boxes, 1)[kept] if self.boxes else np.zeros((0, 0, 4), np.float32),
        )
        if self.observer is not None:
            self.observer.finish(video, queries=self.queries or [], kept=kept)
        return video

    def _decide(self) -> list[VideoInstances]:
        """Pick the candidates from the first frames and go on with them only."""
        probabilities = np.stack([seen.probabilities for seen in self.undecided])
        self.queries = first_candidates(probabilities, self.candidate_pairs)
        self.masks = [[] for _ in self.queries]
        self.vote = TrackVote(
            num_tracks=len(self.queries), frames_per_vote=self.frames_per_vote, num_frames=self.num_frames
        )
        self.next_vote = 1.0
        first = [self._keep(seen, self.queries) for seen in self.undecided]
        self.undecided = []
        return first

    def _keep(self, seen: SeenFrame, queries: list[int]) -> VideoInstances:
        """Store what the result needs of one frame, and give the frame as it looks now."""
        seen = seen.of_queries(queries)
        self.vote.add(seen.probabilities)
        masks = [segment_frame(track, self.size) for track in seen.mask_logits]
        for track, mask in zip(self.masks, masks):
            track.append(mask)
        corners = to_pixels(seen.boxes, self.size)
        self.boxes.append(corners)
        if self.observer is not None:
            self.observer.observe(embeddings=seen.embeddings, references=seen.references, locations=seen.locations)
        if len(self.boxes) >= self.next_vote:
            self.current = self.vote.result()
            self.next_vote = len(self.boxes) * VOTE_INTERVAL
        scores, labels = self.current
        shown = [track for track, mask in enumerate(masks) if has_pixels(mask)]
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=1,
            scores=scores[shown],
            labels=labels[shown],
            track_ids=np.asarray(shown, np.int64) + 1,
            segmentations=[[masks[track]] for track in shown],
            boxes=corners[shown, None],
        )


def to_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """cxcywh in units of the frame [N, 4] -> x0 y0 x1 y1 in pixels."""
    H, W = size
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return (np.concatenate([centre - half, centre + half], 1) * np.asarray([W, H, W, H])).astype(np.float32)
