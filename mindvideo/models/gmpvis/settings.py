"""Section ``gmpvis``: a dense clip model whose clips are joined by graph matching."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import When, key
from mindvideo.config.reads import ALL, BACKBONE, FRAME_SIZE, WINDOWS, reads
from mindvideo.models.cards.clip_settings import DenseClipModel

# The shared keys that this family reads.
READS = reads(BACKBONE, FRAME_SIZE, WINDOWS, {"matcher": ALL, "loss": ALL, "data": ("windows",)})


@dataclasses.dataclass
class GMPVIS(DenseClipModel):
    node_width: int = key(64, "channels of the nodes that are matched, one a query and frame", minimum=1)
    solver: str = key(
        "program",
        "how graphs are matched: the paper's quadratic program, inside the training graph on any device; Sinkhorn "
        "iteration, which is slower there; or the program on the host, with its bound at 0, for training on a CPU only",
        choices=("program", "sinkhorn", "exact"),
    )
    sinkhorn_iterations: int = key(
        50,
        "scalings of columns and rows",
        minimum=1,
        maximum=1000,
        when=When("solver", ("sinkhorn",), "solver: sinkhorn"),
    )
    match_weight: float = key(1.0, "weight of the matching loss", minimum=0.0)
    first_sharpness: float = key(
        50.0, "factor on the shares of an assignment at the first step; it ends at 1000, as published", minimum=1.0
    )
    sharpness_steps: int = key(10000, "steps over which that factor grows", minimum=1)
    second_class_weight: float = key(
        0.0, "weight of the classifier that reads the shapes of masks; 0 leaves it out", minimum=0.0
    )
