"""Files for PyTorch: read back here always, and by PyTorch itself where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import TORCH_ZIP, open_checkpoint
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.stored_tensor import STORAGE_TYPES, StoredTensor, from_numpy

OTHERS = {"epoch": 300, "loss": 0.25, "name": "größe", "none": None, "yes": True, "nested": {"list": [1, (-2, 2**40)]}}
UNSTORABLE = ("float8_e4m3fn", "float8_e5m2", "uint64")
WIDENED = {"uint16": "int32", "uint32": "int64"}


def tensors() -> dict[str, StoredTensor]:
    draw = np.random.default_rng(1)
    made = {}
    for name, storage in STORAGE_TYPES.items():
        if name not in UNSTORABLE:
            bits = draw.integers(0, 2 if name == "bool" else 60, (2, 3)).astype(storage)
            made[name] = StoredTensor(name, bits)
    made["transposed"] = from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3).T)
    made["scalar"] = from_numpy(np.float32(1.5).reshape(()))
    made["empty"] = from_numpy(np.zeros((0, 2), np.float32))
    return made


def test_read_back(tmp_path: Path):
    path = tmp_path / "weights.pth"
    write_torch(path, tensors(), others=OTHERS)
    file = open_checkpoint(path)
    assert file.format == TORCH_ZIP and list(file.tensors) == list(tensors())
    for name, tensor in tensors().items():
        assert file.tensors[name].dtype == WIDENED.get(tensor.dtype, tensor.dtype)
        np.testing.assert_array_equal(file.tensors[name].numpy(), tensor.numpy(), err_msg=name)
    expected = {**OTHERS, "nested": {"list": [1, [-2, 2**40]]}}  # tuples come back as lists
    assert file.others == expected


@pytest.mark.parametrize("dtype", UNSTORABLE)
def test_types_without_a_storage_class_are_refused(tmp_path: Path, dtype: str):
    with pytest.raises(UserError, match=dtype):
        write_torch(tmp_path / "w.pth", {"w": StoredTensor(dtype, np.zeros(2, STORAGE_TYPES[dtype]))}, others={})
    assert not list(tmp_path.iterdir())


def test_pytorch_reads_it(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the files it wrote are read in other tests")
    path = tmp_path / "weights.pth"
    write_torch(path, tensors(), others=OTHERS)
    for mapped in (False, True):
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        assert {key: value for key, value in loaded.items() if key != "model"} == OTHERS
        assert list(loaded["model"]) == list(tensors())
        for name, tensor in tensors().items():
            found = loaded["model"][name]
            assert str(found.dtype) == f"torch.{WIDENED.get(tensor.dtype, tensor.dtype)}"
            widened = found.float() if tensor.dtype == "bfloat16" else found
            np.testing.assert_array_equal(widened.numpy(), tensor.numpy(), err_msg=name)
