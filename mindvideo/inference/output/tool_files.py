"""The result of a video in the formats of other tools, for drawing or labelling programs and tables."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.exporters.formats import TOLERANCE, WRITTEN, ShownFrame, VideoWriting
from mindvideo.data.exporters.tracked_video import Track, TrackedVideo, masks_by_place
from mindvideo.data.media.video_frames import video_frame_name
from mindvideo.inference.output.draw import name_of_class
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Frame, VideoInstances

_FRAME_OF_VIDEO = re.compile(r"(.+), frame (\d+)")


def frame_name(frame: Frame) -> str:
    """The picture's file, or ``clip.mp4#12`` for a frame of a video file or stream."""
    place = _FRAME_OF_VIDEO.fullmatch(frame.source)
    return video_frame_name(Path(place[1]).name, int(place[2])) if place else Path(frame.source).name


def tracked_video(
    result: VideoInstances,
    frames: Sequence[tuple[int, str]],
    class_names: Mapping[int, str],
    *,
    name: str,
    frames_per_second: float,
    drawn: Mapping[int, Collection[int]] | None = None,
) -> TrackedVideo:
    """``frames``: index and name of each. ``drawn``: the places at which a track is shown, by its id; default: all."""
    rows = zip(result.track_ids.tolist(), result.labels.tolist(), result.scores.tolist(), result.segmentations)
    tracks = [
        Track(
            id=track,
            category_id=label,
            category=name_of_class(class_names, label),
            score=score,
            masks=masks_by_place(masks, only=None if drawn is None else drawn.get(track, ())),
        )
        for track, label, score, masks in rows
    ]
    return TrackedVideo(
        name=name,
        size=(result.size[0], result.size[1]),
        numbers=[index for index, _ in frames],
        file_names=[file_name for _, file_name in frames],
        tracks=[track for track in tracks if track.masks],
        frames_per_second=frames_per_second,
    )


class ToolFiles:
    """``add`` each frame, then ``finish`` with the result, or ``abandon``. What is not whole has no final name.

    Programs for labelling and cut-outs get the tracks that are drawn, coco and csv all of them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Collection[str],
        frames_per_second: float,
        class_names: Mapping[int, str],
        tolerance: float = TOLERANCE,
    ) -> None:
        self._folder, self._temporary = folder, folder / ".tools.tmp"
        self._formats, self._rate, self._class_names = formats, frames_per_second, class_names
        self._frames: list[tuple[int, str]] = []
        self._drawn: dict[int, set[int]] = {}
        self._writing: VideoWriting | None = None
        shutil.rmtree(self._temporary, ignore_errors=True)
        if formats:
            self._temporary.mkdir()
            self._writing = VideoWriting(
                self._temporary,
                formats=formats,
                frames_per_second=frames_per_second,
                tolerance=tolerance,
                served_in=folder.name,
            )

    def add(self, frame: Frame, instances: VideoInstances, rows: Sequence[int]) -> None:
        """``rows``: the instances that are drawn."""
        if self._writing is None:
            return
        place = len(self._frames)
        self._frames.append((frame.index, frame_name(frame)))
        objects = []
        for row in rows:
            track, mask = int(instances.track_ids[row]), instances.segmentations[row][0]
            if mask is not None and has_pixels(mask):
                self._drawn.setdefault(track, set()).add(place)
                objects.append((track, mask))
        file = None if _FRAME_OF_VIDEO.fullmatch(frame.source) else Path(frame.source)
        self._writing.add(ShownFrame(image=frame.image, number=frame.index, file=file), objects)

    def finish(self, result: VideoInstances | None, *, partial: bool) -> None:
        """``partial``: the files get names that say so. Without a result there is what needs none."""
        if self._writing is None:
            return
        if result is None:
            self._writing.close()
        else:
            facts: dict[str, Any] = {"name": self._folder.name, "frames_per_second": self._rate}
            shown = tracked_video(result, self._frames, self._class_names, drawn=self._drawn, **facts)
            whole = tracked_video(result, self._frames, self._class_names, **facts)
            self._writing.finish(shown, whole=whole, names=self._class_names)
        for made in sorted(self._temporary.iterdir()):
            self._replace(made, self._folder / (partial_name(made.name) if partial else made.name))
        self._temporary.rmdir()

    def remove_partial(self) -> None:
        for name in WRITTEN.values():
            _remove(self._folder / partial_name(name))

    def remove_outdated(self) -> None:
        """Files of an earlier run in formats that this one has not written."""
        for kind, name in WRITTEN.items():
            if kind not in self._formats:
                _remove(self._folder / name)

    def abandon(self) -> None:
        if self._writing is not None:
            with contextlib.suppress(OSError):  # on a full disk the end cannot be written either
                self._writing.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _replace(self, made: Path, target: Path) -> None:
        if target.is_dir():
            shutil.rmtree(target)
        made.replace(target)


def partial_name(name: str) -> str:
    path = Path(name)
    return f"{path.stem}.partial{path.suffix}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
