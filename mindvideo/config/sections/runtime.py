"""Section ``runtime``: where and how a run executes."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Runtime:
    device: str = key("CPU", "device the graphs run on", choices=["CPU", "GPU", "Ascend"])
    device_id: int = key(
        0, "number of the device on this machine; a launcher's own number wins", minimum=0, maximum=1023
    )
    mode: str = key("graph", "compiled graphs, or step by step for debugging", choices=["graph", "pynative"])
    keep_graphs: bool = key(
        True, "compiled graphs of inference are kept in the cache folder and found again at the next start (CPU)"
    )
    compile_after: float = key(
        2.0,
        "seconds of calls operator by operator before a graph of inference is compiled; 0: at once (CPU, kept graphs)",
        minimum=0.0,
        maximum=3600.0,
    )
    seed: int = key(42, "seed of weights, data order and augmentation", minimum=0, maximum=2**32 - 1)
    log_level: str = key("info", "lowest level of the lines that are shown", choices=["debug", "info", "warning"])
