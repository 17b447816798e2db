"""The records of a run for Weights & Biases, where it is installed; ``WANDB_MODE=offline`` keeps them here."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError

PACKAGE = "wandb"


def require_wandb() -> Any:
    """The package; UserError where it is missing, before any work is done."""
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise UserError("train.wandb needs a package that is not installed: pip install wandb") from error


class WandbRun:
    """One run of a project; a resumed training goes on with its own, known by the name of its folder."""

    def __init__(self, folder: Path, *, project: str, name: str) -> None:
        self._run = require_wandb().init(
            project=project, name=name, id=folder.resolve().name[:64], dir=str(folder), resume="allow"
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The values of a step, by name; those that are not finite are left out."""
        self._run.log({name: value for name, value in values.items() if math.isfinite(value)}, step=step)

    def close(self) -> None:
        self._run.finish()
