"""How SeqFormer runs on a video: windows of frames, each encoded by itself and decoded frame by frame."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.sequence_portions import EachFrame, PortionedSequence
from mindvideo.models.cards.sequences import sequence_tracker
from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.layers.pixels import NormalizePixels


def build_tracker(cfg: ConfigDict, network: SeqFormer) -> WindowTracker:
    pixels = NormalizePixels()
    portioned = PortionedSequence(
        network=network,
        encoder=EachFrame(network=network, pixels=pixels),
        window_frames=cfg.seqformer.window_frames,
    )
    return sequence_tracker(cfg, "seqformer", network=network, portioned=portioned, pixels=pixels)
