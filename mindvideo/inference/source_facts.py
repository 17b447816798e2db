"""The identity of an input: a finished video is known again, and another of the same name is not taken for it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from mindvideo.data.media.sources import VideoSource


def source_facts(source: VideoSource) -> dict[str, Any]:
    """Path, size and time of change; of pictures, the number of files and their total size. Streams have no path."""
    if source.file is not None:
        found = source.file.stat()
        return {"path": str(source.file.resolve()), "bytes": found.st_size, "changed_ns": found.st_mtime_ns}
    if source.pictures:
        found_all = [picture.stat() for picture in source.pictures]
        names = "\0".join(picture.name for picture in source.pictures)
        return {
            "path": str(source.pictures[0].parent.resolve()),
            "names": hashlib.sha256(os.fsencode(names)).hexdigest(),
            "files": len(found_all),
            "bytes": sum(found.st_size for found in found_all),
            "changed_ns": max(found.st_mtime_ns for found in found_all),
        }
    return {"stream": source.name}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
