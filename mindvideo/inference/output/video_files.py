"""The files about one video: overlay, mask pictures, results also in other tools' formats. Whole or absent."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.exporters.formats import TOLERANCE, WRITTEN
from mindvideo.files import write_json
from mindvideo.inference.output.draw import (
    USUAL_LOOK,
    TrackLook,
    draw_instances,
    mark_cut,
    readable_scale,
    rows_to_draw,
)
from mindvideo.inference.output.frame_lines import FrameLines
from mindvideo.inference.output.mask_pictures import write_legend, write_mask_picture
from mindvideo.inference.output.store import RESULTS
from mindvideo.inference.output.tool_files import ToolFiles, frame_name, partial_name
from mindvideo.inference.output.video_writer import VideoWriter
from mindvideo.structures import Frame, VideoInstances

MARKED_FRAMES = 5  # for so many frames the overlay points out a cut, or a track that begins in the middle of a scene
OVERLAY, MASKS, FRAMES = "overlay.mp4", "masks", "frames.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputChoice:
    """The files that are written beside ``results.json``, and how the overlay looks."""

    write: Sequence[str] = ("video",)
    draw: Sequence[str] = ("masks", "boxes", "tags")
    confidence: float = 0.3
    max_overlap: float = 1.0
    tolerance: float = TOLERANCE  # pixels by which polygons for other tools may be off
    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    look: TrackLook = USUAL_LOOK

    def facts(self) -> dict[str, Any]:
        """For a record of how a video was drawn."""
        return {
            "write": list(self.write),
            "draw": list(self.draw),
            "confidence": self.confidence,
            "max_overlap": self.max_overlap,
        }


class VideoFiles:
    """Files of one video: ``add`` each frame, then ``finish`` with the result, or ``keep_partial``, or ``abandon``.

    Nothing carries its final name before it is whole. What an interruption leaves is called ``overlay.partial.mp4``,
    ``results.partial.json`` and so on. ``results``: also write ``results.json``. ``cuts``: the frames, by their place,
    with which another scene began, as far as they are known.
    """

    def __init__(
        self,
        folder: Path,
        *,
        choice: OutputChoice,
        frames_per_second: float,
        results: bool = True,
        cuts: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self.folder = folder
        self.drawn_tracks: set[int] = set()
        self._choice, self._results, self._cuts = choice, results, cuts
        self._first_drawn: dict[int, int] = {}  # track id -> place of the frame
        self._scene = 0  # place of the frame with which the scene began
        self._made_folder = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._video = None
        if "video" in choice.write:
            self._video = VideoWriter(folder / OVERLAY, frames_per_second=frames_per_second)
        self._masks = folder / f".{MASKS}.tmp" if "masks" in choice.write else None
        if self._masks is not None:
            shutil.rmtree(self._masks, ignore_errors=True)
            self._masks.mkdir()
        self._lines = FrameLines(folder / FRAMES) if "frames" in choice.write else None
        self._tools = ToolFiles(
            folder,
            formats=set(choice.write) & set(WRITTEN),
            frames_per_second=frames_per_second,
            class_names=choice.class_names,
            tolerance=choice.tolerance,
        )
        self._place = 0  # of the next frame

    def add(self, item: tuple[Frame, VideoInstances]) -> None:
        """One frame and its instances, in order. Called on the writing thread."""
        frame, instances = item
        choice = self._choice
        place, self._place = self._place, self._place + 1
        is_cut = place in self._cuts()
        if is_cut:
            self._scene = place
        if self._lines is not None:
            self._lines.add(frame.index, frame_name(frame), instances, is_cut=is_cut)
        rows = rows_to_draw(instances, confidence=choice.confidence, max_overlap=choice.max_overlap)
        drawn_tracks = instances.track_ids[rows].tolist()
        self.drawn_tracks.update(drawn_tracks)
        self._tools.add(frame, instances, rows)
        if self._video is not None:
            drawn = draw_instances(
                frame.image,
                instances,
                choice.class_names,
                masks="masks" in choice.draw,
                boxes="boxes" in choice.draw,
                tags="tags" in choice.draw,
                scale=readable_scale(instances.size),
                rows=rows,
                new_tracks=self._new_tracks(drawn_tracks, place),
                look=choice.look,
            )
            if choice.draw and self._scene and place - self._scene < MARKED_FRAMES:
                mark_cut(drawn)
            self._video.write(drawn)
        if self._masks is not None:
            write_mask_picture(self._masks / f"{frame.index:06d}.png", instances, rows, choice.look)

    def _new_tracks(self, tracks: Sequence[int], place: int) -> list[int]:
        """Those that were first drawn a moment ago, and not when the scene began."""
        for track in tracks:
            self._first_drawn.setdefault(track, place)
        begun = [track for track in tracks if place - self._first_drawn[track] < MARKED_FRAMES]
        return [track for track in begun if self._first_drawn[track] >= self._scene + MARKED_FRAMES]

    def finish(self, result: VideoInstances) -> None:
        self._write(result, partial=False)

    def keep_partial(self, result: VideoInstances | None) -> None:
        """After an interruption: what is done stays, under names that say so."""
        self._write(result, partial=True)

    def abandon(self) -> None:
        """Remove what was begun; a finished file of an earlier run stays."""
        if self._video is not None:
            self._video.abandon()
        if self._lines is not None:
            self._lines.abandon()
        self._tools.abandon()
        if self._masks is not None:
            shutil.rmtree(self._masks, ignore_errors=True)
        if self._made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _write(self, result: VideoInstances | None, *, partial: bool) -> None:
        """The small files first: where one cannot be written, the large ones do not get their names either."""
        if result is not None:
            if self._results:
                write_json(self._final(RESULTS, partial), result.to_results(), indent=None)
        self._tools.finish(result, partial=partial)
        if self._masks is not None:
            if result is not None:
                write_legend(self._masks, result, self._choice.class_names, self.drawn_tracks)
            target = self._final(MASKS, partial)
            shutil.rmtree(target, ignore_errors=True)
            self._masks.replace(target)
        if self._lines is not None:
            self._lines.close(complete=not partial)
        if self._video is not None:
            self._video.close(complete=not partial)
        if not partial:
            self._remove_partial()
            if self._results:
                self._remove_outdated()

    def _final(self, name: str, partial: bool) -> Path:
        return self.folder / (partial_name(name) if partial else name)

    def _remove_partial(self) -> None:
        for name in (OVERLAY, RESULTS, FRAMES):
            self._final(name, partial=True).unlink(missing_ok=True)
        self._tools.remove_partial()
        shutil.rmtree(self._final(MASKS, partial=True), ignore_errors=True)

    def _remove_outdated(self) -> None:
        """An earlier run's files of kinds that this one has not written do not fit the new results."""
        for kind, name in (("video", OVERLAY), ("frames", FRAMES)):
            if kind not in self._choice.write:
                (self.folder / name).unlink(missing_ok=True)
        self._tools.remove_outdated()
        if self._masks is None:
            shutil.rmtree(self.folder / MASKS, ignore_errors=True)
