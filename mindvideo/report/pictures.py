"""Frames of a video with the prediction and with the ground truth drawn over them, as JPEG strings for a page."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.evaluation.ground_truth import LabelledVideo
from mindvideo.inference.output.draw import draw_instances
from mindvideo.masks.forms import Tube
from mindvideo.masks.rle import decode_mask, encode_mask
from mindvideo.structures import Segmentation, VideoInstances

LONG_SIDE = 448  # of the pictures in the page
_JPEG_QUALITY = 80
_BACKGROUND = 128  # grey of a frame that is not there
_log = logging.getLogger("mindvideo.report")


class FramePainter:
    """Draws tracks over the frames of one video at the size of the page."""

    def __init__(self, video: LabelledVideo, frames: Path | None) -> None:
        self._video = video
        self._frames = None if frames is None else FrameReader(folder=frames)
        scale = LONG_SIDE / max(video.height, video.width)
        self.size = (max(1, round(video.height * scale)), max(1, round(video.width * scale)))

    def background(self, frame: int) -> np.ndarray:
        """uint8 RGB of the page's size; plain grey without frames."""
        H, W = self.size
        image = None
        if self._frames is not None and frame < len(self._video.file_names):
            try:
                image = self._frames.read(self._video.file_names[frame])
            except BrokenFrameError as error:
                _log.warning("%s: shown as plain grey", error)
        if image is None:
            return np.full((H, W, 3), _BACKGROUND, np.uint8)
        shrinks = image.shape[0] > H
        return cv2.resize(image, (W, H), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

    def paint(self, background: np.ndarray, tubes: Sequence[Tube], colors: Sequence[int], frame: int) -> np.ndarray:
        """``background`` with one mask for each tube; equal numbers in ``colors`` give equal colours."""
        shown = [(tube[frame], color) for tube, color in zip(tubes, colors) if tube[frame]]
        segmentations: list[list[Segmentation | None]] = [[self._scaled(counts)] for counts, _ in shown]
        instances = VideoInstances(
            video_id=self._video.id,
            size=self.size,
            num_frames=1,
            scores=np.ones(len(shown), np.float32),
            labels=np.ones(len(shown), np.int64),
            track_ids=np.array([color for _, color in shown], np.int64),
            segmentations=segmentations,
        )
        return draw_instances(background, instances, {}, boxes=False, tags=False)

    def _scaled(self, counts: bytes) -> Segmentation:
        """The RLE of a mask at the page's size."""
        mask = decode_mask({"size": [self._video.height, self._video.width], "counts": counts})
        scaled = cv2.resize(mask * np.float32(1), self.size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
        return encode_mask(scaled)


def jpeg_uri(image: np.ndarray) -> str:
    """A data URI of a uint8 RGB picture."""
    _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
