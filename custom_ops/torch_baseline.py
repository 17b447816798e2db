"""Times of the same deformable attention as a composition of torch's grid_sample; for test_cuda.py, printed as JSON.

Ends with code 3 and one line where PyTorch with CUDA is not installed. PyTorch is nowhere needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import device_times


def composition(torch: Any, value: Any, levels: Sequence[tuple[int, int]], locations: Any, weights: Any) -> Any:
    """value [N, S, M, D], locations [N, Lq, M, L, P, 2], weights [N, Lq, M, L, P] -> [N, Lq, M*D]."""
    N, _, M, D = value.shape
    Lq, points = locations.shape[1], locations.shape[4]
    samples, start = [], 0
    for level, (height, width) in enumerate(levels):
        maps = value[:, start : start + height * width].permute(0, 2, 3, 1).reshape(N * M, D, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).reshape(N * M, Lq, points, 2)
        samples.append(torch.nn.functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=False))
        start += height * width
    weights = weights.permute(0, 2, 1, 3, 4).reshape(N * M, 1, Lq, -1)
    return (torch.cat(samples, -1) * weights).sum(-1).view(N, M * D, Lq).transpose(1, 2)


def main() -> int:
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed")
        return 3
    if not torch.cuda.is_available():
        print("PyTorch has no CUDA here")
        return 3
    small = "--small" in sys.argv
    levels = device_times.SMALL_LEVELS if small else device_times.LEVELS
    arrays = device_times.attention_inputs(levels, *((1, 20) if small else (4, 10_000)))
    value, locations, weights, gradient = (torch.from_numpy(arrays[i]).cuda() for i in (0, 3, 4, 5))
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    times = {}
    for name in ("MsDeformAttnForward", "MsDeformAttnBackward"):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for turn in range(12):
            output = composition(torch, inputs[0], levels, *inputs[1:])
            if turn == 2:
                begin.record()
            if name.endswith("Backward"):
                torch.autograd.grad(output, inputs, gradient)
        end.record()
        torch.cuda.synchronize()
        times[name] = begin.elapsed_time(end) / 10
    # The second loop ran both passes.
    times["MsDeformAttnBackward"] -= times["MsDeformAttnForward"]
    print(json.dumps(times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
