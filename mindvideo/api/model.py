"""``mindvideo.load``: a model with its weights in one line, for videos and for streams of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mindvideo.api.result import VideoResult
from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.model_choice import choose_model
from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.video_frames import video_frame_name
from mindvideo.inference.output.tool_files import frame_name
from mindvideo.inference.predictor import Predictor, Source, reader_of

PUBLISHED = "published"  # the weights of the name's authors


class VideoModel:
    """A network with weights that follows one video at a time; :func:`load` makes it.

    ``class_names`` by category id, as far as they are known.
    """

    def __init__(self, predictor: Predictor, *, name: str) -> None:
        self.name = name
        self._predictor = predictor

    def __repr__(self) -> str:
        return f"VideoModel({self.name!r}, {len(self.class_names)} classes)"

    @property
    def class_names(self) -> Mapping[int, str]:
        return self._predictor.class_names

    def predict(self, video: Source, *, frames: FrameSelection | str = ":", confidence: float = 0.0) -> VideoResult:
        """The tracks of a whole video.

        ``video`` is a file, a folder of frames, a glob, or uint8 RGB arrays [H, W, 3] (a list, an array [T, H, W, 3]
        or a generator). ``frames`` is "START:STOP:STEP". Tracks that score below ``confidence`` are left out.
        """
        selection = FrameSelection.parse(frames) if isinstance(frames, str) else frames
        reader = reader_of(video, selection)
        indices: list[int] = []
        names: list[str] = []
        for frame, _ in self._predictor.track_frames(reader):
            indices.append(frame.index)
            names.append(
                frame_name(frame) if isinstance(video, (str, Path)) else video_frame_name("frames", frame.index)
            )
        result = VideoResult(
            self._predictor.result,
            class_names=self.class_names,
            frame_indices=indices,
            frame_names=names,
            frames_per_second=reader.frames_per_second,
            source=video if isinstance(video, (str, Path)) else None,
        )
        return result.above(confidence) if confidence > 0 else result

    def track(
        self, stream: Source, *, frames: FrameSelection | str = ":", confidence: float = 0.0
    ) -> Iterator[VideoResult]:
        """The tracks of one frame after the other, each with its picture in ``image``, as soon as they are decided.

        Online models answer at every frame, models of whole clips when a clip is full. ``stream`` is what ``predict``
        takes, and ``camera:0`` or ``-``. Scores are those that are known at the frame; after the last frame
        ``last_result`` has the official ones of the whole video.
        """
        selection = FrameSelection.parse(frames) if isinstance(frames, str) else frames
        reader = reader_of(stream, selection)
        for frame, instances in self._predictor.track_frames(reader):
            result = VideoResult(
                instances,
                class_names=self.class_names,
                frame_indices=[frame.index],
                frame_names=[frame_name(frame)],
                frames_per_second=reader.frames_per_second,
                image=frame.image,
            )
            yield result.above(confidence) if confidence > 0 else result

    @property
    def last_result(self) -> VideoResult:
        """The whole of the video that ``track`` has followed to its end."""
        return VideoResult(self._predictor.result, class_names=self.class_names)


def load(name: str | Path, *, weights: str | Path | None = PUBLISHED, overrides: Sequence[str] = ()) -> VideoModel:
    """A model that is ready for videos.

    ``name`` is that of published weights (``vistr_r50``; ``mindvideo weights`` lists them), of a configuration
    (``vistr``), or a YAML file. ``weights`` is a file, such a name, or ``hf:owner/repository``; left out, they are the
    published ones, from the cache folder or downloaded into it where their authors allow that; None leaves them
    random. ``overrides`` are ``section.key=value`` strings.

    >>> import mindvideo, numpy as np
    >>> model = mindvideo.load("vistr_toy", weights=None, overrides=["inference.short_side=32"])
    >>> video = np.zeros((3, 32, 48, 3), np.uint8)
    >>> result = model.predict(video)
    >>> result.num_frames, len(result.to_results()) == len(result)
    (3, True)
    >>> [frame.image.shape for frame in model.track(video)]
    [(32, 48, 3), (32, 48, 3), (32, 48, 3)]
    """
    given = None if weights is None or weights == PUBLISHED else str(weights)
    config, file = choose_model(str(name), given, needs_weights=weights is not None)
    cfg = load_config(config, overrides)
    from mindvideo.assembly.predictor import VideoPredictor  # MindSpore loads only when the name is known to be right

    return VideoModel(VideoPredictor.from_config(cfg, weights=file), name=cfg.name)
