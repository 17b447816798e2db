"""Where the folders lie that belong to the package and are not code: in a checkout, or inside an installed package."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CACHE_VARIABLE, CACHES_VARIABLE = "MINDVIDEO_CACHE", "XDG_CACHE_HOME"
FOLDERS = ("config", "datas", "custom_ops")


def in_checkout() -> bool:
    return (
        all((PACKAGE.parent / name).is_dir() for name in ("config", "datas"))
        and (PACKAGE.parent / "pyproject.toml").is_file()
    )


def resource_folder(name: str) -> Path:
    """The folder ``config``, ``datas`` or ``custom_ops``; an installed package holds it as ``_config`` and so on."""
    if name not in FOLDERS:
        raise ValueError(f"no resource folder {name}; there are {', '.join(FOLDERS)}")
    return PACKAGE.parent / name if in_checkout() else PACKAGE / f"_{name}"


def cache_folder() -> Path:
    """This user's folder for what can be made or fetched again: ``MINDVIDEO_CACHE``, else below ``XDG_CACHE_HOME``."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(os.path.expanduser(own))  # which leaves the ~ of a user whom nobody knows
    base = os.environ.get(CACHES_VARIABLE) or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "mindvideo"
