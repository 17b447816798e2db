"""The norms of benchmarks/ops.py in PyTorch, for comparison: run with a Python that has PyTorch; mindvideo needs none.

python -m benchmarks.norms_pytorch
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def milliseconds(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def report(name: str, layer: torch.nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(shape)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def both() -> None:
        layer(x).backward(gradient)
        x.grad = None
        layer.zero_grad()

    print(f"{name}: forward {milliseconds(forward):.2f} ms, forward + backward {milliseconds(both):.2f} ms")


def main() -> None:
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    report("layer_norm 20000 x 256", torch.nn.LayerNorm(256), (20000, 256))
    report("layer_norm 6120 x 384", torch.nn.LayerNorm(384), (6120, 384))
    for name, shape, groups in (
        ("8 x 256 x 38 x 68", (8, 256, 38, 68), 8),
        ("10 x 12 x 36 x 75 x 135", (10, 12, 36, 75, 135), 4),
    ):
        layer = torch.nn.Sequential(torch.nn.GroupNorm(groups, shape[1]), torch.nn.ReLU(inplace=True))
        report(f"group_norm {name}, ReLU", layer, shape)


if __name__ == "__main__":
    main()
