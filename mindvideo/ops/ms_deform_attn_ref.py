"""Multi-scale deformable attention written with MindSpore's own operators: the twin of the native kernels.

It runs on every device and defines what the native kernels must return. Border cases follow the published CUDA kernel,
not `grid_sample`: a position exactly one pixel outside contributes nothing and has no gradient, and positions that are
not finite are ignored.
"""

from __future__ import annotations

from mindspore import Tensor, ops
from mindspore import dtype as mstype

from mindvideo.ops.bilinear import is_inside, sample_rows, spread


def ms_deform_attn_ref(
    value: Tensor,
    spatial_shapes: tuple[tuple[int, int], ...] | Tensor,
    level_start_index: tuple[int, ...] | Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Same arguments and result as :func:`mindvideo.ops.ms_deform_attn`, float32 inside.

    value [N, S, M, D], sampling_locations [N, Lq, M, L, P, 2], attention_weights [N, Lq, M, L, P] -> [N, Lq, M*D].
    """
    N, S, M, D = value.shape
    _, Lq, _, L, P, _ = sampling_locations.shape
    table = ops.concat((value.reshape(N * S * M, D), ops.zeros((1, D), value.dtype)), 0)
    image = ops.arange(N, dtype=mstype.int32).reshape(N, 1, 1, 1) * (S * M)
    head = ops.arange(M, dtype=mstype.int32).reshape(1, 1, M, 1)
    output = ops.zeros((N, Lq, M, D), value.dtype)
    for level in range(L):
        height, width = spatial_shapes[level][0], spatial_shapes[level][1]
        base = ops.broadcast_to(image + head + level_start_index[level] * M, (N, Lq, M, P))
        # One level after the other, so that the samples of one level at a time are in memory.
        locations = ops.depend(sampling_locations[:, :, :, level], ops.stop_gradient(output))
        x = locations[..., 0] * width - 0.5
        y = locations[..., 1] * height - 0.5
        weight = attention_weights[:, :, :, level]
        weight = ops.select(is_inside(y, x, height, width), weight, ops.zeros_like(weight))
        samples = sample_rows(table, base, M, y, x, height, width)  # [N, Lq, M, P, D]
        for point in range(P):
            output = output + samples[:, :, :, point] * spread(weight[:, :, :, point], (N, Lq, M, D))
    return output.reshape(N, Lq, M * D)
