"""The folder of one run: what was asked, what was used, what came out."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import write_json, write_text
from mindvideo.logs import set_up_logging

RUNS = Path("runs")
GIVEN_CONFIG, RESOLVED_CONFIG, ENVIRONMENT = "config.given.yaml", "config.yaml", "environment.json"
LOG, METRICS = "log.txt", "metrics.jsonl"
_PACKAGES = ("mindspore", "numpy", "scipy", "pycocotools", "opencv-python-headless", "av", "decord", "pillow")


class RunFolder:
    """``runs/<time>-<name>/`` or the folder given: configuration, versions, command, log and metrics of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, *, output: str | Path | None, name: str, log_level: str = "info") -> RunFolder:
        """Make the folder (an existing one is continued) and start writing the log into it."""
        path = new_run_path(name) if output is None else Path(output)
        if path.exists() and not path.is_dir():
            raise UserError(f"--output {path}: a file of that name exists; give a folder")
        path.mkdir(parents=True, exist_ok=True)
        set_up_logging(log_level, path / LOG)
        return cls(path)

    def record(self, *, config_file: Path, resolved_config: str, **facts: Any) -> None:
        """Keep the given and the resolved configuration, the versions, the machine, the command and ``facts``."""
        if config_file.resolve() != (self.path / GIVEN_CONFIG).resolve():
            shutil.copyfile(config_file, self.path / GIVEN_CONFIG)
        write_text(self.path / RESOLVED_CONFIG, resolved_config)
        write_json(self.path / ENVIRONMENT, {**describe_environment(), **facts})
        logging.getLogger("mindvideo.run").info("run folder %s", self.path)

    def append_metrics(self, **values: Any) -> None:
        """Add one line to ``metrics.jsonl``."""
        with open(self.path / METRICS, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")


def new_run_path(name: str) -> Path:
    """``runs/<time>-<name>``, where a run goes that was given no folder."""
    safe_name = re.sub(r"[^\w.-]+", "-", name)
    return RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe_name}"


def describe_environment() -> dict[str, Any]:
    """The versions, the machine and the command of this process."""
    return {
        "mindvideo": importlib.import_module("mindvideo").__version__,
        "packages": {package: _version_of(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "command": shlex.join([sys.executable, *sys.argv]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
