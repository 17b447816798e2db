"""Section ``data``: which data sets, which clips of them, and what is done to a clip before it reaches the model."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import key


@dataclasses.dataclass
class Data:
    root: str = key("", "folder that holds the data sets; empty: MINDVIDEO_DATA_ROOT, else the catalogue's data_root")
    catalogue: str = key("", "file that lists the data sets; empty: datas/data.json")
    train: list[str] = key(
        ["synthetic_easy/train"], "training sets: names of the catalogue (SET/SPLIT), or ANNOTATIONS.json@FRAMES"
    )
    valid: str = key("synthetic_easy/valid", "labelled set that is evaluated: as in train")
    num_classes: int = key(
        41,
        "class outputs of the network, the never used 0 included: category ids are below it",
        minimum=2,
        maximum=100_000,
    )
    num_frames: int = key(
        5, "frames of a clip, in training and in the networks that take whole clips", minimum=1, maximum=1000
    )
    windows: int = key(
        1,
        "clips of num_frames frames that a training sample has: with 2 the second is drawn anywhere in the video",
        minimum=1,
        maximum=2,
        by_family=True,
    )
    clip_rule: str = key(
        "consecutive",
        "which frames make a clip: consecutive ones; the num_frames up to the key frame going round the video; or "
        "the key frame with one reference frame shortly before, one shortly after and others from further away",
        choices=("consecutive", "circular_window", "reference_frames"),
    )
    repeat_last_frame: bool = key(
        False, "reference_frames: the later reference frame may be drawn a second time, as in the published code"
    )
    samples_per: str = key(
        "frame", "an epoch holds one clip for every frame, or one for every video", choices=("frame", "video")
    )
    augmentation: str = key(
        "none",
        "none; toy (flip, time reversal, channel order, brightness); resize_crop (flip, resize, colour, resize, crop, "
        "resize to short_sides); resize_or_crop (flip, colour, then resize, or resize, crop and resize)",
        choices=("none", "toy", "resize_crop", "resize_or_crop"),
    )
    short_sides: list[int] = key(
        [], "final lengths of the shorter side, one is drawn; empty keeps the size", minimum=16, maximum=8192
    )
    max_long_side: int = key(
        0, "limit of the longer side after the final resize; 0 sets none", minimum=0, maximum=16384
    )
    first_short_sides: list[int] = key(
        list(range(480, 769, 32)),
        "resize_crop: lengths of the shorter side of the first resize",
        minimum=16,
        maximum=8192,
        items=(1, None),
    )
    first_max_long_side: int = key(
        800, "resize_crop: limit of the longer side in the first resize", minimum=0, maximum=16384
    )
    crop_short_sides: list[int] = key(
        [400, 500, 600], "lengths of the shorter side before the crop", minimum=16, maximum=8192, items=(1, None)
    )
    crop_range: list[int] = key(
        [384, 600], "minimum and maximum of the crop's height and width", minimum=16, maximum=8192, items=(2, 2)
    )
    photometric: bool = key(True, "colour distortion of video frames, drawn anew for every frame")
    photometric_wrap: bool = key(False, "colours that leave 0..255 wrap around as in the published code, not clipped")
    rotation: float = key(
        0.0, "a clip is turned by at most so many degrees either way, before all else", minimum=0.0, maximum=180.0
    )
    pasted_share: float = key(
        0.0,
        "share of the clips on which some objects of another clip of the set are pasted; max_instances must hold both",
        minimum=0.0,
        maximum=1.0,
    )
    absent: str = key(
        "keep",
        "instances without a pixel in the clip: keep them; zero_box zeroes the boxes of frames where they have none; "
        "drop does that and drops those that have none in the whole clip",
        choices=("keep", "zero_box", "drop"),
    )
    min_instances: int = key(1, "clips left with fewer instances are replaced by another clip", minimum=0, maximum=1000)
    box_minimum: float = key(0.0, "boxes of absent frames get this value in all four numbers", minimum=0.0, maximum=1.0)
    max_instances: int = key(
        10, "instances a clip is padded to; of more, the largest are kept", minimum=1, maximum=1000
    )
    buckets: list[list[int]] = key(
        [],
        "padded [height, width] of batches, each compiles one graph; empty: rounded up to 32 for every batch",
        minimum=16,
        maximum=8192,
        row=2,
    )
    category_map: str = key(
        "corrected", "ids of image sets: the published map, or the corrected one", choices=("published", "corrected")
    )
    batch_size: int = key(1, "clips of a step on each device", minimum=1, maximum=1024)
    workers: int = key(
        2, "processes that prepare batches; 0 prepares them in the training process", minimum=0, maximum=256
    )
    cache_megabytes: int = key(
        0, "memory of each worker for decoded frames of small sets", minimum=0, maximum=1_000_000
    )
    strict: bool = key(False, "stop at a broken frame instead of taking another clip and counting it")
