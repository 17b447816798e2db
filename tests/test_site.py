"""The documentation builds as a site without a network, and the Dockerfile passes its linter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layout import PROJECT


def program(name: str) -> str:
    """A development tool beside this interpreter; continuous integration has them all."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed (requirements-dev.txt)")
    assert path is not None, f"requirements-dev.txt brings {name}"
    return path


def test_the_site_builds_and_fetches_nothing(tmp_path: Path):
    """Strictly: a page that is missing in the menu, or a link that leads nowhere, ends it."""
    command = [program("mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site")]
    dead_proxy = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}  # nobody answers there
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=120, env={**os.environ, **dead_proxy}
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert len(pages) >= len(list((PROJECT / "docs").glob("*.md")))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*src=\"?https?:[^>]*>", text)
        fetched += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|icon|preconnect)\"?[^>]*https?:[^>]*>", text)
        assert not fetched, f"{page.name} fetches {fetched[0]}"
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="own_data.html"' in index and "`docs/" not in index  # pages that are named are linked


def test_the_dockerfile_is_linted():
    done = subprocess.run([program("hadolint"), "Dockerfile"], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_copies_what_the_wheel_needs():
    """Files that setup.py and the build name are in the image, and what it copies exists."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    assert all((PROJECT / name).exists() for name in names)
    assert {"pyproject.toml", "setup.py", "README.md", "config", "datas", "custom_ops", "mindvideo"} <= set(names)
