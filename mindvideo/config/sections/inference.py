"""Section ``inference``: running a trained model on videos, and what is written about it."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import When, key

# As mindvideo/data/exporters/formats.py has them (this room imports nothing of the data).
EXCHANGE_FORMATS = ("coco", "cvat", "labelme", "labelstudio", "csv", "cutouts", "cutout_webm", "cutout_mov")
_BY_OVERLAP = When("linking", ("overlap",), "linking: overlap")
_BY_BANK = When("linking", ("features", "graph"), "linking: features and linking: graph")


@dataclasses.dataclass
class Inference:
    short_side: int | None = key(
        None,
        "frames are scaled to this short side for the network; null keeps their size",
        minimum=16,
        maximum=8192,
        by_family=True,
    )
    long_side: int | None = key(
        None, "limit of the long side after that; null sets none", minimum=16, maximum=16384, by_family=True
    )
    size_multiple: int = key(
        1,
        "then both sides are rounded to a multiple of this: every size compiles one graph, and single images have many",
        minimum=1,
        maximum=256,
        by_family=True,
    )
    precision: str = key(
        "auto",
        "number format of matrix products and convolutions; auto is fp16 on Ascend and fp32 elsewhere; bf16 on CPU "
        "needs a processor with AMX or AVX512-BF16",
        choices=["auto", "fp32", "fp16", "bf16"],
    )
    window_overlap: float = key(
        1 / 3,
        "share of a window that the next one sees again, in videos longer than a clip",
        minimum=0.0,
        maximum=0.9,
        by_family=True,
    )
    link_similarity: float = key(
        0.25,
        "minimum overlap of masks (half of it counts when categories disagree) to continue a track",
        minimum=0.0,
        maximum=1.0,
        by_family=True,
        when=_BY_OVERLAP,
    )
    linking: str = key(
        "overlap",
        "how tracks go on from window to window where any_length does not apply: by masks that overlap, as published; "
        "by features of the queries, which know an object again after it was away; or by matching graphs of them "
        "(gmpvis)",
        choices=["overlap", "features", "graph"],
        by_family=True,
    )
    bank_tracks: int = key(
        20, "tracks that are remembered, those seen last", minimum=1, maximum=1000, by_family=True, when=_BY_BANK
    )
    bank_memory: float = key(
        0.5,
        "share of a track's old features when it is seen again",
        minimum=0.0,
        maximum=0.99,
        by_family=True,
        when=_BY_BANK,
    )
    min_affinity: float = key(
        0.3,
        "minimum affinity of features to continue a track without overlap",
        minimum=0.0,
        maximum=1.0,
        by_family=True,
        when=_BY_BANK,
    )
    confidence: float = key(
        0.3, "minimum score of a track to be drawn; results.json keeps all", minimum=0.0, maximum=1.0
    )
    max_overlap: float = key(
        0.6, "a mask that overlaps a surer track's by more is not drawn; 1 draws all", minimum=0.0, maximum=1.0
    )
    input: list[str] = key(
        [], "what infer runs on when the command names no input: files, folders, globs, camera:N or -"
    )
    class_names: list[str] = key([], "names of categories 1, 2, ... to write on the video; empty shows numbers")
    write: list[str] = key(
        ["video"],
        "what is written beside results.json; docs/exchange.md tells of the formats of other tools",
        choices=["video", "masks", "frames", *EXCHANGE_FORMATS],
    )
    draw: list[str] = key(
        ["masks", "boxes", "tags"], "what is drawn over the frames", choices=["masks", "boxes", "tags"]
    )
    redraw: bool = key(
        True,
        "when a video is finished, draw it again with the names, scores and tracks that the whole of it gave; off: as "
        "they were known frame by frame (cameras and streams always)",
    )
    frames_per_second: float = key(10.0, "rate of the written video where the input has none", minimum=0.1, maximum=240)
    analysis_folder: str = key(
        "", "folder for what an online model saw of its tracks (mindvideo analyze draws it); empty: none"
    )
    scene_cuts: str = key(
        "videos",
        "where cuts between scenes are looked for, at which every track ends: in users' videos (infer), in evaluations "
        "as well, or nowhere",
        choices=["videos", "everywhere", "nowhere"],
    )
    any_length: str = key(
        "videos",
        "where tracks may begin and end in any frame and are known again: in users' videos (infer), in evaluations as "
        "well, or nowhere: the published procedure",
        choices=["videos", "everywhere", "nowhere"],
    )
    min_birth: float = key(
        0.25,
        "with any_length: probability from which a query begins a track",
        minimum=0.0,
        maximum=1.0,
        by_family=True,
    )
    min_life: float = key(
        0.1,
        "with any_length: probability from which a query continues its track",
        minimum=0.0,
        maximum=1.0,
        by_family=True,
    )
    max_gap: int = key(
        150,
        "with any_length: frames for which an object may be out of sight and come back as itself",
        minimum=1,
        maximum=10**6,
        by_family=True,
    )
    kept_frames: int = key(
        100_000,
        "with any_length: results.json has the masks of this many last frames of a longer stream; the key write with "
        "frames keeps all on disk",
        minimum=1,
        maximum=10**9,
        by_family=True,
    )
    read_ahead: int = key(
        8, "frames that wait between reading, inference and writing; bounds the memory", minimum=1, maximum=1000
    )
