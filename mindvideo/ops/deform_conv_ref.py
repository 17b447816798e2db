"""Deformable convolution v1 written with MindSpore's own operators: the twin of the native kernel."""

from __future__ import annotations

from mindspore import Tensor, ops
from mindspore import dtype as mstype

from mindvideo.ops.bilinear import sample_rows


def deform_conv2d_ref(
    x: Tensor, offset: Tensor, weight: Tensor, stride: int = 1, padding: int = 1, dilation: int = 1
) -> Tensor:
    """Same arguments and result as :func:`mindvideo.ops.deform_conv2d`.

    x [B, C, H, W], offset [B, 2*kh*kw, Ho, Wo], weight [O, C, kh, kw] -> [B, O, Ho, Wo]. One tap is gathered and
    multiplied at a time, so that memory does not grow with the kernel size.
    """
    B, C, H, W = x.shape
    outputs, _, kernel_h, kernel_w = weight.shape
    Ho, Wo = offset.shape[2], offset.shape[3]
    pixels = x.transpose(0, 2, 3, 1).reshape(B * H * W, C)
    table = ops.concat((pixels, ops.zeros((1, C), x.dtype)), 0)
    base = ops.broadcast_to(ops.arange(B, dtype=mstype.int32).reshape(B, 1, 1) * (H * W), (B, Ho, Wo))
    rows = ops.arange(Ho, dtype=mstype.int32).astype(x.dtype).reshape(1, Ho, 1) * stride - padding
    columns = ops.arange(Wo, dtype=mstype.int32).astype(x.dtype).reshape(1, 1, Wo) * stride - padding
    output = ops.zeros((B * Ho * Wo, outputs), x.dtype)
    for tap_y in range(kernel_h):
        for tap_x in range(kernel_w):
            tap = tap_y * kernel_w + tap_x
            y = rows + tap_y * dilation + offset[:, 2 * tap]
            at_x = columns + tap_x * dilation + offset[:, 2 * tap + 1]
            samples = sample_rows(table, base, 1, y, at_x, H, W).reshape(B * Ho * Wo, C)
            output = output + ops.matmul(samples, weight[:, :, tap_y, tap_x].transpose(1, 0))
    return output.reshape(B, Ho, Wo, outputs).transpose(0, 3, 1, 2)
