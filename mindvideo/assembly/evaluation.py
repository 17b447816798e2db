"""Section ``evaluation``: a model over the labelled set, in a run folder or during training."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.assembly.data import labelled_set
from mindvideo.assembly.labelled_run import OpenFrames, evaluate_tracker
from mindvideo.assembly.network import tracker_of, with_scenes
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledVideo, read_ground_truth
from mindvideo.inference.pipeline import ReadAhead


def labelled_videos(cfg: ConfigDict) -> GroundTruth:
    """The labelled set of ``data.valid``, cut to ``evaluation.max_videos``."""
    evaluation = cfg.evaluation
    ground_truth = read_ground_truth(labelled_set(cfg).annotations)
    return dataclasses.replace(ground_truth, videos=ground_truth.videos[: evaluation.max_videos])


def frame_opener(cfg: ConfigDict) -> OpenFrames:
    """Opens the frames of a labelled video; a thread reads ahead."""
    reader = FrameReader(folder=labelled_set(cfg).frames)
    evaluation = cfg.evaluation

    @contextlib.contextmanager
    def open_frames(video: LabelledVideo) -> Iterator[Iterable[np.ndarray]]:
        frames = (_read_frame(reader, name) for name in video.file_names)
        with ReadAhead(frames, depth=evaluation.read_ahead) as ahead:
            yield ahead

    return open_frames


def _read_frame(reader: FrameReader, name: str) -> np.ndarray:
    """A frame that cannot be read ends an evaluation: figures over other frames would not be those of the set."""
    try:
        return reader.read(name)
    except BrokenFrameError as error:
        raise UserError(str(error)) from error


def build_validation(cfg: ConfigDict) -> Callable[[nn.Cell], dict[str, float]]:
    """The function with which a training evaluates its network: the twelve figures by name."""
    ground_truth, open_frames = labelled_videos(cfg), frame_opener(cfg)

    def validate(network: nn.Cell) -> dict[str, float]:
        tracker = with_scenes(cfg, tracker_of(cfg, network), evaluated=True)
        return evaluate_tracker(tracker, ground_truth, open_frames).tracks.statistics()

    return validate
