"""The folder of one run: what was asked, what was used, what came out."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import check_place, write_bytes, write_json, write_text
from mindvideo.logs import set_up_logging, write_held
from mindvideo.processes import own_command

RUNS = Path("runs")
GIVEN_CONFIG, RESOLVED_CONFIG, ENVIRONMENT = "config.given.yaml", "config.yaml", "environment.json"
KEPT_WEIGHTS = "weights"
LOG, METRICS, CLASSES = "log.txt", "metrics.jsonl", "classes.json"
_PACKAGES = ("mindspore", "numpy", "scipy", "pycocotools", "opencv-python-headless", "av", "decord", "pillow")


def weights_of_epoch(run: Path, epoch: int) -> Path:
    """Where a run keeps the weights of an epoch (from 1 on) for good."""
    return run / KEPT_WEIGHTS / f"epoch_{epoch:03d}.ckpt"


def kept_weights(run: Path) -> list[Path]:
    """The weights that a run has kept, by their epoch."""
    found = (run / KEPT_WEIGHTS).glob("epoch_*.ckpt")
    return sorted(found, key=lambda path: (len(path.name), path.name))


class RunFolder:
    """``runs/<time>-<name>/`` or the folder given: configuration, versions, command, log and metrics of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def plan(cls, *, output: str | Path | None, name: str, log_level: str = "info") -> RunFolder:
        """The folder of a run that may still be refused: it is checked, but neither made nor changed.

        Lines of the log go to an existing folder's file at once, and to a new one's when :meth:`begin` makes it.
        """
        if output is None:
            safe_name = re.sub(r"[^\w.-]+", "-", name)[:100]
            output = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe_name}"
        path = Path(output)
        check_folder(path)
        exists = path.is_dir()
        set_up_logging(log_level, path / LOG if exists else None, hold=not exists)
        return cls(path)

    @classmethod
    def create(cls, *, output: str | Path | None, name: str, log_level: str = "info") -> RunFolder:
        """Make the folder (an existing one is continued) and start writing the log into it."""
        folder = cls.plan(output=output, name=name, log_level=log_level)
        folder.make()
        return folder

    def make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_held(self.path / LOG)
        except OSError as error:
            raise UserError(f"--output {self.path} cannot be written ({error.strerror or error})") from error

    def begin(self, *, config_file: Path, resolved_config: str, **facts: Any) -> None:
        """Make the folder of a run that nothing stands against any more, and record what is run."""
        self.make()
        self.record(config_file=config_file, resolved_config=resolved_config, **facts)

    def record(self, *, config_file: Path, resolved_config: str, **facts: Any) -> None:
        """Keep the given and the resolved configuration, the versions, the machine, the command and ``facts``."""
        if config_file.resolve() != (self.path / GIVEN_CONFIG).resolve():
            write_bytes(self.path / GIVEN_CONFIG, config_file.read_bytes())
        write_text(self.path / RESOLVED_CONFIG, resolved_config)
        write_json(self.path / ENVIRONMENT, {**describe_environment(), **facts})
        logging.getLogger("mindvideo.run").info("run folder %s", self.path)

    def append_metrics(self, **values: Any) -> None:
        """Add one line to ``metrics.jsonl``."""
        with open(self.path / METRICS, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(values) + "\n")


def check_folder(path: Path) -> None:
    """Refuse an --output that cannot become a folder to write in."""
    try:
        os.lstat(path)
        exists = True
    except (FileNotFoundError, NotADirectoryError):
        exists = False
    except (OSError, ValueError) as error:  # overlong, or with a zero byte
        raise UserError(f"--output {str(path)[:200]}: no folder can have this name ({error})") from error
    if exists and not path.is_dir():
        raise UserError(f"--output {path}: a file of that name exists; give a folder")
    if exists and not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"--output {path}: no permission to write in it")
    if not exists:
        check_place(path)


def describe_environment() -> dict[str, Any]:
    """The versions, the machine and the command of this process."""
    return {
        "mindvideo": importlib.import_module("mindvideo").__version__,
        "packages": {package: _version_of(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "command": own_command(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
