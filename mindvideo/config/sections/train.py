"""Section ``train``: how a step is computed, and what is reported and kept on the way."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Train:
    precision: str = key(
        "auto",
        "number format of matrix products and convolutions; auto is fp16 on Ascend and fp32 elsewhere",
        choices=["auto", "fp32", "fp16", "bf16"],
    )
    loss_scale: float = key(
        65536.0, "fp16: factor on the loss at the start; it adapts itself", minimum=1, maximum=2.0**40
    )
    loss_scale_patience: int = key(
        2000, "fp16: steps without an overflow before the factor is doubled", minimum=1, maximum=10**9
    )
    accumulate: int = key(1, "steps whose gradients are averaged into one update", minimum=1, maximum=100_000)
    average_decay: float = key(0.0, "decay of the moving average of the weights; 0 keeps none", minimum=0, maximum=1)
    recompute: bool = key(False, "compute each part of the network again in the backward pass: less memory, more time")
    log_every: int = key(20, "steps between two lines of the log", minimum=1, maximum=10**9)
    checkpoint_every: int = key(
        500, "steps between two checkpoints; one is also written at the end", minimum=1, maximum=10**9
    )
    keep_checkpoints: int = key(3, "checkpoints that are kept, the newest ones", minimum=1, maximum=10_000)
    evaluate_every: int = key(
        0, "epochs between two evaluations; 0 evaluates only at the end", minimum=0, maximum=1_000_000
    )
    evaluate: bool = key(False, "evaluate data.valid while training, and keep the best weights")
    best_metric: str = key("AP", "result of the evaluation that decides which weights are the best")
    patience: int = key(
        0,
        "evaluations in a row without a better best_metric after which the run ends; 0 goes on to the end",
        minimum=0,
        maximum=10_000,
    )
    wandb: str = key(
        "", "project of Weights & Biases that gets the records too (pip install wandb; WANDB_MODE=offline); empty: none"
    )
    keep_weights_every: int = key(
        0,
        "epochs between two files of weights that are kept for good (weights/epoch_001.ckpt, ...); 0 keeps none",
        minimum=0,
        maximum=1_000_000,
    )
