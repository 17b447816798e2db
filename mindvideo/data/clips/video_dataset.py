"""A labelled set of videos on disk, read clip by clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mindvideo.data.clips.rules import ClipRule
from mindvideo.data.labels.videos import Track, Video, VideoAnnotations, read_video_annotations
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError
from mindvideo.masks.lazy import ClipMasks

SAMPLES_PER = ("frame", "video")


class VideoDataset:
    """Samples of a YouTube-VIS set, before any transform.

    ``samples_per``: "frame", one sample for every frame of every labelled video, that frame being its key frame; or
    "video", one sample a video whose key frame is drawn anew each time. Videos without annotations are no samples.
    """

    def __init__(
        self,
        *,
        annotation_file: str | Path,
        frame_folder: str | Path,
        clip_rule: ClipRule,
        samples_per: str = "frame",
        cache_megabytes: int = 0,
    ) -> None:
        self.annotations: VideoAnnotations = read_video_annotations(annotation_file)
        if not self.annotations.has_labels:
            raise UserError(f"{annotation_file} has no annotations (a test file?), so nothing can be learned from it")
        self.clip_rule = clip_rule
        self.reader = FrameReader(folder=frame_folder, cache_megabytes=cache_megabytes)
        self.videos = [video for video in self.annotations.videos if video.tracks]
        self._samples: list[tuple[int, int | None]]  # number of a video and of its key frame, None to draw one
        if samples_per == "frame":
            self._samples = [(v, frame) for v, video in enumerate(self.videos) for frame in range(video.length)]
        else:
            self._samples = [(v, None) for v in range(len(self.videos))]

    def __len__(self) -> int:
        return len(self._samples)

    def category_ids(self) -> set[int]:
        """The labels that its clips have."""
        return {track.category_id for video in self.videos for track in video.tracks if not track.is_crowd}

    def frame_size(self, index: int) -> tuple[int, int]:
        """Annotated (H, W) of a sample's frames, known without reading them."""
        video = self.videos[self._samples[index][0]]
        return video.height, video.width

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample:
        """Sample ``index`` as it is on disk; the key frame (for samples per video) and the clip rule are drawn."""
        position, key_frame = self._samples[index]
        video = self.videos[position]
        if key_frame is None:
            key_frame = int(rng.integers(video.length))
        return self.read_clip(video, key_frame, self.clip_rule.frames(key_frame, video.length, rng))

    def read_clip(self, video: Video, key_frame: int, frame_indices: list[int]) -> ClipSample:
        size = (video.height, video.width)
        tracks = [track for track in video.tracks if not track.is_crowd]
        boxes, present = clip_boxes(tracks, frame_indices, size)
        runs = [[track.masks[t] if track.boxes[t] else None for t in frame_indices] for track in tracks]
        return ClipSample(
            frames=self.reader.clip([video.file_names[index] for index in frame_indices], size),
            labels=np.array([track.category_id for track in tracks], np.int32),
            boxes=boxes,
            masks=ClipMasks(runs, len(frame_indices), size),
            present=present,
            video_id=video.id,
            frame_indices=np.array(frame_indices, np.int64),
            key_frame=key_frame,
        )


def clip_boxes(tracks: list[Track], frame_indices: list[int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """xyxy boxes f32 [N, T, 4] cut to the frame (zeros where absent) and present bool [N, T]."""
    height, width = size
    boxes = np.zeros((len(tracks), len(frame_indices), 4), np.float32)
    present = np.zeros((len(tracks), len(frame_indices)), bool)
    for n, track in enumerate(tracks):
        for t, index in enumerate(frame_indices):
            if track.boxes[index] is not None:
                boxes[n, t] = track.boxes[index]
                present[n, t] = True
    boxes[..., 2:] += boxes[..., :2]
    np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
    return boxes, present
