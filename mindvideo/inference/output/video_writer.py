"""An H.264 mp4 that browsers play, written under a temporary name until it is whole."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mindvideo.errors import UserError
from mindvideo.files import sync_file, sync_folder

# The first that this build of PyAV has is used. Options: quality well above what a tint or an outline needs, at a
# speed that leaves the processor to the network.
ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "21"},
    "libopenh264": {"allow_skip_frames": "0"},
    "h264_videotoolbox": {},
}
# Frames a second that players can show; files that claim others are played at the nearest of these.
MIN_RATE, MAX_RATE = 0.1, 240.0
_BT709, _LIMITED_RANGE = 1, 1  # as FFmpeg counts colour spaces and ranges
_LONGEST_GAP_SECONDS = 2.0  # between key frames, so that stepping backwards in a browser is quick


class VideoWriter:
    """Frames in, one mp4 out: ``write`` each frame, then ``close``.

    ``close`` gives the file its final name. ``close(complete=False)`` keeps what was written, playable, as
    ``<name>.partial.mp4``. ``abandon`` removes it. As a context manager: closed when the block ends well, kept as
    partial when it is interrupted, abandoned after any other error.
    """

    def __init__(self, path: str | Path, *, frames_per_second: float, encoder: str | None = None) -> None:
        self.path = Path(path)
        self.partial_path = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        self._temporary = self.path.with_name(f".{self.path.stem}.tmp{self.path.suffix}")
        if not frames_per_second > 0:
            raise ValueError(f"frames_per_second: expected more than 0, got {frames_per_second}")
        playable = min(max(frames_per_second, MIN_RATE), MAX_RATE)
        self._rate = Fraction(playable).limit_denominator(1001)
        self._encoder = find_encoder(encoder)
        self._container: av.container.OutputContainer | None = None
        self._size: tuple[int, int] | None = None
        self.frames_written = 0

    def write(self, image: np.ndarray) -> None:
        """Append uint8 RGB [H, W, 3]; all frames have the size of the first."""
        if self._size is None:
            self._open(image.shape[0], image.shape[1])
        if image.shape[:2] != self._size:
            raise ValueError(f"{self.path}: expected a frame of {self._size}, got {image.shape[:2]}")
        frame = av.VideoFrame.from_ndarray(_padded_to_even(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        frame.pts = self.frames_written
        try:
            packets = self._stream.encode(frame)
        except av.error.ExternalError as error:
            H, W = self._size
            raise UserError(
                f"{self.path}: the encoder {self._encoder} does not take frames of {W}x{H} pixels; go without the "
                "video (inference.write=[masks] writes mask pictures)"
            ) from error
        self._mux(packets)
        self.frames_written += 1

    def close(self, *, complete: bool = True) -> Path | None:
        """Finish the file; its path, or None when no frame was written."""
        if self._container is None:
            return None
        try:
            self._mux(self._stream.encode())
            self._container.close()
            self._container = None
            sync_file(self._temporary)
            target = self.path if complete else self.partial_path
            self._temporary.replace(target)
            sync_folder(target.parent)
        except BaseException:
            self.abandon()
            raise
        if complete:
            self.partial_path.unlink(missing_ok=True)
        return target

    def abandon(self) -> None:
        """Forget the video and remove what was written of it."""
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except OSError as error:  # on a full disk the end cannot be written either; the file is removed anyway
                if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO):
                    raise
            finally:
                self._temporary.unlink(missing_ok=True)

    def _open(self, H: int, W: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._temporary), mode="w", format="mp4", options={"movflags": "faststart"})
        stream = self._container.add_stream(
            self._encoder, rate=self._rate, options=dict(ENCODERS.get(self._encoder, {}))
        )
        stream.width, stream.height = W + W % 2, H + H % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size = max(1, round(float(self._rate) * _LONGEST_GAP_SECONDS))
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._stream, self._size = stream, (H, W)

    def _mux(self, packets: list[av.Packet]) -> None:
        assert self._container is not None, "_open comes before"
        for packet in packets:
            self._container.mux(packet)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        elif issubclass(kind, (KeyboardInterrupt, GeneratorExit)):
            self.close(complete=False)
        else:
            self.abandon()


def find_encoder(wanted: str | None = None) -> str:
    """The name of an H.264 encoder of this PyAV; ``wanted`` asks for one by name."""
    names = (wanted,) if wanted else tuple(ENCODERS)
    for name in names:
        if name in av.codecs_available:
            return name
    raise UserError(
        f"no H.264 encoder to write videos with (looked for {', '.join(names)}): install PyAV from its wheel "
        "(pip install av), or go without videos (inference.write=[])"
    )


def _padded_to_even(image: np.ndarray) -> np.ndarray:
    """yuv420p halves both sides, so an odd one gets its last row or column twice."""
    H, W = image.shape[:2]
    if H % 2 or W % 2:
        image = np.pad(image, ((0, H % 2), (0, W % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
