"""Picture files as the frames of a video, and the pictures inside one file."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindvideo.data.media.images import image_size, num_pictures, pictures_of, read_image
from mindvideo.data.media.reader import (
    DEFAULT_FRAMES_PER_SECOND,
    BrokenFrame,
    FrameSelection,
    VideoReader,
    nothing_selected,
    size_message,
)
from mindvideo.errors import UserError
from mindvideo.structures import Frame
from mindvideo.structures.picture_size import picture_size

_log = logging.getLogger("mindvideo.data")


class ImageFrames(VideoReader):
    """A video of picture files in the given order; each is read when its turn comes."""

    def __init__(
        self,
        files: Sequence[Path],
        *,
        name: str,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
    ) -> None:
        if not files:
            raise UserError(f"{name}: no pictures")
        self.name = name
        self._indices = selection.indices(len(files))
        if not self._indices:
            raise UserError(nothing_selected(name, selection, len(files)))
        self._files = list(files)
        self.num_frames = len(self._indices)
        self.frames_per_second = frames_per_second / selection.step
        self.size = self._common_size()
        self._tell_of_several()

    def _common_size(self) -> tuple[int, int]:
        """The one size of all readable files, from their headers; decoding meets those that cannot be read again."""
        size, problem = None, ""
        for index in self._indices:
            try:
                found = image_size(self._files[index])
            except UserError as error:
                problem = problem or str(error)
                continue
            if size is not None and found != size:
                raise UserError(size_message(str(self._files[index]), found, size))
            size = found
        if size is None:
            raise UserError(f"{self.name}: none of its {self.num_frames} pictures can be read; {problem}")
        return size

    def _tell_of_several(self) -> None:
        """Say once that only the first picture of an animation or of several pages is a frame."""
        for index in self._indices:
            count = num_pictures(self._files[index])
            if count > 1:
                _log.warning(
                    "%s holds %d pictures, of which only the first is a frame here; give that file itself as the input "
                    "to read it as a video",
                    self._files[index],
                    count,
                )
                return

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        for index in self._indices:
            file = self._files[index]
            try:
                yield Frame(image=read_image(file), index=index, source=str(file))
            except UserError as error:
                yield BrokenFrame(index=index, source=str(file), reason=str(error))


class Animation(VideoReader):
    """The pictures of one file: an animated GIF or WebP, or the pages of a TIFF."""

    def __init__(
        self,
        file: Path,
        *,
        name: str,
        selection: FrameSelection = FrameSelection(),  # noqa: B008  (frozen)
        frames_per_second: float = DEFAULT_FRAMES_PER_SECOND,
    ) -> None:
        """``frames_per_second`` is used for pages, which have no time."""
        self._total = total = num_pictures(file)
        self.name = name
        self._file = file
        self._selection = selection
        self.num_frames = len(selection.indices(total))
        if not self.num_frames:
            raise UserError(nothing_selected(name, selection, total))
        first, seconds = next(pictures_of(file))
        self.size = picture_size(first)
        self.frames_per_second = (1 / seconds if seconds > 0 else frames_per_second) / selection.step

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        pictures = pictures_of(self._file)
        for index in itertools.count():
            if self._selection.is_past(index):
                return
            source = f"{self._file}, frame {index}"
            try:
                image, _ = next(pictures, (None, 0.0))
            except UserError as error:
                lost = len([place for place in self._selection.indices(self._total) if place >= index])
                if lost:
                    reason = f"{error}; {lost} of its {self._total} frames are lost"
                    yield BrokenFrame(index=index, source=source, reason=reason)
                return
            if image is None:
                return
            if self._selection.takes(index):
                yield Frame(image=image, index=index, source=source)
