"""detectron2's pickles are read without NumPy's unpickler, and safetensors written for the package of that name."""

from __future__ import annotations

import collections
import doctest
import io
import json
import os
import pickle

import numpy as np
import pytest

import mindvideo.weights.formats.detectron_pickle as detectron
from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import DETECTRON, PROVENANCE_ENTRY, SAFETENSORS, is_intact, open_checkpoint
from mindvideo.weights.conversion import write_published_file
from mindvideo.weights.formats.safetensors import write_safetensors
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

RNG = np.random.default_rng(0)
ARRAYS = {
    "stem.conv1.weight": RNG.normal(size=(4, 3, 7, 7)).astype(np.float32),
    "res3.1.conv2.norm.running_var": RNG.normal(size=5),
    "by.columns": np.asfortranarray(RNG.normal(size=(3, 4)).astype(np.float16)),
    "big.endian": np.arange(6, dtype=">i4").reshape(2, 3),
    "flag": np.array(True),
    "nothing": np.zeros((0, 4), np.int64),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_detectron2_pickles(tmp_path, protocol):
    path = tmp_path / "R-50.pkl"
    saved = {"model": ARRAYS, "__author__": "somebody", "matching_heuristics": True, "scale": np.float32(0.5)}
    content = pickle.dumps(saved, protocol)
    if protocol == 5:  # arrays as NumPy 1.26 writes them in it, a call that detectron2 does not use
        content = content if b"_frombuffer" not in content else pickle.dumps(saved, 4)
    path.write_bytes(content)
    file = open_checkpoint(path)
    assert file.format == DETECTRON and file.others["matching_heuristics"] is True
    assert list(file.tensors)[:2] == ["conv1.weight", "layer2.1.bn2.running_var"]
    for found, expected in zip(file.tensors.values(), ARRAYS.values()):
        assert np.array_equal(found.numpy(), expected) and found.shape == expected.shape
        assert found.numpy().dtype == expected.dtype.newbyteorder("=")


def test_pickles_of_python_2(tmp_path):
    """Byte strings of Python 2 are read as strings elsewhere; the bytes of an array have to come out as they were."""
    values = np.frombuffer(bytes(range(256)), np.uint8)
    out = io.BytesIO()
    text = bytes(values)
    out.write(b"\x80\x02}U\x05model}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
    out.write(
        b"(K\x01M\x00\x01\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    )
    out.write(b"K\x00tb\x89T" + len(text).to_bytes(4, "little") + text + b"tbss.")
    path = tmp_path / "old.pkl"
    path.write_bytes(out.getvalue())
    assert np.array_equal(open_checkpoint(path).tensors["a"].numpy(), values)


class Runs:
    def __reduce__(self):
        return (os.system, ("touch pwned",))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"model": {"a": Runs()}}, "asks for 'posix.system'.*nothing was run"),
        ({"model": {"a": collections.deque([1])}}, "asks for 'collections.deque'"),
        ({"model": {"a": np.array([None], object)}}, "the type 'O8'"),
        ({"model": {"a": np.array(["x"])}}, "an array has the type 'U1'"),
        ([1, 2], "holds a list"),
        ({"weights": {}}, "no weights"),
    ],
)
def test_pickles_of_something_else(tmp_path, monkeypatch, saved, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(saved, 4))
    with pytest.raises(UserError, match=message) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value) and not (tmp_path / "pwned").exists()


def test_damaged_pickles_are_told_in_one_line(tmp_path):
    """Cut anywhere, and with any byte changed: a UserError or a clean read."""
    whole = pickle.dumps({"model": {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}}, 4)
    path = tmp_path / "bad.pkl"
    variants = [whole[:length] for length in range(1, len(whole))]
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 300):
        variants.append(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
    refused = 0
    for content in variants:
        path.write_bytes(content)
        try:
            open_checkpoint(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(whole)


def test_names_of_detectron2s_resnets():
    assert not doctest.testmod(detectron).failed
    for name, expected in (
        ("res5.2.shortcut.norm.bias", "layer4.2.downsample.1.bias"),
        ("res2.0.shortcut.weight", "layer1.0.downsample.0.weight"),
        ("stem.conv1.norm.weight", "bn1.weight"),
        ("stem.fc.bias", "fc.bias"),
        ("backbone.res2.0.conv1.weight", "backbone.res2.0.conv1.weight"),
    ):
        assert detectron.torchvision_name(name) == expected


def test_safetensors_as_their_own_package_reads_them(tmp_path):
    library = pytest.importorskip("safetensors", reason="the package safetensors is not installed")
    tensors = {name: from_numpy(values) for name, values in ARRAYS.items()}
    bits = np.array([0x3F80, 0xC000], np.uint16)  # 1.0 and -2.0
    tensors["half"] = StoredTensor("bfloat16", bits)
    path = tmp_path / "mine.safetensors"
    write_published_file(path, tensors, {"source": "x"})
    file = open_checkpoint(path)
    assert file.format == SAFETENSORS and is_intact(file) and file.provenance["source"] == "x"
    assert file.tensors["half"].numpy().tolist() == [1.0, -2.0]
    with library.safe_open(path, framework="numpy") as opened:
        assert json.loads(opened.metadata()[PROVENANCE_ENTRY])["source"] == "x"
        for name, values in ARRAYS.items():
            assert np.array_equal(opened.get_tensor(name), values)
    with pytest.raises(UserError, match="complex128, which safetensors does not have"):
        write_safetensors(tmp_path / "no.safetensors", {"a": from_numpy(np.zeros(1, complex))}, {})
    assert not (tmp_path / "no.safetensors").exists()
