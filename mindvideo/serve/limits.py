"""How much a visitor of the page may bring, and what is said when it is more."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from mindvideo.errors import UserError

KEPT_FREE = 500_000_000  # bytes that uploads leave free on the disk


@dataclasses.dataclass(frozen=True)
class Limits:
    """``upload_bytes`` of one video with all its frames, packed and unpacked; ``jobs`` that are kept at a time."""

    upload_bytes: int = 2_000_000_000
    files: int = 20_000
    jobs: int = 200
    pixels: int = 7680 * 4320  # of one frame
    json_bytes: int = 1_000_000

    def check_size(self, size: int, folder: Path) -> None:
        """UserError for an upload of ``size`` bytes that is too large, or for which there is no room."""
        if size > self.upload_bytes:
            raise UserError(
                f"{megabytes(size)} are too much: at most {megabytes(self.upload_bytes)} are taken "
                "(mindvideo serve --max-upload says how many)"
            )
        if shutil.disk_usage(folder).free - size < KEPT_FREE:
            raise UserError(f"no room for {megabytes(size)} on the disk: remove finished videos, or free some space")

    def check_pixels(self, size: tuple[int, int]) -> None:
        if size[0] * size[1] > self.pixels:
            raise UserError(f"frames of {size[1]}x{size[0]} are too large: at most {self.pixels} pixels are taken")


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 10_000_000 else f"{size / 1e6:,.0f} MB"
