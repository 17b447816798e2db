"""Results on disk, read as VideoInstances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.inference.output.store import RECORD, RESULTS
from mindvideo.structures import VideoInstances


def load_results(path: str | Path) -> dict[int | str, VideoInstances]:
    """The videos of a ``results.json``, by id; a folder stands for the file in it.

    Videos without a track are not in such a file. Where ``run.json`` lies beside it the tracks have the ids of the run,
    otherwise 1, 2, ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / RESULTS
    records_of: dict[int | str, list[Mapping[str, Any]]] = {}
    try:
        for record in json.loads(path.read_text(encoding="utf-8")):
            records_of.setdefault(record["video_id"], []).append(record)
    except FileNotFoundError as error:
        raise UserError(f"no result file {path}") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: not a result file, which is a list of records ({error})") from error
    facts = _run_facts(path.with_name(RECORD))
    try:
        return {video: _instances(records, facts) for video, records in records_of.items()}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: {error}") from error


def _run_facts(path: Path) -> Mapping[str, Any]:
    """Track ids and frame size of a run's only video, from its ``run.json``; nothing without one."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: content[name] for name in ("track_ids", "size") if content.get(name)}
    except (ValueError, AttributeError):
        return {}


def _instances(records: list[Mapping[str, Any]], facts: Mapping[str, Any]) -> VideoInstances:
    track_ids = facts.get("track_ids")
    fitting = track_ids if track_ids is not None and len(track_ids) == len(records) else None
    return VideoInstances.from_results(records, size=facts.get("size"), track_ids=fitting)
