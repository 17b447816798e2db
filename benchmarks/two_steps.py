"""A training step of one configuration against that of another, on the same made-up clip.

    python -m benchmarks.two_steps seqformer_ytvis2019_r50 mssts_ytvis2019_r50 --size 192 320
    python -m benchmarks.two_steps seqformer_ytvis2019_r50 mssts_ytvis2019_r50 mssts.adversarial=false
    python -m benchmarks.two_steps vistr gmpvis_ytvis2019_r50 --both data.num_frames=6 --size 300 540

Each runs in a process of its own, one after the other, with weights as they are initialised. The processor's time is
measured, which neighbours of the process disturb less than the time on the wall; steps that compile do not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.model import peak_gigabytes
from benchmarks.rows import append_rows
from mindvideo import load_config

OBJECTS = 3


def made_up_clip(cfg, stride: int, size: tuple[int, int]) -> list[np.ndarray]:
    """The columns of a batch of one clip."""
    T, N, (H, W) = cfg.data.num_frames, cfg.data.max_instances, size
    rng = np.random.default_rng(0)
    exists = np.arange(N)[None] < OBJECTS
    masks = np.zeros((1, N, T, H // stride, W // stride), np.uint8)
    masks[:, :OBJECTS, :, H // stride // 4 : H // stride // 2, W // stride // 4 : W // stride // 2] = 1
    boxes = np.broadcast_to(np.float32([0.375, 0.375, 0.25, 0.25]), (1, N, T, 4)).copy()
    present = np.repeat(exists[..., None], T, -1)
    images = rng.integers(0, 256, (1, T, H, W, 3)).astype(np.uint8)
    labels = np.where(exists, 1, 0).astype(np.int32)
    return [images, np.int32([size]), labels, boxes, masks, present, exists, np.zeros((1, 2), np.int64)]


def measure(name: str, overrides: list[str], size: tuple[int, int], steps: int) -> None:
    """Prints seconds of the processor and of the wall, the median of the steps, and the peak of memory."""
    import mindspore as ms
    from mindspore import nn

    from mindvideo.assembly.runtime import prepare_device
    from mindvideo.assembly.training import build_step
    from mindvideo.models.registry import card_of

    cfg = load_config(name, overrides)
    prepare_device(cfg)
    card = card_of(cfg.family)
    network = card.build_network(cfg)
    training = card.build_training(cfg, network, nn.Identity())
    step = build_step(cfg, network, training, 1000, card.parameter_groups(cfg)).set_train()
    columns = [ms.Tensor(column) for column in made_up_clip(cfg, card.mask_stride(cfg), size)]
    seconds = []
    for _ in range(steps + 1):
        began = time.process_time(), time.perf_counter()
        step(*columns)[0].asnumpy()
        seconds.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    processor, wall = np.median(seconds[1:], axis=0)
    print(f"{processor:.3f} {wall:.3f} {peak_gigabytes():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("overrides", nargs="*", help="of the second")
    parser.add_argument("--both", nargs="+", default=[], metavar="KEY=VALUE", help="of the first and of the second")
    parser.add_argument("--size", type=int, nargs=2, default=[192, 320], metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = tuple(arguments.size)
    if arguments.only:
        measure(arguments.second, arguments.overrides, size, arguments.steps)
        return
    found = []
    for name, overrides in ((arguments.first, []), (arguments.second, arguments.overrides)):
        command = [sys.executable, "-m", "benchmarks.two_steps", "-", name, *arguments.both, *overrides, "--only"]
        command += ["--steps", str(arguments.steps), "--size", *map(str, size)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append([float(word) for word in run.stdout.split()[-3:]])
        print(f"{name}: {found[-1][0]:.2f} s of the processor, {found[-1][1]:.2f} s, peak {found[-1][2]:.1f} GB")
    ratio = found[1][0] / found[0][0]
    print(f"the second takes {ratio:.2f} times the first")
    row = {
        "first": arguments.first,
        "second": arguments.second,
        "overrides": " ".join([*arguments.both, *arguments.overrides]),
        "size": "x".join(map(str, size)),
        **{f"{which}_s": seconds for which, (seconds, *_) in zip(("first", "second"), found)},
        "ratio": round(ratio, 3),
        "second_peak_gb": found[1][2],
    }
    if arguments.csv:
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
