"""Files written by a real PyTorch, read without it. They are in ``fixtures``, with the script that made them."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import SAFETENSORS, TORCH_STREAM, TORCH_ZIP, open_checkpoint, plain_settings
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.stored_tensor import StoredTensor

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = np.load(FIXTURES / "expected.npz")
TRAINING_FILES = {"training_zip.pth": TORCH_ZIP, "training_legacy.pth": TORCH_STREAM}


def expected_under(prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{prefix}/"): EXPECTED[name] for name in EXPECTED.files if name.startswith(f"{prefix}/")}


def assert_same(tensors: dict[str, StoredTensor], expected: dict[str, np.ndarray]) -> None:
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        found = tensors[name].numpy()
        assert found.shape == value.shape and found.dtype == value.dtype, name
        np.testing.assert_array_equal(found, value, err_msg=name)


@pytest.mark.parametrize("name", TRAINING_FILES)
def test_both_formats_give_every_tensor(name: str):
    file = open_checkpoint(FIXTURES / name)
    assert file.format == TRAINING_FILES[name]
    assert_same(file.tensors, expected_under("training"))
    kept = {"bfloat16", "float16", "complex128", "bool"}
    assert {tensor.dtype for tensor in file.tensors.values()} >= kept


@pytest.mark.parametrize("name", TRAINING_FILES)
def test_arguments_of_the_training_are_plain_data(name: str):
    settings = plain_settings(open_checkpoint(FIXTURES / name).others)
    expected = {"epoch": 17, "args.lr": 1e-4, "args.masks": True, "args.backbone": "resnet50", "args.resume": None}
    assert settings == expected


def test_newer_types_and_a_bare_state():
    assert_same(open_checkpoint(FIXTURES / "newer_types.pt").tensors, expected_under("newer"))


def test_prefix_of_data_parallel_is_taken_off():
    assert_same(open_checkpoint(FIXTURES / "data_parallel.pth.tar").tensors, expected_under("parallel"))


def test_tensors_are_views_of_the_file_and_cannot_change_it():
    tensors = open_checkpoint(FIXTURES / "training_zip.pth").tensors
    whole, part = tensors["shared.whole"].bits, tensors["shared.part"].bits
    assert np.shares_memory(whole, part)
    with pytest.raises(ValueError, match="read-only"):
        whole[0] = 1.0


def test_no_torch_was_imported():
    assert "torch" not in sys.modules


@pytest.mark.parametrize(("name", "message"), [("whole_module.pth", "Sequential"), ("torchscript.pt", "TorchScript")])
def test_programs_are_refused_by_name(name: str, message: str):
    with pytest.raises(UserError, match=message):
        open_checkpoint(FIXTURES / name)


@pytest.mark.parametrize("name", TRAINING_FILES)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.999])
def test_truncated_files_give_one_clear_line(tmp_path: Path, name: str, kept: float):
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="cut short|damaged") as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TRAINING_FILES)
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_flipped_bytes_never_do_worse_than_an_error(tmp_path: Path, name: str):
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    for seed in range(300):
        draw = np.random.default_rng(seed)
        damaged = bytearray(content)
        for position in draw.integers(0, len(content), 3):
            damaged[position] = draw.integers(0, 256)
        path.write_bytes(damaged)
        try:
            tensors = open_checkpoint(path).tensors
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(tensor.numpy() is not None for tensor in tensors.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!doctype html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"just some text", "neither"),
        (struct.pack("<Q", 40) + b'{"a": 1', "cut short"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        open_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder"):
        open_checkpoint(tmp_path)


def test_file_without_weights_says_what_it_holds(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(X\x05\x00\x00\x00epochK\x11u.")
        archive.writestr("archive/version", b"3\n")
    path = tmp_path / "epoch.pth"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="no weights.*'epoch'"):
        open_checkpoint(path)


def test_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    write_torch(path, {"w": StoredTensor("float32", np.zeros((4, 4), np.float32))}, others={})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    # The shape is written as two one-byte integers of four.
    parts["archive/data.pkl"] = parts["archive/data.pkl"].replace(
        b"(\x8a\x01\x04\x8a\x01\x04t", b"(\x8a\x01\x04\x8a\x01\x09t", 1
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="reaches element"):
        open_checkpoint(path)


def test_safetensors(tmp_path: Path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    values = {
        name: value
        for name, value in expected_under("training").items()
        if value.dtype.kind != "c" and name != "bfloat16"
    }
    values = {name: np.ascontiguousarray(value) for name, value in values.items()}
    path = tmp_path / "weights.safetensors"
    numpy_files.save_file(values, path, metadata={"from": "a test"})
    file = open_checkpoint(path)
    assert file.format == SAFETENSORS and file.others == {"from": "a test"}
    assert_same({name: file.tensors[name] for name in values}, values)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="cut short"):
        open_checkpoint(path)


def test_bfloat16_in_safetensors(tmp_path: Path):
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3F80, 0xC040))
    np.testing.assert_array_equal(open_checkpoint(path).tensors["w"].numpy(), np.float32([1.0, -3.0]))
