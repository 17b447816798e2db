"""The instances of a video, or of one of its frames, in the forms that other tools take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from mindvideo.api.detections import supervision_detections
from mindvideo.data.exporters.coco import coco_content
from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND
from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.inference.output.draw import draw_instances, name_of_class, readable_scale
from mindvideo.inference.output.tool_files import tracked_video
from mindvideo.inference.output.video_writer import VideoWriter
from mindvideo.masks.rle import mask_area, mask_box
from mindvideo.structures import Segmentation, VideoInstances


class Record(TypedDict):
    """One instance in one frame; ``pandas.DataFrame(result.to_records())`` makes a table of them."""

    frame: int
    track_id: int
    class_id: int
    class_name: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    area: int


@dataclasses.dataclass(frozen=True, repr=False)
class VideoResult:
    """N tracks through T frames, with the names of their classes.

    ``instances`` is the validated result that everything here is made from. ``frame_indices`` are the places of the T
    frames in their video, which is ``source`` where it was a file or a folder. ``image`` is the picture, uint8 RGB
    [H, W, 3], where this is the result of a single frame of ``track``.

    >>> import numpy as np
    >>> from mindvideo import VideoInstances, VideoResult
    >>> from mindvideo.masks.rle import encode_mask
    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1:3, 2:5] = True
    >>> instances = VideoInstances(
    ...     video_id=1, size=(4, 6), num_frames=2, scores=np.array([0.9], np.float32), labels=np.array([2]),
    ...     track_ids=np.array([7]), segmentations=[[None, encode_mask(mask)]],
    ... )
    >>> result = VideoResult(instances, class_names={1: "cat", 2: "dog"})
    >>> result
    VideoResult(2 frames of 4x6, 1 track: #7 dog 0.90)
    >>> result.masks.shape, result.boxes[0, 1].tolist()
    ((1, 2, 4, 6), [2.0, 1.0, 5.0, 3.0])
    >>> result.to_records()[0]["area"]
    6
    """

    instances: VideoInstances
    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    frame_indices: Sequence[int] | None = None
    frame_names: Sequence[str] | None = None
    frames_per_second: float = DEFAULT_FRAMES_PER_SECOND
    source: str | Path | None = None
    image: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.instances)

    def __repr__(self) -> str:
        H, W = self.instances.size
        tracks = [f"#{track} {name} {score:.2f}" for track, name, score in zip(self.track_ids, self.names, self.scores)]
        listed = ", ".join(tracks[:5]) + (", ..." if len(tracks) > 5 else "")
        frames = f"{self.num_frames} frame{'' if self.num_frames == 1 else 's'}"
        count = f"{len(self)} track{'' if len(self) == 1 else 's'}"
        return f"VideoResult({frames} of {H}x{W}, {count}{': ' + listed if listed else ''})"

    @property
    def num_frames(self) -> int:
        return self.instances.num_frames

    @property
    def scores(self) -> np.ndarray:
        """Float32 [N]."""
        return self.instances.scores

    @property
    def labels(self) -> np.ndarray:
        """Category ids, int [N]."""
        return self.instances.labels

    @property
    def track_ids(self) -> np.ndarray:
        """All different, from 1 on, int [N]."""
        return self.instances.track_ids

    @property
    def names(self) -> list[str]:
        """The name of each track's class; ``class 3`` where it is not known."""
        return [name_of_class(self.class_names, int(label)) for label in self.labels]

    @property
    def masks(self) -> np.ndarray:
        """Bool [N, T, H, W], decoded anew at every call; of a long video ``instances.masks(frame)`` takes less memory.

        >>> VideoResult(VideoInstances.nothing(video_id=1, size=(4, 6), num_frames=3)).masks.shape
        (0, 3, 4, 6)
        """
        return self.instances.masks()

    @property
    def boxes(self) -> np.ndarray:
        """Float32 [N, T, 4] as x0 y0 x1 y1 in pixels: the model's own, else those around the masks, NaN for none."""
        if self.instances.boxes is not None:
            return self.instances.boxes
        boxes = np.full((len(self), self.num_frames, 4), np.nan, np.float32)
        for row, segmentations in enumerate(self.instances.segmentations):
            for place, segmentation in enumerate(segmentations):
                if segmentation is not None and (box := mask_box(segmentation)) is not None:
                    x, y, width, height = box
                    boxes[row, place] = (x, y, x + width, y + height)
        return boxes

    @property
    def rle(self) -> list[list[Segmentation | None]]:
        """For each track T masks as COCO run-length codes, or None where it has no mask; pycocotools decodes them."""
        return self.instances.segmentations

    def above(self, score: float) -> VideoResult:
        """Only the tracks that score at least this.

        >>> len(VideoResult(VideoInstances.nothing(video_id=1, size=(4, 6), num_frames=3)).above(0.5))
        0
        """
        return self._rows(np.flatnonzero(self.scores >= score))

    def frame(self, place: int) -> VideoResult:
        """The T-th frame only, from 0, negative ones from the end; all tracks stay, also those without a mask there."""
        chosen = range(self.num_frames)[place]
        whole = self.instances
        instances = dataclasses.replace(
            whole,
            num_frames=1,
            segmentations=[[track[chosen]] for track in whole.segmentations],
            boxes=None if whole.boxes is None else whole.boxes[:, chosen : chosen + 1],
        )
        return dataclasses.replace(
            self,
            instances=instances,
            frame_indices=[self._indices()[chosen]],
            frame_names=None if self.frame_names is None else [self.frame_names[chosen]],
        )

    def to_records(self) -> list[Record]:
        """One entry for every track and frame in which it has a mask, frame by frame.

        >>> VideoResult(VideoInstances.nothing(video_id=1, size=(4, 6), num_frames=3)).to_records()
        []
        """
        records: list[Record] = []
        boxes, names, indices = self.boxes, self.names, self._indices()
        for place in range(self.num_frames):
            for row in range(len(self)):
                segmentation = self.rle[row][place]
                if segmentation is None or not (area := mask_area(segmentation)):
                    continue
                x0, y0, x1, y1 = (float(side) for side in boxes[row, place])
                records.append(
                    {
                        "frame": indices[place],
                        "track_id": int(self.track_ids[row]),
                        "class_id": int(self.labels[row]),
                        "class_name": names[row],
                        "score": float(self.scores[row]),
                        "x0": x0,
                        "y0": y0,
                        "x1": x1,
                        "y1": y1,
                        "area": area,
                    }
                )
        return records

    def to_results(self) -> list[dict[str, Any]]:
        """Records of a YouTube-VIS ``results.json``, one a track."""
        return self.instances.to_results()

    def to_coco(self) -> dict[str, Any]:
        """A COCO file's content: every frame an image, every mask an annotation with its ``track_id``.

        >>> sorted(VideoResult(VideoInstances.nothing(video_id=1, size=(4, 6), num_frames=1)).to_coco())
        ['annotations', 'categories', 'images', 'videos']
        """
        indices = self._indices()
        names = self.frame_names or [f"{index:06d}.jpg" for index in indices]
        video = tracked_video(
            self.instances,
            list(zip(indices, names)),
            self.class_names,
            name=str(self.instances.video_id),
            frames_per_second=self.frames_per_second,
        )
        return coco_content([video], names=self.class_names)

    def to_supervision(self, place: int = 0) -> Any:
        """``supervision.Detections`` of one frame; needs ``pip install supervision``.

        Class ids are ours (from 1 on); the names are in ``data["class_name"]``, the tracks in ``tracker_id``.
        """
        return supervision_detections(self.frame(place).instances, self.class_names)

    def overlay(
        self, image: np.ndarray | None = None, place: int = 0, *, confidence: float = 0.3, scale: int | None = None
    ) -> np.ndarray:
        """One frame with the masks, boxes and tags of its tracks, uint8 RGB. Without ``image`` it is the result's own.

        >>> nothing = VideoResult(VideoInstances.nothing(video_id=1, size=(4, 6), num_frames=1))
        >>> nothing.overlay(np.zeros((4, 6, 3), np.uint8), scale=1).shape
        (4, 6, 3)
        """
        picture = self.image if image is None else image
        if picture is None:
            raise UserError("overlay() needs the frame's picture: give image=, or use save_overlay(path)")
        chosen = self.frame(place)
        wanted = readable_scale(self.instances.size) if scale is None else scale
        return draw_instances(picture, chosen.instances, self.class_names, confidence=confidence, scale=wanted)

    def save_overlay(
        self, path: str | Path, images: Iterable[np.ndarray] | None = None, *, confidence: float = 0.3
    ) -> Path:
        """Write an mp4 of the video with its tracks drawn; its frames are read again unless ``images`` gives them."""
        with VideoWriter(path, frames_per_second=self.frames_per_second) as video:
            count = 0
            for place, image in enumerate(self._pictures() if images is None else images):
                if place >= self.num_frames:
                    break
                video.write(self.overlay(image, place, confidence=confidence))
                count += 1
            if count < self.num_frames:
                raise UserError(f"save_overlay: {count} pictures were given for {self.num_frames} frames")
        return Path(path)

    def save(self, path: str | Path) -> Path:
        """Write ``results.json`` in YouTube-VIS form, whole or not at all; ``mindvideo.load_results`` reads it."""
        self.instances.save(path)
        return Path(path)

    def _indices(self) -> Sequence[int]:
        return range(self.num_frames) if self.frame_indices is None else self.frame_indices

    def _pictures(self) -> Iterable[np.ndarray]:
        """The frames of the result, from the file or folder that it was made from."""
        if self.image is not None:
            yield self.image
            return
        if self.source is None:
            raise UserError("save_overlay: the video came from memory or a stream; give its frames with images=")
        wanted = set(self._indices())
        with find_videos(self.source)[0].open() as reader:
            for frame in reader.frames(on_problem=lambda _: None):
                if frame.index in wanted:
                    yield frame.image

    def _rows(self, rows: np.ndarray) -> VideoResult:
        whole = self.instances
        instances = dataclasses.replace(
            whole,
            scores=whole.scores[rows],
            labels=whole.labels[rows],
            track_ids=whole.track_ids[rows],
            segmentations=[whole.segmentations[row] for row in rows],
            boxes=None if whole.boxes is None else whole.boxes[rows],
        )
        return dataclasses.replace(self, instances=instances)
