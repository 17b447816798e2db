"""Weights files made to do harm, and a process that opens them with little memory and time.

python hostile_files.py FOLDER      opens every file of the folder, one line of JSON each
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import signal
import struct
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.formats.native import write_native
from mindvideo.weights.formats.torch_reader import LEGACY_MAGIC, LEGACY_PROTOCOL
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.report import describe_file
from mindvideo.weights.stored_tensor import from_numpy
from mindvideo.weights.varint import write_varint

MEMORY, SECONDS = 1 << 30, 20  # above what the process has before it opens a file; for each file
Files = dict[str, bytes]


def safetensors(entry: object, *, data: bytes = bytes(64), name: str = "w") -> bytes:
    header = json.dumps({name: entry}).encode() if not isinstance(entry, bytes) else entry
    return struct.pack("<Q", len(header)) + header + data


def tensor_entry(shape: object, places: object = (0, 4), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": places}


def safetensors_files() -> Files:
    deep = b"[" * 100_000 + b"]" * 100_000
    entries: dict[str, object] = {
        "100 dimensions": tensor_entry([1] * 100),
        "33 dimensions": tensor_entry([1] * 33),
        "200000 dimensions": tensor_entry([2**61] * 200_000),
        "infinite shape": tensor_entry([float("inf")]),
        "shape of NaN": tensor_entry([float("nan")]),
        "negative shape": tensor_entry([-1]),
        "shape of strings": tensor_entry(["1"]),
        "shape of true": tensor_entry([True]),
        "a fraction": tensor_entry([1.5]),
        "a number as shape": tensor_entry(4),
        "overflowing shape": tensor_entry([2**40, 2**40, 2**40]),
        "nothing of infinitely much": tensor_entry([0, 2**61, 2**61], (0, 0)),
        "negative offsets": tensor_entry([1], (-8, -4)),
        "offsets the wrong way round": tensor_entry([1], (8, 4)),
        "overflowing offsets": tensor_entry([1], (2**64, 2**64 + 4)),
        "infinite offsets": tensor_entry([1], (0, float("inf"))),
        "three offsets": tensor_entry([1], (0, 4, 8)),
        "a list as type": tensor_entry([1], dtype=[[]]),
        "no entry at all": 7,
        "deep nesting": b'{"w":' + deep + b"}",
        "deep metadata": b'{"__metadata__":{"a":' + deep + b"}}",
        "long number": b'{"w":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,4]}}',
        "many empty lists": b'{"__metadata__":{"a":[' + b"[]," * 5_000_000 + b"[]]}}",
        "a header that is a list": b"{}]",
    }
    files = {f"{name}.safetensors": safetensors(entry) for name, entry in entries.items()}
    many = {f"w{n}": tensor_entry([1 << 18], (0, 1 << 20)) for n in range(5000)}
    files["one megabyte 5000 times.safetensors"] = safetensors(json.dumps(many).encode(), data=bytes(1 << 20))
    files["header of 2^63.safetensors"] = struct.pack("<Q", 2**63) + b"{}"
    files["control characters.safetensors"] = safetensors(tensor_entry([1]), name="\x1b]0;title\x07\x1b[2J")
    files["name of a megabyte.safetensors"] = safetensors(tensor_entry([1]), name="n" * 1_000_000)
    return files


def native_tensor(dims: list[int], content: bytes = bytes(4), kind: bytes = b"Float32", name: bytes = b"w") -> bytes:
    message = b"".join(b"\x08" + write_varint(dim) for dim in dims) + b"\x12" + write_varint(len(kind)) + kind
    message += b"\x1a" + write_varint(len(content)) + content
    value = b"\x0a" + write_varint(len(name)) + name + b"\x12" + write_varint(len(message)) + message
    return b"\x0a" + write_varint(len(value)) + value


def native_files() -> Files:
    def provenance(content: str) -> bytes:
        encoded = content.encode("utf-32-le")
        return native_tensor([1]) + native_tensor([0], encoded, b"str", b"mindvideo.provenance")

    regex = json.dumps({"fresh_patterns": ["(a+)+$", "(", 7, {}], "names": []})
    return {
        "100 dimensions.ckpt": native_tensor([1] * 100),
        "100000 dimensions.ckpt": native_tensor([2**62] * 100_000),
        "minus one.ckpt": native_tensor([2**64 - 1]),
        "overflowing.ckpt": native_tensor([2**40, 2**40]),
        "dimension above 64 bits.ckpt": native_tensor([2**69]),
        "too few bytes.ckpt": native_tensor([1000]),
        "no such type.ckpt": native_tensor([1], kind=b"Float33" * 1000),
        "no string.ckpt": native_tensor([0], b"\xff" * 8, b"str"),
        "half a string.ckpt": native_tensor([0], b"abc", b"str"),
        "no type.ckpt": native_tensor([1], kind=b""),
        "name that is not UTF-8.ckpt": native_tensor([1], name=b"\xff\xfe"),
        "endless number.ckpt": b"\x0a" + b"\xff" * 100,
        "entry beyond the end.ckpt": b"\x0a" + write_varint(2**63) + b"\x0a\x01w",
        "provenance that is no JSON.ckpt": provenance("{"),
        "provenance that is a list.ckpt": provenance("[1]"),
        "deep provenance.ckpt": provenance("[" * 100_000),
        "expressions in the provenance.ckpt": provenance(regex),
        "escape sequences in the provenance.ckpt": provenance('{"source": "\\u001b[2J"}'),
    }


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def string(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def storage(key: bytes | None = None, elements: int = 1) -> bytes:
    parts = string("storage") + named("torch", "FloatStorage") + (key or string("0"))
    return b"(" + parts + string("cpu") + number(elements) + b"tQ"


def stored(shape: list[int], strides: list[int], *, offset: int = 0, place: bytes | None = None) -> bytes:
    """The instructions for a tensor."""
    sizes = b"".join(b"(" + b"".join(map(number, row)) + b"t" for row in (shape, strides))
    rest = number(offset) + sizes + b"\x89" + named("collections", "OrderedDict") + b")R"
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + (place or storage()) + rest + b"tR"


# A tuple of two of the tuple before, sixty times: 2^60 visits for whoever hashes, prints or compares it.
LAUGHS = b")q\x00" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(60))
REBUILD = named("torch._utils", "_rebuild_tensor_v2")
LONG_NUMBER = b"\x8b" + struct.pack("<I", 10_000) + b"\x7f" * 10_000
ENCODED = named("_codecs", "encode") + b"h\x00" + string("latin1") + b"\x86R"
BIG_LIST = b"]q\x00(" + b"N" * 100_000 + b"e"


def programs() -> Files:
    """Pickles, by what is wrong with them."""
    good = stored([1], [1])
    return {
        "100 dimensions": stored([1] * 100, [1] * 100),
        "33 dimensions of zero stride": stored([1] * 33, [0] * 33),
        "terabytes of zero stride": stored([2**20, 2**20], [0, 0]),
        "a gigabyte of zero stride": stored([2**28], [0]),
        "overflowing strides": stored([2, 2], [2**63, 1]),
        "overflowing offset": stored([1], [1], offset=2**64),
        "negative shape": stored([-1], [1]),
        "negative stride": stored([2], [-1]),
        "storage of 2^70 elements": stored([1], [1], place=storage(elements=2**70)),
        "storage with a laughing key": LAUGHS + stored([1], [1], place=storage(key=b"h\x3c")),
        "key of a dictionary": LAUGHS + b"}h\x3cNs",
        "member of a set": b"\x8f(" + LAUGHS + b"\x90",
        "member of a frozen set": b"(" + LAUGHS + b"\x91",
        "called set": LAUGHS + named("builtins", "set") + b"]h\x3ca\x85R",
        "called dictionary": LAUGHS + named("collections", "OrderedDict") + b"]h\x3ch\x3c\x86a\x85R",
        "device": LAUGHS + named("torch", "device") + b"h\x3c\x85R",
        "outside object": LAUGHS + b"h\x3cQ",
        "shape that laughs": LAUGHS + REBUILD + b"(" + storage() + b"K\x00h\x3c)tR",
        "namespace that laughs": LAUGHS + named("argparse", "Namespace") + b")\x81}h\x3ch\x3csb",
        "number of ten thousand digits": b"}" + string("a") + LONG_NUMBER + b"s",
        "colliding keys": b"}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(50_000)) + b"u",
        "a list copied often": BIG_LIST + b"(" + (named("builtins", "list") + b"h\x00\x85R") * 20_000 + b"l",
        "bytes copied often": string("a" * 1_000_000) + b"q\x000" + ENCODED * 10_000,
        "deep list": b"]" * 100_000 + b"a" * 99_999,
        "memo of four billion": b"Nr" + struct.pack("<I", 2**32 - 1),
        "string of four gigabytes": b"X" + struct.pack("<I", 2**32 - 1),
        "bytes of 2^62": b"\x8e" + struct.pack("<Q", 2**62),
        "list that holds itself": b"]q\x00h\x00a",
        "integer keys": b"}" + number(7) + good + b"s",
        "state set on a tensor class": named("torch", "Tensor") + b"}b",
        "shape changed afterwards": good + b"}" + string("shape") + b"(" + number(2**40) + b"tsb",
        "text as shape": REBUILD + b"(" + storage() + b"K\x00" + string("1") + b")tR",
        "marks": b"(" * 10_000,
        "empty stack": b"0" * 10,
    }


def zipped(program: bytes, *, data: bytes = bytes(4)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def streamed(program: bytes, keys: bytes = b"](X\x01\x00\x00\x000e.") -> bytes:
    head = [pickle.dumps(value, 2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True})]
    return b"".join(head) + program + b"\x80\x02" + keys + struct.pack("<Q", 1) + bytes(4)


def torch_files() -> Files:
    files = {}
    for name, program in programs().items():
        # As the whole content, and as a weight among others.
        files[f"{name}.pth"] = zipped(b"\x80\x02" + program + b".")
        inside = b"\x80\x02}" + string("w") + program + b"s."
        files[f"{name}, inside.pth"] = zipped(inside)
        files[f"{name}, before 1.6.pth"] = streamed(inside)
    files["keys that laugh.pth"] = streamed(b"\x80\x02}" + string("w") + stored([1], [1]) + b"s.", LAUGHS + b"]h\x3ca.")
    many = b"".join(string(f"w{n}") + stored([2**24], [0]) for n in range(1000))
    files["gigabytes by zero stride.pth"] = zipped(b"\x80\x02}(" + many + b"u.")
    provenance = string("mindvideo.provenance") + b"](K\x01K\x02e"
    files["provenance that is a list.pth"] = zipped(
        b"\x80\x02}(" + string("model") + b"}" + string("w") + stored([1], [1]) + b"s" + provenance + b"u."
    )
    files["many instructions.pth"] = zipped(b"\x80\x02" + b"\x8f" * 4_000_000)
    whole = zipped(b"\x80\x02}" + string("w") + stored([1], [1]) + b"s.")
    for field, size in ((12, 4), (16, 4)):  # of the end record: size and place of the table of contents
        place = whole.rfind(b"PK\x05\x06") + field
        files[f"end record, byte {field}.pth"] = whole[:place] + b"\xff\xff\xff\x7f"[:size] + whole[place + size :]
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    files["compressed.pth"] = compressed.getvalue()
    return files


def sound_files() -> Files:
    """One small file of each format, for damage at random."""
    draw = np.random.default_rng(0)
    tensors = {f"layer.{n}.weight": from_numpy(draw.standard_normal((3, 2)).astype(np.float32)) for n in range(4)}
    native = io.BytesIO()
    write_native(native, tensors.items(), {"mindvideo.provenance": '{"source": "x"}', "class_names": '{"1": "cat"}'})
    path = Path(sys.argv[1]) / "sound.tmp"
    write_torch(path, tensors, others={"epoch": 3, "args": {"lr": 0.1}})
    zip_file = path.read_bytes()
    path.unlink()
    header = {name: tensor_entry([3, 2], (24 * n, 24 * n + 24)) for n, name in enumerate(tensors)}
    legacy = streamed(b"\x80\x02}" + string("w") + stored([1], [1]) + b"s.")
    return {
        "sound.ckpt": native.getvalue(),
        "sound.pth": zip_file,
        "sound.safetensors": safetensors(json.dumps(header).encode(), data=bytes(96)),
        "sound legacy.pth": legacy,
    }


def damaged(content: bytes, seed: int) -> bytes:
    """Flipped bytes, a hole, a cut, doubled parts, or numbers set to their extremes."""
    draw = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        kind, place = draw.integers(0, 5), int(draw.integers(0, len(changed)))
        length = int(draw.integers(1, 9))
        if kind == 0:
            changed[place] = int(draw.integers(0, 256))
        elif kind == 1:
            changed[place] ^= 1 << int(draw.integers(0, 8))
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = changed[place : place + length]
        else:
            changed[place : place + length] = bytes([int(draw.choice([0, 0x7F, 0x80, 0xFF]))]) * length
        if not changed:
            break
    return bytes(changed[: int(draw.integers(0, len(changed) + 1))] if seed % 7 == 0 else changed)


def hostile_files() -> Files:
    return {**safetensors_files(), **native_files(), **torch_files()}


def outcome(path: Path) -> str:
    """'loaded', 'refused: ...' or 'failed: ...' for anything but the one exception that stands for bad input."""
    try:
        file = open_checkpoint(path)
        description = describe_file(file)
        for tensor in file.tensors.values():
            tensor.numpy()
    except UserError as error:
        return f"refused: {error}"
    except Exception as error:  # noqa: BLE001  told to the test, which fails
        return f"failed: {type(error).__name__}: {error}"
    return (
        "loaded"
        if all(character.isprintable() or character == "\n" for character in description)
        else "failed: unprintable"
    )


def cases() -> Iterator[tuple[str, bytes]]:
    yield from hostile_files().items()
    for name, content in sound_files().items():
        yield name, content
        for seed in range(400):
            yield f"seed {seed} {name}", damaged(content, seed)


def main() -> None:
    folder = Path(sys.argv[1])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    made = list(cases())
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a long computation of C
    for name, content in made:
        path = folder / "case.bin"
        path.write_bytes(content)
        signal.alarm(SECONDS)
        start = time.perf_counter()
        print(json.dumps([name, None, 0]), flush=True)  # noqa: T201  what was open when the process died
        found = outcome(path)
        print(json.dumps([name, found, time.perf_counter() - start]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
