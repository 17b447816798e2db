"""Picture files as the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mindvideo.data.media.images import image_size, read_image
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


class ImageFrames(VideoReader):
    """Picture files in the given order as a video; each is read when its turn comes."""

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

    def _common_size(self) -> tuple[int, int]:
        """The one size of all readable files, from their headers; those that cannot be read are met again later."""
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

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        for index in self._indices:
            file = self._files[index]
            try:
                yield Frame(image=read_image(file), index=index, source=str(file))
            except UserError as error:
                yield BrokenFrame(index=index, source=str(file), reason=str(error))
