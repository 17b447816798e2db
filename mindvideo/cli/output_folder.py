"""The folder that the results of a model go to, also where several processes write into it."""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.logs import set_up_logging
from mindvideo.processes import is_first_process, num_launched
from mindvideo.run_folder import RunFolder

PROCESSES = ".processes"  # in that folder: what the processes tell each other


def plan_folder(output: str | None, cfg: ConfigDict, *, name: str) -> RunFolder:
    """The first process writes into the folder; the others only know where it is."""
    if output is None and num_launched() > 1:
        raise UserError("several processes write into one folder: name it with --output")
    if is_first_process():
        return RunFolder.plan(output=output, name=name, log_level=cfg.runtime.log_level)
    set_up_logging("warning")
    assert output is not None  # see the first line
    return RunFolder(Path(output))
