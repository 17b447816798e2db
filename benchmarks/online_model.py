"""How fast frames go through InstanceFormer one by one, as a share of what this machine's matrix products reach.

    python -m benchmarks.online_model                              R50 at 360 x 640
    python -m benchmarks.online_model -c instanceformer_ytvis2021_r50 --size 360 640 --frames 8

One frame of bytes and the state in; class probabilities, boxes, mask logits at stride 4 and the state out: the graph
that inference runs. FLOPs are two a multiply-add of convolutions and matrix products; a sampled number counts nine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import mindspore as ms
import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.model import matmul_rate, peak_gigabytes, resnet_macs
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly.network import build_network
from mindvideo.assembly.runtime import prepare_device
from mindvideo.models.instanceformer.inference import InstanceFormerStep
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.ops.backend import backend

FLOPS_A_SAMPLE = 9  # bilinear sampling: four corners weighted and added, times the attention weight


def halved(length: int) -> int:
    return (length + 1) // 2


def count_flops(network, instanceformer, height: int, width: int) -> dict[str, float]:
    """FLOPs of each part for one frame."""
    C, Q = instanceformer.width, instanceformer.num_queries
    backbone, sizes = resnet_macs(network.backbone, height, width)
    maps = [sizes[level] for level in instanceformer.backbone_levels]
    for _ in range(instanceformer.extra_levels):
        maps.append((halved(maps[-1][0]), halved(maps[-1][1])))
    areas = [h * w for h, w in maps]
    S, L = sum(areas), len(maps)
    projection = sum(
        int(np.prod(level.convolution.weight.shape)) * area for level, area in zip(network.projection.levels, areas)
    )
    samples = instanceformer.heads * L
    ffn = 2 * C * instanceformer.hidden

    def deformable(queries: int, points: int) -> tuple[float, float]:
        """Multiply-adds of the projections, and FLOPs of the sampling."""
        macs = S * C * C + queries * C * (samples * points * 3 + C)
        return macs, FLOPS_A_SAMPLE * queries * samples * points * (C / instanceformer.heads)

    macs, sampling = deformable(S, instanceformer.encoder_points)
    encoder = instanceformer.encoder_layers * (2 * (macs + S * ffn) + sampling)
    macs, sampling = deformable(Q, instanceformer.decoder_points)
    attention = 4 * Q * C * C + 2 * Q * Q * C
    decoder = instanceformer.decoder_layers * (2 * (macs + attention + Q * (ffn + 2 * C * C + 4 * C)) + sampling)
    features = network.mask_features
    shared = [
        (features.coarse, areas[2]),
        (features.middle, areas[1]),
        (features.fine, areas[0]),
        (features.narrow, areas[0]),
        (features.out, areas[0]),
    ]
    masks = sum(int(np.prod(layer.weight.shape)) * area for layer, area in shared)
    controller = sum(int(np.prod(layer.weight.shape)) for layer in network.controller.layers)
    masks += Q * (controller + areas[0] * ((C // 32 + 2) * 8 + 64 + 8))
    return {
        "backbone": 2.0 * (backbone + projection),
        "encoder": float(encoder),
        "decoder": float(decoder),
        "masks": 2.0 * masks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_ytvis2021_r50")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config, ["runtime.compile_after=0"])
    prepare_device(cfg)
    network = build_network(cfg)
    network.set_train(False)
    step = InstanceFormerStep(network=network, pixels=NormalizePixels())
    height, width = arguments.size
    image = ms.Tensor(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    state = step.initial_state()

    def frame() -> float:
        nonlocal state
        start = time.perf_counter()
        seen, state = step(image, state)
        seen.on_host()
        return time.perf_counter() - start

    before = matmul_rate()
    first = frame()
    seconds = float(np.median([frame() for _ in range(arguments.frames)]))
    rate = (before + matmul_rate()) / 2
    parts = count_flops(network, cfg.instanceformer, height, width)
    share = sum(parts.values()) / seconds / rate
    print(f"{cfg.name}: {height} x {width}, {os.cpu_count()} cores, operators: {backend()}, MindSpore {ms.__version__}")
    print(", ".join(f"{name} {value / 1e9:.1f}" for name, value in parts.items()), "GFLOP a frame")
    print(f"first frame {first:.1f} s (with compiling), then {seconds:.3f} s a frame; peak {peak_gigabytes():.1f} GB")
    print(f"{sum(parts.values()) / seconds / 1e9:.0f} GFLOP/s of {rate / 1e9:.0f} for matrix products: {share:.0%}")
    if arguments.csv is not None:
        row = {
            "config": cfg.name,
            "size": f"{height}x{width}",
            "first_seconds": round(first, 1),
            "seconds_a_frame": round(seconds, 3),
            "gflops_a_frame": round(sum(parts.values()) / 1e9, 1),
            "matrix_gflops": round(rate / 1e9, 1),
            "share": round(share, 3),
            "peak_gb": round(peak_gigabytes(), 2),
            "operators": backend(),
        }
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
