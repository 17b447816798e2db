"""Which test files share a process: heavy files get their own, light ones are grouped by what they need.

``weights.json`` beside this file holds the seconds and the peak memory of each test file, measured by
``python tests/run.py --measure``. A file that needs too much by itself is cut into ``pieces`` of its tests (see
``tests/runner/events.py``), of which ``mb`` is the largest.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Need = dict[str, Any]  # "mb", "seconds" and, for a file that is cut, "pieces"
WEIGHTS = Path(__file__).with_name("weights.json")
# Of a file that was never measured: folders whose tests compile networks, and the others.
HEAVY_FOLDERS = {"parity", "models", "modules"}
UNKNOWN_HEAVY, UNKNOWN = {"mb": 2500, "seconds": 60}, {"mb": 600, "seconds": 8}
START_MB = 450  # what any process holds once MindSpore is imported
GROUP_MB, GROUP_SECONDS = 2100, 75  # light files are put together up to this much


@dataclasses.dataclass
class Job:
    """One pytest process: the arguments that name its tests, and what it is expected to need."""

    targets: list[str]
    mb: float
    seconds: float
    number: int = 0
    pieces: int | list[str] = 1

    @property
    def name(self) -> str:
        more = f" and {len(self.targets) - 1} more" if len(self.targets) > 1 else ""
        return self.targets[0] + more + (f", piece {self.number + 1}" if self.pieces != 1 else "")


def read_weights() -> dict[str, Need]:
    return json.loads(WEIGHTS.read_text(encoding="utf-8"))


def write_weights(weights: dict[str, Need]) -> None:
    rows = ",\n".join(f"  {json.dumps(file)}: {json.dumps(weights[file])}" for file in sorted(weights))
    WEIGHTS.write_text("{\n" + rows + "\n}\n", encoding="utf-8")


def need_of(target: str, weights: dict[str, Need]) -> Need:
    """``target``: a file, or ``file::test``."""
    file = Path(target.partition("::")[0])
    return weights.get(file.as_posix(), UNKNOWN_HEAVY if HEAVY_FOLDERS & set(file.parts) else UNKNOWN)


def plan_jobs(targets: Sequence[str], weights: dict[str, Need]) -> list[Job]:
    """Jobs for all targets (files, or ``file::test``), the longest first."""
    jobs: list[Job] = []
    group: Job | None = None
    for target in sorted(targets, key=lambda each: need_of(each, weights)["seconds"]):
        need = need_of(target, weights)
        mb, seconds, pieces = need["mb"], need["seconds"], need.get("pieces", 1)
        if pieces != 1:
            count = pieces if isinstance(pieces, int) else len(pieces) + 1
            jobs += [Job([target], mb, seconds / count, number, pieces) for number in range(count)]
            continue
        more = max(0, mb - START_MB)
        if group is None or group.mb + more > GROUP_MB or group.seconds + seconds > GROUP_SECONDS:
            group = Job([target], max(mb, START_MB), seconds)
            jobs.append(group)
        else:
            group.targets.append(target)
            group.mb += more
            group.seconds += seconds
    return sorted(jobs, key=lambda job: -job.seconds)


def next_job(waiting: list[Job], held: Sequence[float], budget: float) -> Job | None:
    """The longest waiting job that fits beside what the running ones are expected to hold; removed from the list."""
    for job in waiting:
        if not held or sum(held) + job.mb <= budget:
            waiting.remove(job)
            return job
    return None
