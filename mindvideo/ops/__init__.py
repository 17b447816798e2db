"""Operators that MindSpore lacks or runs slowly: native kernels, each with a twin in MindSpore's own operators."""

from mindvideo.ops.assignment import assignment
from mindvideo.ops.deform_conv import deform_conv2d
from mindvideo.ops.ms_deform_attn import ms_deform_attn

__all__ = ["assignment", "deform_conv2d", "ms_deform_attn"]
