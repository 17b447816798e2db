"""Section ``instanceformer``: the online model that carries its queries from frame to frame."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key

PROPAGATIONS = ["none", "multiply", "add", "box"]


@dataclasses.dataclass
class InstanceFormer:
    num_classes: int = key(42, "class outputs; category ids count from 1 and output 0 stays unused", minimum=2)
    num_queries: int = key(300, "queries, each of which can follow one instance", minimum=1)
    channels: int = key(256, "width of the transformer; a multiple of 32 and of heads", minimum=32)
    heads: int = key(8, "attention heads", minimum=1)
    encoder_layers: int = key(6, "layers of the deformable encoder", minimum=1)
    decoder_layers: int = key(6, "layers of the decoder", minimum=1)
    feedforward: int = key(1024, "width of the feed-forward blocks", minimum=1)
    dropout: float = key(0.1, "dropout rate of the transformer", minimum=0, maximum=0.9)
    backbone_levels: list[int] = key(
        [1, 2, 3],
        "stages of the backbone whose maps are used; masks: half the finest one's stride",
        minimum=0,
        maximum=3,
    )
    extra_levels: int = key(1, "coarser levels added behind them, each at half the size", minimum=0, maximum=3)
    mask_channels: int = key(0, "channels of the map that masks are made from; 0 takes channels / 32", minimum=0)
    encoder_points: int = key(4, "points a head reads on each level, encoder", minimum=1)
    decoder_points: int = key(4, "points a head reads on each level, decoder", minimum=1)
    locate_by_position: bool = key(
        True, "where the decoder looks depends on the query's position code too; false is the last public revision"
    )
    reference_propagation: str = key(
        "none",
        "how a frame's reference points follow from the frame before, in training; box: they are its boxes",
        choices=PROPAGATIONS,
    )
    inference_propagation: str = key(
        "same", "the same at inference; 'same' is what training does", choices=["same", *PROPAGATIONS]
    )
    propagate_class: bool = key(
        False, "carry the published class-propagation weights; what they computed leaves the classes as they are"
    )
    memory_frames: int = key(
        0, "frames of the memory at inference, the current one included; training sees its clip", minimum=0
    )
    memory_tokens: int = key(0, "queries remembered of each frame; 0 builds the model without memory", minimum=0)
    memory_mixes_clips: bool = key(False, "train as the published models did: memory attention reads across the batch")
    aux_masks_from_last_layer: bool = key(
        False, "train as the published models did: early layers' masks follow the last layer's matching"
    )
    match_on: str = key(
        "first_frame",
        "frames that decide which query an instance belongs to; the clip's need a model without memory",
        choices=["first_frame", "clip"],
    )
    absent_as_positive: bool = key(
        True, "an instance that is out of the frame is taught its class and an empty mask, as published"
    )
    contrastive_weight: float = key(
        0.0, "weight of the contrastive loss between the remembered queries of a clip; needs memory", minimum=0
    )
    first_frames: int = key(3, "frames at the start from which the candidates are picked", minimum=1)
    candidate_pairs: int = key(50, "best (frame, query, class) of those frames whose queries are kept", minimum=1)
    frames_per_vote: int = key(4, "a track's class and score are the vote of its best T / this many", minimum=1)
