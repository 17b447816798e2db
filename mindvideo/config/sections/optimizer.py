"""Section ``optimizer``: how parameters follow their gradients."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Optimizer:
    kind: str = key("adamw", "update rule", choices=["adamw", "sgd"])
    learning_rate: float = key(1e-4, "learning rate of everything without a rate of its own", minimum=0, maximum=100)
    backbone_learning_rate: float = key(1e-5, "learning rate of the backbone", minimum=0, maximum=100, by_family=True)
    offset_factor: float = key(
        1.0, "factor on the rate of sampling offsets and reference points", minimum=0, maximum=1000, by_family=True
    )
    weight_decay: float = key(1e-4, "weight decay (decoupled for adamw)", minimum=0, maximum=100)
    no_weight_decay: list[str] = key(
        [], "name patterns (regular expressions) of parameters without weight decay", pattern=True
    )
    beta1: float = key(0.9, "adamw: decay of the mean of the gradients", minimum=0, maximum=1)
    beta2: float = key(0.999, "adamw: decay of the mean of their squares", minimum=0, maximum=1)
    eps: float = key(1e-8, "adamw: added to the denominator", minimum=0, maximum=1)
    momentum: float = key(0.9, "sgd: momentum", minimum=0, maximum=1)
    clip_norm: float = key(
        0.1, "gradients are scaled down to this global L2 norm; 0 switches clipping off", minimum=0, maximum=1e9
    )
