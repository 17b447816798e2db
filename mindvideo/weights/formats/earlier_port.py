"""Checkpoints of the earlier MindSpore port of VisTR (ZJUT), given the names and shapes of the original.

That port is the same network in MindSpore's own layers: norms hold gamma and beta, the backbone is cut into
``embed1`` to ``embed4``, the dilated 3x3x3 kernels are 5x5x5 ones with zeros in between, and the weight of the
deformable convolution is no parameter but lies in a .npy file beside the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

MARK = "embed1.0.features.0.weight"  # the first convolution, by a name that only the port has
DEFORMABLE = "mask_head.dcn.weight"  # in the original
_DEEPER = "embed3.22."  # a block that a ResNet-50 lacks
_LARGEST_ARRAY = 1 << 24  # bytes of a .npy file
_LEAVES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "embedding_table": "weight",
}
_BODY = "vistr.backbone.0.body."
# (pattern for a name without its leaf, the original's), the first that fits counts.
_PLACES = tuple(
    (re.compile(pattern), place)
    for pattern, place in (
        (r"embed1\.0\.features\.0", _BODY + "conv1"),
        (r"embed1\.0\.features\.1", _BODY + "bn1"),
        (r"embed([1-4])\.(\d+)\.conv(\d)\.features\.0", _BODY + r"layer\1.\2.conv\3"),
        (r"embed([1-4])\.(\d+)\.conv(\d)\.features\.1", _BODY + r"layer\1.\2.bn\3"),
        (r"embed([1-4])\.(\d+)\.down_sample\.features\.([01])", _BODY + r"layer\1.\2.downsample.\3"),
        (r"((?:encoder|decoder)\..*)", r"vistr.transformer.\1"),
        (r"((?:input_proj|query_embed|class_embed|bbox_embed)(?:\..*)?)", r"vistr.\1"),
        (r"bbox_attention\.conv2d", "bbox_attention.k_linear"),
        (r"((?:bbox_attention|mask_head|insmask_head)\..*)", r"\1"),
    )
)
# Saved beside the weights by a training of the port.
_OF_TRAINING = re.compile(
    r"(?:adam_[mv]|moments?[12]?)\..*|(?:learning_rate|weight_decay)(?:_\d+)?|beta[12]_power|global_step|epoch_num|"
    r"step_num|(?:loss_)?scale(?:_sense)?|(?:current|last_overflow)_iterator_step"
)


def is_of_earlier_port(names: Mapping[str, object]) -> bool:
    return MARK in names


def read_earlier_port(path: Path, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The weights under the original's names; names that the port never had stay as they are, to be refused later."""
    tensors = {}
    for name, tensor in stored.items():
        if _OF_TRAINING.fullmatch(name):
            continue
        original = original_name(name)
        tensors[original] = _original_values(original, tensor)
    if DEFORMABLE not in tensors:
        tensors[DEFORMABLE] = _array_beside(path, stored)
    return tensors


def original_name(name: str) -> str:
    """``embed2.0.conv1.features.1.gamma`` -> ``vistr.backbone.0.body.layer2.0.bn1.weight``"""
    if name.startswith("embed1.3."):  # the first stage stands after the stem, its pad and its pool
        name = "embed1." + name.removeprefix("embed1.3.")
    place, _, leaf = name.rpartition(".")
    for pattern, original in _PLACES:
        match = pattern.fullmatch(place)
        if match:
            return f"{match.expand(original)}.{_LEAVES.get(leaf, leaf)}"
    return name


def _original_values(original: str, tensor: StoredTensor) -> StoredTensor:
    if original == "bbox_attention.k_linear.weight" and tensor.shape[2:] == (1, 1):
        return from_numpy(tensor.numpy()[:, :, 0, 0])
    if original.startswith("insmask_head.") and tensor.shape[2:] == (5, 5, 5):
        values = tensor.numpy()
        kernel = np.ascontiguousarray(values[:, :, ::2, ::2, ::2])
        if np.count_nonzero(values) > np.count_nonzero(kernel):
            raise UserError(
                f"'{original}' is a full 5x5x5 kernel: the port went on training it, so that it is no dilated 3x3x3 "
                "one any more and has no equal here; take the file as it was published"
            )
        return from_numpy(kernel)
    return tensor


def _array_beside(path: Path, stored: Mapping[str, StoredTensor]) -> StoredTensor:
    depth = 101 if any(name.startswith(_DEEPER) for name in stored) else 50
    file = path.parent / f"weights_r{depth}.npy"
    if not file.is_file():
        raise UserError(
            f"it is of the earlier MindSpore port, which keeps the weight of its deformable convolution in a file of "
            f"its own: put {file.name} into {file.parent}"
        )
    if file.stat().st_size > _LARGEST_ARRAY:
        raise UserError(f"{file} is far too large for the weight of a deformable convolution")
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file} is no array of numbers ({error})") from error
    if not isinstance(values, np.ndarray) or values.ndim != 4 or values.dtype.kind != "f":
        raise UserError(f"{file} holds no weight of a convolution: four axes of floating-point numbers are needed")
    return from_numpy(np.array(values, np.float32))
