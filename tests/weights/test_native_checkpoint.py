"""MindSpore's format: what MindSpore writes is read here, what is written here MindSpore reads."""

from __future__ import annotations

import io
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo.assembly.checkpoints import convert_as_is
from mindvideo.errors import UserError
from mindvideo.weights import renamed
from mindvideo.weights.checkpoint_file import NATIVE, PROVENANCE_ENTRY, open_checkpoint, tensors_checksum
from mindvideo.weights.conversion import verify_checksum, write_native_file, write_torch_file
from mindvideo.weights.formats import native as native_checkpoint
from mindvideo.weights.formats.native import read_native, write_native
from mindvideo.weights.rules import Rule
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

TYPES = "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()


def values() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    made = {name: (draw.standard_normal((3, 4)) * 3).astype(name) for name in TYPES}
    return {**made, "scalar": np.float32(2.5).reshape(()), "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T}


def test_mindspore_reads_what_is_written_here(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    tensors = {name: from_numpy(value) for name, value in values().items()}
    tensors["bfloat16"] = StoredTensor("bfloat16", np.array([0x3F80, 0xC040], np.uint16))
    write_native_file(path, tensors, {"source": "a test"})
    loaded = ms.load_checkpoint(str(path))
    for name, value in values().items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), value, err_msg=name)
        assert loaded[name].asnumpy().dtype == value.dtype
    np.testing.assert_array_equal(loaded["bfloat16"].float().asnumpy(), [1.0, -3.0])
    assert loaded[PROVENANCE_ENTRY] == '{"source": "a test"}'


def test_what_mindspore_writes_is_read_here(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    saved = [{"name": name, "data": ms.Tensor(value)} for name, value in values().items()]
    ms.save_checkpoint(saved, str(path), append_dict={"epoch": 3, "note": "grüße"})
    file = open_checkpoint(path)
    assert file.format == NATIVE and file.others == {"note": "grüße"}
    assert file.tensors.pop("epoch").numpy() == 3
    assert list(file.tensors) == list(values())
    for name, value in values().items():
        np.testing.assert_array_equal(file.tensors[name].numpy(), value, err_msg=name)


def test_checksummed_files_of_mindspore(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    ms.save_checkpoint([{"name": "w", "data": ms.Tensor([1.0, 2.0])}], str(path), crc_check=True)
    np.testing.assert_array_equal(open_checkpoint(path).tensors["w"].numpy(), np.float32([1, 2]))


def test_large_tensors_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native_checkpoint, "MAX_PIECE", 64)
    value = np.arange(100, dtype=np.float32).reshape(4, 25)
    stream = io.BytesIO()
    write_native(stream, [("w", from_numpy(value)), ("v", from_numpy(value[0]))], {})
    assert stream.getvalue().count(b"Float32") > 4
    tensors, _ = read_native(memoryview(stream.getvalue()))
    np.testing.assert_array_equal(tensors["w"].numpy(), value)
    np.testing.assert_array_equal(tensors["v"].numpy(), value[0])


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, kept: float):
    path = tmp_path / "weights.ckpt"
    write_native_file(path, {"w": from_numpy(np.zeros((50, 50), np.float32)), "v": from_numpy(np.zeros(9))}, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_checksum_finds_a_changed_number(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    tensors = {"w": from_numpy(np.arange(8, dtype=np.float32))}
    write_native_file(path, tensors, {"tensors_sha256": tensors_checksum(tensors)})
    verify_checksum(open_checkpoint(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(np.float32(5).tobytes(), np.float32(6).tobytes()))
    with pytest.raises(UserError, match="check sum"):
        verify_checksum(open_checkpoint(path))


def test_checksum_does_not_depend_on_order_and_strides():
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = {"a": from_numpy(value), "b": from_numpy(value.T)}
    second = {"b": from_numpy(np.ascontiguousarray(value.T)), "a": from_numpy(value)}
    assert tensors_checksum(first) == tensors_checksum(second)
    assert tensors_checksum(first) != tensors_checksum({"a": first["b"], "b": first["a"]})


def test_writing_is_all_or_nothing(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(b"before")
    with pytest.raises(UserError, match="complex64"):
        write_native_file(path, {"w": from_numpy(np.zeros(2)), "z": from_numpy(np.zeros(2, np.complex64))}, {})
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_mindspore_loads_a_network_from_a_file_with_our_entries(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    network = ms.nn.Dense(3, 2)
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = {"weight": from_numpy(expected), "bias": from_numpy(np.ones(2, np.float32))}
    write_native_file(path, tensors, {"source": "a test"}, class_names={1: "cat"})
    missing, _ = ms.load_param_into_net(network, ms.load_checkpoint(str(path)))
    assert not missing
    np.testing.assert_array_equal(network.weight.asnumpy(), expected)


def test_every_flipped_bit_of_the_tensors_is_found(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    values = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    write_native_file(path, {"layer.weight": from_numpy(values)}, {})
    content = path.read_bytes()
    start = content.index(values.tobytes())
    for place in range(start, start + values.nbytes):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(UserError, match="check sum stored in the file does not fit"):
            verify_checksum(open_checkpoint(path))


def test_a_file_without_a_check_sum_loads_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "weights.ckpt"
    ms.save_checkpoint([{"name": "w", "data": ms.Tensor([1.0, 2.0])}], str(path))
    for _ in range(3):
        verify_checksum(open_checkpoint(path))
    assert caplog.text.count("no check sum in the file") == 1


def test_conversions_do_not_launder_a_damaged_file(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    write_native_file(path, {"w": from_numpy(np.arange(8, dtype=np.float32))}, {})
    path.write_bytes(path.read_bytes().replace(np.float32(5).tobytes(), np.float32(6).tobytes()))
    for name, to_torch in (("out.ckpt", False), ("out.pth", True)):
        with pytest.raises(UserError, match="check sum"):
            convert_as_is(open_checkpoint(path), tmp_path / name, to_torch=to_torch)
        assert not (tmp_path / name).exists()


def test_eight_bit_floats_are_summed_as_they_are_written(tmp_path: Path):
    path = tmp_path / "weights.ckpt"
    write_native_file(path, {"w": StoredTensor("float8_e5m2", np.arange(9, dtype=np.uint8))}, {})
    verify_checksum(open_checkpoint(path))
    assert open_checkpoint(path).tensors["w"].dtype == "float32"


@pytest.mark.parametrize(("source", "expected"), [({}, "published"), ({"source_format": NATIVE}, "present")])
def test_as_is_keeps_published_names_and_knows_our_old_ones(tmp_path: Path, monkeypatch, source: dict, expected: str):
    monkeypatch.setattr(renamed, "RENAMED", (Rule(r"published\.(.*)", r"present.\1"),))
    write_torch_file(tmp_path / "a.pth", {"published.weight": from_numpy(np.zeros(2, np.float32))}, source)
    convert_as_is(open_checkpoint(tmp_path / "a.pth"), tmp_path / "b.ckpt", to_torch=False)
    assert list(open_checkpoint(tmp_path / "b.ckpt").tensors) == [f"{expected}.weight"]
    convert_as_is(open_checkpoint(tmp_path / "b.ckpt"), tmp_path / "c.pth", to_torch=True)
    convert_as_is(open_checkpoint(tmp_path / "c.pth"), tmp_path / "d.ckpt", to_torch=False)
    assert list(open_checkpoint(tmp_path / "d.ckpt").tensors) == [f"{expected}.weight"]
