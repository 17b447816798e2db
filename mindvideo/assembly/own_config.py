"""A configuration for a set of one's own: what follows from the data, over a base that says the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ml_collections import ConfigDict

from mindvideo.data.labels.facts import SetFacts
from mindvideo.data.media.frame_size import short_side_size
from mindvideo.errors import UserError
from mindvideo.logs import counted
from mindvideo.models.registry import reads_of

SHORT_SIDE, LONG_SIDE = 64, 128  # of the frames where the base has no sizes of its own: minutes on a CPU
CELL = 32  # pixels; buckets are multiples of it, which every family takes
MASK_CELL = 8  # pixels, of the finest maps that masks are made from
MAX_BUCKETS = 3  # every one of them compiles a graph
SMALL_SET = 50  # videos; of fewer, every frame is the middle of a clip
WARM_UP_SHARE = 10  # a tenth of the run
Values = dict[str, dict[str, Any]]


def own_values(
    base: ConfigDict, facts: SetFacts, *, train: Sequence[str], valid: str, steps: int, short_side: int | None
) -> Values:
    """Section -> key -> value of everything that the data decide.

    A base whose augmentation crops to sizes of its own keeps them; else the frames are scaled to ``short_side``.
    """
    data = base.data
    values: Values = {"data": {"train": list(train), "valid": valid}}
    own = values["data"]
    own["num_classes"] = max(facts.class_names) + 1
    own["max_instances"] = min(facts.max_objects, _queries(base))
    if data.pasted_share:
        own["pasted_share"] = 0.0  # it takes longer to learn, and clips hold more objects than the set's
    own["samples_per"] = "frame" if len(facts.lengths) < SMALL_SET else data.samples_per
    if data.augmentation in ("toy", "none"):
        own.update(_sizes(facts, short_side or SHORT_SIDE))
        values["inference"] = {"short_side": own["short_sides"][0], "long_side": own["max_long_side"]}
        if "size_multiple" in reads_of(base.family).get("inference", ()):
            # Else the last cells of a map reach beyond a small frame, and its masks come out a few per cent too narrow.
            values["inference"]["size_multiple"] = MASK_CELL
    elif short_side is not None:
        raise UserError(
            f"--short-side: {base.name} crops to sizes of its own ({data.augmentation}); change data.short_sides and "
            "what goes with it in the file, or take a toy configuration as --base"
        )
    samples = facts.num_frames if own["samples_per"] == "frame" else len(facts.lengths)
    own["batch_size"] = min(data.batch_size, samples)
    batches = max(1, samples // own["batch_size"])
    values["schedule"] = {
        "epochs": math.ceil(steps / batches),
        "max_steps": steps,
        "kind": "poly" if base.schedule.kind == "poly" else "cosine",
        "warmup_steps": min(base.schedule.warmup_steps, steps // WARM_UP_SHARE),
    }
    if base.schedule.late_warmup_steps:
        values["schedule"]["late_warmup_steps"] = min(base.schedule.late_warmup_steps, steps // WARM_UP_SHARE)
    values["train"] = {"checkpoint_every": max(1, min(base.train.checkpoint_every, steps // 2))}
    return values


def _queries(base: ConfigDict) -> int:
    """How many objects of a clip the model can carry."""
    return int(base[base.family].get("num_queries", 100))


def _sizes(facts: SetFacts, short_side: int) -> dict[str, Any]:
    """Frames of one short side, and the padded sizes that hold them: as few as there are shapes of videos."""
    short = min(short_side, *(min(size) for size in facts.sizes))
    long = max(LONG_SIDE * short // SHORT_SIDE, short)
    canvases = {_rounded_up(short_side_size(size, short_side=short, long_side=long)) for size in facts.sizes}
    if len(canvases) > MAX_BUCKETS:
        canvases = {_around(group) for group in _by_orientation(canvases) if group}
    buckets = [list(canvas) for canvas in sorted(canvases)]
    return {"augmentation": "none", "short_sides": [short], "max_long_side": long, "buckets": buckets}


def _rounded_up(size: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(size[0] / CELL) * CELL, math.ceil(size[1] / CELL) * CELL


def _by_orientation(canvases: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    lying = {canvas for canvas in canvases if canvas[0] <= canvas[1]}
    return [lying, canvases - lying]


def _around(canvases: set[tuple[int, int]]) -> tuple[int, int]:
    return max(height for height, _ in canvases), max(width for _, width in canvases)


def own_config_text(base: str, family: str, name: str, facts: SetFacts, values: Values) -> str:
    """The YAML file, with what was found in the data as comments."""
    sizes = ", ".join(f"{W}x{H}" for H, W in facts.sizes[:5]) + (" ..." if len(facts.sizes) > 5 else "")
    classes = ", ".join(f"{number} {label}" for number, label in list(facts.class_names.items())[:12])
    more = " ..." if len(facts.class_names) > 12 else ""
    shortest, longest = min(facts.lengths), max(facts.lengths)
    frames = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
    lines = [
        f"# Found in the data: {counted(len(facts.lengths), 'labelled video')} of {frames} frames, {sizes}; at most "
        f"{counted(facts.max_objects, 'object')} in one.",
        f"# Classes: {_one_line(classes)}{more}",
        f"# All else is as in {base}; 'mindvideo config --show {name}.yaml' shows it, '--explain KEY' explains a key.",
    ]
    head = {"_base_": base, "family": family, "name": name}
    return (
        "\n".join(lines)
        + "\n"
        + yaml.safe_dump({**head, **values}, default_flow_style=None, sort_keys=False, allow_unicode=True)
    )


def _one_line(words: str) -> str:
    return " ".join(words.split())


def base_reference(base: str) -> str:
    """How a file names its base: ours by name, another file by its whole path."""
    path = Path(base)
    return str(path.resolve()) if path.is_file() else base
