"""Section ``evaluation``: a model over the labelled set, in a run folder or during training."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.assembly.data import labelled_set
from mindvideo.assembly.labelled_run import OpenFrames, evaluate_tracker, run_in_memory
from mindvideo.assembly.network import for_videos, tracker_of
from mindvideo.assembly.training_sets import set_class_names
from mindvideo.data.labels.frame_files import require_frames
from mindvideo.data.labels.images import read_category_map
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledVideo, read_ground_truth
from mindvideo.evaluation.image_ap import evaluate_images
from mindvideo.evaluation.image_truth import LabelledImages, read_labelled_images
from mindvideo.inference.output.sharing import PeerLeftError, VideoSharing
from mindvideo.inference.pipeline import ReadAhead
from mindvideo.training.callbacks.interruption import Abandoned
from mindvideo.training.distributed import Ranks, follow_first, meet
from mindvideo.training.running_statistics import running_statistics

VALIDATION, FIGURES = ".validation", "figures"


def labelled_videos(cfg: ConfigDict, *, labels_needed: bool = True) -> GroundTruth:
    """The videos of ``data.valid``, cut to ``evaluation.max_videos``; every frame of them is there.

    A single image is a video of one frame.
    """
    files = labelled_set(cfg)
    if files.kind == "image":
        return labelled_images(cfg).ground_truth
    ground_truth = read_ground_truth(files.annotations, labels_needed=labels_needed)
    chosen = ground_truth.videos[: cfg.evaluation.max_videos]
    require_frames(files, {video.id: video.file_names for video in chosen})
    return dataclasses.replace(ground_truth, videos=chosen)


def labelled_images(cfg: ConfigDict) -> LabelledImages:
    """The same for a set of single images, with the boxes of its file and the classes that the model has."""
    data, evaluation, files = cfg.data, cfg.evaluation, labelled_set(cfg)
    mapped = None if files.category_map is None else read_category_map(files.category_map, data.category_map)
    categories = None if mapped is None else set_class_names(files)
    images = read_labelled_images(files.annotations, category_map=mapped, categories=categories)
    chosen = images.ground_truth.videos[: evaluation.max_videos]
    require_frames(files, {image.id: image.file_names for image in chosen})
    return dataclasses.replace(images, ground_truth=dataclasses.replace(images.ground_truth, videos=chosen))


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


def build_validation(
    cfg: ConfigDict,
    *,
    ranks: Ranks = Ranks(),  # noqa: B008  (frozen)
    folder: Path | None = None,
) -> Callable[[nn.Cell], dict[str, float]]:
    """The function with which a training evaluates its network: the twelve figures by name.

    Several processes share the videos, through a folder in that of the run; each gets the figures.
    """
    images = labelled_images(cfg) if labelled_set(cfg).kind == "image" else None
    ground_truth, open_frames = images.ground_truth if images else labelled_videos(cfg), frame_opener(cfg)
    sharing = sharing_of(ranks, (folder or Path()) / VALIDATION)

    def validate(network: nn.Cell) -> dict[str, float]:
        follow_first(running_statistics(network))
        tracker = for_videos(cfg, tracker_of(cfg, network), evaluated=True)
        try:
            with sharing.working():
                if images is None:
                    evaluation = evaluate_tracker(tracker, ground_truth, open_frames, sharing=sharing)
                    figures = None if evaluation is None else evaluation.tracks.statistics()
                else:
                    results = run_in_memory(tracker, ground_truth, open_frames, sharing=sharing)
                    figures = None if results is None else evaluate_images(images, results).masks.statistics()
                if figures is None:
                    return sharing.told(FIGURES)
                sharing.tell(FIGURES, figures)
                sharing.done()
                return figures
        except PeerLeftError as error:  # a signal reached the other process
            raise Abandoned from error

    return validate


def sharing_of(ranks: Ranks, folder: Path) -> VideoSharing:
    """The videos of a command over its processes; ``folder`` is seen by all of them."""
    return VideoSharing(folder, rank=ranks.rank, world_size=ranks.world_size, meet=meet)
