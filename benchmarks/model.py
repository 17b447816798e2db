"""How fast a clip goes through a network, as a share of what this machine's matrix products reach in the same run.

    python -m benchmarks.model                         R50, 36 frames of 300 x 540
    python -m benchmarks.model -c vistr_r101 --frames 36 --size 300 540 --runs 3 --csv benchmarks/model.csv
    python -m benchmarks.model encoders ...            VisTR's encoder beside Deformable VisTR's, see encoders.py

Frames in (normalised float32), mask logits at stride 4 out. Model FLOPs are those of the network as defined, two a
multiply-add, counting convolutions and matrix products; executed FLOPs leave out what the implementation computes once
for all queries of a frame. The share is model FLOPs a second over the FLOPs a second of a large float32 matrix product.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly.network import build_network
from mindvideo.assembly.runtime import prepare_device
from mindvideo.models.vistr.card import portioned
from mindvideo.modules.backbones.resnet import ResNet
from mindvideo.modules.heads.attention_mask import AttentionMaskHead

MATMUL_SIZE = 3072


class Product(nn.Cell):
    def construct(self, a, b):
        return ops.matmul(a, b)


def matmul_rate(seconds: float = 3.0) -> float:
    """FLOPs a second of a float32 matrix product, the median of repeated runs."""
    a = Tensor(np.random.default_rng(0).standard_normal((MATMUL_SIZE, MATMUL_SIZE), np.float32))
    product = Product()
    product(a, a).asnumpy()
    times, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds or len(times) < 3:
        start = time.perf_counter()
        product(a, a).asnumpy()
        times.append(time.perf_counter() - start)
    return 2 * MATMUL_SIZE**3 / float(np.median(times))


def halved(length: int) -> int:
    return (length + 1) // 2


def resnet_macs(backbone: nn.Cell, height: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """Multiply-adds of one frame, and (height, width) of each of the four maps."""

    def conv(cell, h, w):
        return int(np.prod(cell.weight.shape)) * h * w

    h, w = halved(height), halved(width)
    macs = conv(backbone.conv1, h, w)
    if backbone.stem_pool is not None:
        h, w = halved(h), halved(w)
    maps = []
    for number in range(1, 5):
        for block in getattr(backbone, f"layer{number}"):
            before = (h, w)
            strided = max(cell.convolve.conv2d.stride[-1] for cell in (block.conv1, block.conv2))
            if strided == 2:
                h, w = halved(h), halved(w)
            macs += conv(block.conv1, *(before if block.conv1.convolve.conv2d.stride[-1] == 1 else (h, w)))
            macs += conv(block.conv2, h, w)
            if hasattr(block, "conv3"):
                macs += conv(block.conv3, h, w)
            if block.downsample is not None:
                macs += conv(block.downsample[0], h, w)
        maps.append((h, w))
    return macs, maps


def attention_mask_macs(network, vistr, T: int, maps: list[tuple[int, int]]) -> tuple[dict[str, int], int]:
    """Multiply-adds of the mask head that reads attention maps; and what its shared first layer saves."""
    head = network.mask_branch.frame_head
    Q, C, M, R = vistr.num_queries, vistr.width, vistr.heads, T * vistr.num_queries
    h, w = y, z = maps[network.num_fine_levels]
    joined = C + M
    macs = (R + T * h * w) * C * C + R * h * w * C  # attention maps
    macs += R * h * w * joined * joined * 9
    for layer, adapter, size in zip(head.lay, head.adapter, maps[: network.num_fine_levels][::-1]):
        macs += R * y * z * int(np.prod(layer.weight.shape))
        y, z = size
        macs += T * y * z * int(np.prod(adapter.weight.shape))
    macs += R * y * z * (int(np.prod(head.conv_offset.weight.shape)) + int(np.prod(head.dcn.weight.shape)))
    sequence = sum(int(np.prod(c.weight.shape)) for c in network.mask_branch.sequence_head.conv)
    sequence += int(np.prod(network.mask_branch.sequence_head.out.weight.shape))
    return {"mask head": macs, "sequence head": R * y * z * sequence}, T * (Q - 1) * h * w * C * joined * 9


# Parts that can be counted; what is not here is left out of the FLOPs, and the shares are then not given.
COUNTED_BACKBONES = {ResNet: resnet_macs}
COUNTED_MASK_HEADS = {AttentionMaskHead: attention_mask_macs}


def count_flops(network, cfg, height: int, width: int) -> tuple[dict[str, float], float] | None:
    """FLOPs of each part of the network as defined, for the whole clip; and what sharing saves; None: not counted."""
    vistr, T = cfg.vistr, cfg.data.num_frames
    count_backbone = COUNTED_BACKBONES.get(type(network.backbone))
    count_masks = COUNTED_MASK_HEADS.get(type(network.mask_branch))
    if count_backbone is None or (vistr.masks and count_masks is None):
        return None
    C, R = vistr.width, T * vistr.num_queries
    backbone, sizes = count_backbone(network.backbone, height, width)
    maps = [sizes[level] for level in vistr.levels[-len(network.backbone.channels) :]]
    h, w = maps[network.num_fine_levels]
    S = T * h * w
    projection = S * C * network.token_projection.project[0].weight.shape[1]
    hidden = 2 * C * vistr.hidden
    encoder = vistr.encoder_layers * (S * (4 * C * C + hidden) + 2 * S * S * C)
    decoder = vistr.decoder_layers * (R * (6 * C * C + hidden) + 2 * S * C * C + 2 * R * R * C + 2 * R * S * C)
    parts, saved = {"backbone": T * backbone + projection, "encoder": encoder, "decoder": decoder}, 0
    if vistr.masks:
        of_masks, saved = count_masks(network, vistr, T, maps)
        parts |= of_masks
    return {name: 2.0 * macs for name, macs in parts.items()}, 2.0 * saved


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="vistr")
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=2, default=(300, 540), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config, ["runtime.compile_after=0", f"data.num_frames={arguments.frames}"])
    prepare_device(cfg)
    network = build_network(cfg)
    in_portions = portioned(cfg, network)
    height, width = arguments.size
    frames = Tensor(np.random.default_rng(0).standard_normal((1, arguments.frames, 3, height, width), np.float32))

    def run() -> float:
        start = time.perf_counter()
        in_portions(frames)[-1].asnumpy()
        return time.perf_counter() - start

    before = matmul_rate()
    first = run()
    seconds = float(np.median([run() for _ in range(arguments.runs)]))
    rate = (before + matmul_rate()) / 2
    counted = count_flops(network, cfg, height, width)
    parts, saved = counted or ({}, 0.0)
    model = sum(parts.values())
    row = {
        "config": cfg.name,
        "frames": arguments.frames,
        "height": height,
        "width": width,
        "seconds": round(seconds, 2),
        "first_seconds": round(first, 1),
        "frames_per_second": round(arguments.frames / seconds, 2),
        "model_tflops": round(model / 1e12, 3) if counted else "",
        "executed_tflops": round((model - saved) / 1e12, 3) if counted else "",
        "gflops_per_second": round(model / seconds / 1e9, 1) if counted else "",
        "matmul_gflops_per_second": round(rate / 1e9, 1),
        "share_of_matmul": round(model / seconds / rate, 3) if counted else "",
        "share_of_matmul_executed": round((model - saved) / seconds / rate, 3) if counted else "",
        "peak_gigabytes": round(peak_gigabytes(), 2),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "mindspore": ms.__version__,
    }
    for name, flops in parts.items():
        print(f"{name:26s} {flops / 1e12:8.3f} TFLOP")
    for name, value in row.items():
        print(f"{name:26s} {value}")
    if arguments.csv:
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
