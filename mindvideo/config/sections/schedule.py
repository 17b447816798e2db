"""Section ``schedule``: how long training lasts and how the learning rate changes."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Schedule:
    epochs: int = key(18, "passes over the training clips", minimum=1, maximum=1_000_000)
    max_steps: int | None = key(None, "stop after this many steps; the schedule spans them", minimum=1, maximum=10**9)
    kind: str = key("step", "shape of the learning rate", choices=["constant", "step", "multi_step", "cosine", "poly"])
    step_epochs: int = key(12, "step: epochs between two drops", minimum=1, maximum=1_000_000)
    milestones: list[int] = key(
        [], "multi_step: epochs (from 0) at whose start the rate drops", minimum=0, maximum=1_000_000
    )
    gamma: float = key(0.1, "step, multi_step: factor of a drop", minimum=0, maximum=1)
    final_factor: float = key(0.0, "cosine: factor reached at the end", minimum=0, maximum=1)
    power: float = key(0.9, "poly: power of the remaining share of the steps", minimum=0, maximum=100)
    warmup_steps: int = key(0, "steps over which the rate rises linearly", minimum=0, maximum=10**9)
    warmup_factor: float = key(0.0, "factor from which it rises", minimum=0, maximum=1)
    late_warmup_steps: int = key(
        0,
        "poly: the pretrained parts of families that say so rest for warmup_steps and then warm up over these; 0: they "
        "learn from the start",
        minimum=0,
        maximum=10**9,
    )
