"""How much of the machine VidEoMT uses: a frame through the step that inference runs, beside plain matrix products.

    python -m benchmarks.videomt                              ViT-S, 640 x 640, 200 queries, float32
    python -m benchmarks.videomt -c videomt_ytvis2019_b --size 448 800

Both are timed in the same run, in turns. Weights are as they are initialised; the first frame, which compiles, does not
count. Multiply-adds are counted from the shapes.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.model import peak_gigabytes
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly.network import build_network, tracker_of
from mindvideo.assembly.runtime import prepare_device

PRODUCT = (2048, 2048, 2048)  # rows, inner, columns of the product that the machine's rate is taken from


class Product(nn.Cell):
    def construct(self, a, b):
        return ops.matmul(a, b)


def multiply_adds(cfg, size: tuple[int, int]) -> float:
    """Of one frame: patches, blocks without and with queries, doublings, heads and masks."""
    v, p, C = cfg.videomt, cfg.videomt.patch_size, cfg.videomt.width
    P = (size[0] // p) * (size[1] // p)
    S, Q = P + 1 + v.num_registers, v.num_queries

    def block(N: int) -> float:
        return (4 + 2 * v.hidden_ratio) * N * C**2 + 2 * N**2 * C

    total = 3.0 * P * C * p**2
    total += (v.num_blocks - v.query_blocks) * block(S) + v.query_blocks * block(S + Q)
    cells = P
    while cells * 16 < P * p * p:  # up to cells of 4 pixels
        total += 4 * cells * C**2 + 36 * cells * C
        cells *= 4
    return total + Q * C * cells + 4 * Q * C**2 + Q * C * cfg.data.num_classes


def seconds(call, rounds: int) -> float:
    start = time.perf_counter()
    for _ in range(rounds):
        result = call()
    result.asnumpy()
    return (time.perf_counter() - start) / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="videomt_ytvis2019_s")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config, ["inference.short_side=null", "runtime.compile_after=0"])
    prepare_device(cfg)
    tracker: Any = tracker_of(cfg, build_network(cfg))
    step = tracker.step
    rng = np.random.default_rng(0)
    image = ms.Tensor(rng.integers(0, 256, (*arguments.size, 3)).astype(np.uint8))
    rows, inner, columns = PRODUCT
    a, b = (ms.Tensor(rng.standard_normal(shape).astype(np.float32)) for shape in ((rows, inner), (inner, columns)))
    product, state = Product(), step.initial_state()
    step(image, state)
    product(a, b)
    frames, products = [], []
    for _ in range(arguments.rounds):
        frames.append(seconds(lambda: step(image, state)[0].masks, 1))
        products.append(seconds(lambda: product(a, b), 3))
    frame = float(np.median(frames))
    achieved = multiply_adds(cfg, arguments.size) / frame / 1e9
    rate = rows * inner * columns / float(np.median(products)) / 1e9
    row = {
        "config": arguments.config,
        "size": "x".join(map(str, arguments.size)),
        "seconds_a_frame": round(frame, 3),
        "giga_multiply_adds_a_frame": round(multiply_adds(cfg, arguments.size) / 1e9, 1),
        "giga_multiply_adds_a_second": round(achieved, 1),
        "of_a_plain_product": round(rate, 1),
        "share": round(achieved / rate, 3),
        "peak_gb": round(peak_gigabytes(), 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "mindvideo": mindvideo.__version__,
    }
    print(row)
    if arguments.csv:
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
