"""Which implementation a call of an operator takes, from the backend, the type and the sizes; without MindSpore.

``native`` is the compiled library, ``ascend`` MindSpore's primitive for that device, ``reference`` the twin written
with MindSpore's own operators.
"""

from __future__ import annotations

# Types that the compiled libraries read as they are; deformable attention and convolution are given float32 otherwise.
NATIVE_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {
        "ms_deform_attn": ("float32",),
        "deform_conv2d": ("float32",),
        "layer_norm": ("float32",),
        "group_norm": ("float32",),
        "assignment": ("float32",),
        "dense_attention": ("float32",),
        "short_attention": ("float32",),
        "dense_layer": ("float32",),
        "dense_convolution": ("float32",),
        "depthwise_convolution": ("float32",),
        "gelu": ("float32",),
        "dropout": ("float32",),
        "max_pool": ("float32",),
        "dynamic_masks": ("float32",),
        "join_nearest": ("float32",),
        "mask_losses": ("float32",),
    },
    "cuda": {
        "ms_deform_attn": ("float32", "float16", "bfloat16"),
        "deform_conv2d": ("float32",),
        "layer_norm": ("float32", "float16", "bfloat16"),
        "group_norm": ("float32", "float16", "bfloat16"),
        "assignment": ("float32",),
        "dense_attention": (),  # MindSpore's products and softmax are cuBLAS and cuDNN
        "short_attention": (),
        "dense_layer": (),
        "dense_convolution": (),
        "depthwise_convolution": (),
        "gelu": (),
        "dropout": (),
        "max_pool": (),
        "dynamic_masks": (),
        "join_nearest": (),
        "mask_losses": (),
    },
}
# Of MultiScaleDeformableAttn and its gradient on Ascend: levels, queries and channels a head.
ASCEND_MAX_LEVELS = 16
ASCEND_MIN_QUERIES = 32
ASCEND_CHANNELS_MULTIPLE = 8


def implementation(backend: str, operator: str, dtype: str, sizes: tuple[int, int, int] = (0, 0, 0)) -> str:
    """The implementation for values of `dtype`; `sizes`: L, Lq and D of deformable attention, which Ascend limits."""
    if backend in NATIVE_TYPES:
        return "native" if dtype in NATIVE_TYPES[backend][operator] else "reference"
    if backend == "ascend" and operator == "ms_deform_attn" and dtype == "float32" and _ascend_takes(*sizes):
        return "ascend"
    return "reference"


def _ascend_takes(L: int, Lq: int, D: int) -> bool:
    return L <= ASCEND_MAX_LEVELS and Lq >= ASCEND_MIN_QUERIES and D % ASCEND_CHANNELS_MULTIPLE == 0
