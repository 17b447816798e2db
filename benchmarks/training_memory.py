"""The memory of a training step on a processor, stage by stage, and how much a frame more adds.

    python -m benchmarks.training_memory                                            VisTR R50, 6 frames of 300 x 540
    python -m benchmarks.training_memory -c instanceformer_ytvis2019_r50 --frames 5 --size 240 426
    python -m benchmarks.training_memory -c vistr_toy --frames 4 --size 96 128 train.recompute=true
    python -m benchmarks.training_memory --frames 6 3 --csv benchmarks/training_memory.csv

Every number of frames runs in a process of its own, on made-up frames and instances: importing, the network, the step
with its optimiser, compiling, the first step, the last one. A stage's peak is the most it held at any moment; "after"
is what was left at its end. With two numbers of frames the growth of the peak a frame is printed. Settings such as
``train.precision=fp16`` may follow. Needs /proc, so Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import append_rows

INSTANCES = 5
STATUS = Path("/proc/self/status")


@dataclasses.dataclass(frozen=True)
class Stage:
    """Gigabytes after a stage and at its peak; its seconds by the clock and of the processor."""

    name: str
    after: float
    peak: float
    seconds: float
    processor: float


class Stages:
    """``end(name)`` closes a stage; the next one begins there."""

    def __init__(self) -> None:
        self.found: list[Stage] = []
        self._begin()

    def _begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def end(self, name: str) -> None:
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
        after, peak = (int(lines[key].split()[0]) / 1e6 for key in ("VmRSS", "VmHWM"))
        seconds, processor = time.perf_counter() - self._clock, time.process_time() - self._processor
        self.found.append(Stage(name, after, peak, seconds, processor))
        self._begin()


def measure(arguments: argparse.Namespace) -> Iterator[Stage]:
    """The stages of this process."""
    stages = Stages()
    stages.end("start")
    from mindvideo import load_config  # before MindSpore: it prepares the environment
    from mindvideo.assembly import start_process  # isort: split

    import mindspore as ms
    from mindspore import nn

    from mindvideo.assembly.training import build_step
    from mindvideo.models.registry import card_of

    stages.end("import")
    T = arguments.frames[0]
    cfg = load_config(arguments.config, [f"data.num_frames={T}", *arguments.overrides])
    start_process(cfg)
    card = card_of(cfg.family)
    network = card.build_network(cfg)
    training = card.build_training(cfg, network, nn.Identity())
    stages.end("network")
    step = build_step(cfg, network, training, 1000, card.parameter_groups(cfg))
    step.set_train(True)
    stages.end("optimiser")
    batch = made_up_batch(
        arguments.batch, T, *arguments.size, rows=cfg.data.max_instances, mask_stride=card.mask_stride(cfg)
    )
    columns = [ms.Tensor(column) for column in batch]
    step.compile(*columns)
    stages.end("compile")
    for number in range(1, arguments.steps + 1):
        summary, _ = step(*columns)
        loss = float(summary.asnumpy()[0])
        if number in (1, arguments.steps):
            stages.end(f"step {number}" if number == 1 else f"steps 2 to {number}")
    sys.stderr.write(f"loss of the last step: {loss:.4f}\n")
    return iter(stages.found)


def made_up_batch(B: int, T: int, H: int, W: int, *, rows: int, mask_stride: int) -> tuple:
    """The columns of a ClipBatch: noise, with a few squares as instances."""
    import numpy as np

    count, side = min(INSTANCES, rows), max(1, min(H, W) // 4)
    masks = np.zeros((B, rows, T, H, W), np.uint8)
    boxes = np.zeros((B, rows, T, 4), np.float32)
    for n in range(count):
        y, x = (H - side) * n // INSTANCES, (W - side) * n // INSTANCES
        masks[:, n, :, y : y + side, x : x + side] = 1
        boxes[:, n] = ((x + side / 2) / W, (y + side / 2) / H, side / W, side / H)
    exists = np.broadcast_to(np.arange(rows) < count, (B, rows)).copy()
    return (
        np.random.default_rng(0).integers(0, 256, (B, T, H, W, 3), np.uint8),
        np.full((B, 2), (H, W), np.int32),
        exists.astype(np.int32),
        boxes,
        np.ascontiguousarray(masks[..., mask_stride // 2 :: mask_stride, mask_stride // 2 :: mask_stride]),
        np.broadcast_to(exists[..., None], (B, rows, T)).copy(),
        exists,
        np.zeros((B, 2), np.int64),
    )


def in_own_process(arguments: argparse.Namespace, frames: int) -> list[Stage]:
    words = ["-c", arguments.config, "--frames", str(frames), "--size", *map(str, arguments.size)]
    words += ["--batch", str(arguments.batch), "--steps", str(arguments.steps), *arguments.overrides]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_memory", *words, "--child"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{arguments.config}, {frames} frames: the run ended with code {done.returncode} (137: no memory)")
    return [Stage(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("-c", "--config", default="vistr")
    parser.add_argument("--frames", type=int, nargs="+", default=[6], help="two numbers give the growth a frame")
    parser.add_argument("--size", type=int, nargs=2, default=(300, 540), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3, help="at least 2")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args()
    if arguments.child:
        for stage in measure(arguments):
            print(json.dumps(dataclasses.asdict(stage)))
        return
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    peaks = {}
    for frames in arguments.frames:
        stages = in_own_process(arguments, frames)
        peaks[frames] = max(stage.peak for stage in stages)
        show(arguments, frames, stages)
        if arguments.csv:
            append(arguments, frames, stages)
    if len(peaks) > 1:
        low, high = min(peaks), max(peaks)
        print(f"growth of the peak: {(peaks[high] - peaks[low]) / (high - low):.2f} GB a frame")


def show(arguments: argparse.Namespace, frames: int, stages: list[Stage]) -> None:
    H, W = arguments.size
    print(f"\n{arguments.config}, batch {arguments.batch}, {frames} frames of {H} x {W}")
    print(f"{'stage':<14} {'GB after':>9} {'GB peak':>9} {'seconds':>9} {'processor s':>12}")
    for stage in stages:
        figures = f"{stage.after:9.2f} {stage.peak:9.2f} {stage.seconds:9.1f} {stage.processor:12.1f}"
        print(f"{stage.name:<14} {figures}")


def append(arguments: argparse.Namespace, frames: int, stages: list[Stage]) -> None:
    H, W = arguments.size
    row = {"config": arguments.config, "batch": arguments.batch, "frames": frames, "size": f"{H}x{W}"}
    row["settings"] = " ".join(arguments.overrides)
    after = {stage.name: round(stage.after, 2) for stage in stages}
    row |= {"network_gb": after["network"], "optimiser_gb": after["optimiser"], "compile_gb": after["compile"]}
    row |= {"first_step_gb": after["step 1"]}
    row |= {
        "peak_gb": round(max(stage.peak for stage in stages), 2),
        "step_s": round(stages[-1].seconds / (arguments.steps - 1), 2),
    }
    append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
