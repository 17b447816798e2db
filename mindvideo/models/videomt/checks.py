"""Settings of VidEoMT that contradict each other, which no single key can say."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.errors import UserError


def check(cfg: ConfigDict) -> None:
    """UserError for settings that contradict each other."""
    videomt = cfg.videomt
    p = videomt.patch_size
    if videomt.width % (4 * videomt.heads):
        raise UserError(
            f"videomt.width is {videomt.width}; it must be a multiple of 4 * videomt.heads, {videomt.heads}"
        )
    if videomt.query_blocks >= videomt.num_blocks:
        raise UserError(
            f"videomt.query_blocks is {videomt.query_blocks} of videomt.num_blocks={videomt.num_blocks}; leave "
            "at least one block that sees only the frame"
        )
    if videomt.stem == "convolutions" and p & (p - 1):
        raise UserError(f"videomt.stem=convolutions halves the frame step by step: patch_size {p} is no power of 2")
    if len(videomt.table_size) != 2 or any(side % p for side in videomt.table_size):
        raise UserError(f"videomt.table_size is {list(videomt.table_size)}; give height and width in multiples of {p}")
    if videomt.size_divisor % p or videomt.square % p:
        raise UserError(f"videomt.size_divisor and videomt.square must be multiples of videomt.patch_size, {p}")
    odd = [list(bucket) for bucket in cfg.data.buckets if any(side % p for side in bucket)]
    if odd:
        raise UserError(f"data.buckets has {odd}: use multiples of videomt.patch_size, {p}")
    if not cfg.data.buckets and 32 % p:
        raise UserError(f"data.buckets is empty, which pads to multiples of 32: no multiple of patch_size {p}; set it")
