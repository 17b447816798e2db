"""Learning rates of VidEoMT's parameters."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.training.parameter_groups import ParameterGroup


def parameter_groups(cfg: ConfigDict) -> list[ParameterGroup]:
    """The last block learns at the full rate, each one before at ``layer_decay`` times that of the one after."""
    videomt, optimizer = cfg.videomt, cfg.optimizer
    last, rate = videomt.num_blocks - 1, optimizer.learning_rate
    blocks = [
        ParameterGroup(
            f"block {number}",
            rf"backbone\.layers\.{number}\.",
            rate * videomt.layer_decay ** (last - number),
            optimizer.weight_decay,
            late=True,
        )
        for number in range(videomt.num_blocks)
    ]
    # PARITY(videomt): the order of its parameter list makes DINOv3's final norm learn as slowly as the embeddings.
    norm_rate = rate * videomt.layer_decay**last if videomt.backbone == "dinov3" else rate
    return [
        *blocks,
        ParameterGroup("final norm", r"backbone\.norm\.", norm_rate, optimizer.weight_decay, late=True),
        ParameterGroup(
            "embeddings", r"backbone\.", rate * videomt.layer_decay**last, optimizer.weight_decay, late=True
        ),
        ParameterGroup("rest", r".*", rate, optimizer.weight_decay),
    ]
