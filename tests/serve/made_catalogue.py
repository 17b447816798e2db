"""A catalogue of published models whose files come from a server of this machine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mindvideo.weights import download
from mindvideo.weights.published import PublishedWeights
from tests.weights.web_server import FileServer, serving

CONTENT = bytes(range(256)) * 4000


def entry(name: str, **more: object) -> PublishedWeights:
    facts = dict(
        name=name,
        file=f"{name}.pth",
        families=("vistr",),
        paper="A paper",
        dataset="discs",
        page="https://example.org/models",
        configuration="vistr_toy",
    )
    return PublishedWeights(**{**facts, **more})


@contextlib.contextmanager
def published_models(cache: Path) -> Iterator[FileServer]:
    """``discs`` and ``wrong`` (another file than its check sum says) can be downloaded, ``clicked`` by hand only."""
    with pytest.MonkeyPatch.context() as patch, serving(CONTENT) as server:
        url, size = f"{server.address}/file", len(CONTENT)
        entries = [
            entry("discs", url=url, size=size, sha256=hashlib.sha256(CONTENT).hexdigest(), ap=40.1),
            entry("wrong", url=url, size=size, sha256="0" * 64),
            entry("clicked", note="the <b>second</b> file"),
            entry("start_only", url=url, configuration=None),
        ]
        patch.setenv("MINDVIDEO_CACHE", str(cache))
        patch.setattr(download, "PAUSE", 0.01)
        patch.setattr(download, "BLOCK", 1 << 15)
        for module in ("published", "choices"):
            patch.setattr(f"mindvideo.serve.{module}.read_catalogue", lambda: {each.name: each for each in entries})
        yield server
