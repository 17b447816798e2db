"""Opening a stranger's file runs nothing of it: programs hidden in pickles are refused by the name they ask for."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.formats.torch_reader import LEGACY_MAGIC, LEGACY_PROTOCOL


class Call:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def programs(marker: Path) -> dict[str, bytes]:
    """Pickles that would create ``marker``, by what they are."""
    shell = f"touch {marker}"
    calls = {
        "system": Call(os.system, shell),
        "eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "open": Call(open, str(marker), "w"),
        "subprocess": Call(subprocess.Popen, ["touch", str(marker)]),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "nested in a dictionary": {"model": {}, "args": {"lr": Call(os.system, shell)}},
        "default factory": collections.defaultdict(Call(builtins.exec, f"open({str(marker)!r}, 'w')").__reduce__()[0]),
    }
    made = {f"{name}, protocol {p}": pickle.dumps(call, p) for name, call in calls.items() for p in (0, 2, 4)}
    quoted = str(marker).encode()
    made["instance opcode"] = b"(S'touch " + quoted + b"'\nios\nsystem\n."
    made["object opcode"] = b"(cos\nsystem\nS'touch " + quoted + b"'\no."
    made["dotted name"] = b"\x80\x04\x8c\x0bcollections\x8c\x20OrderedDict.__init__.__globals__\x93."
    made["extension registry"] = b"\x80\x02\x82\x01."
    made["namespace with a property"] = b"cargparse\nNamespace\n)\x81cos\nsystem\nb."
    made["tensor class called"] = b"ctorch\nTensor\n(I1\ntR."
    made["rebuilt with an unknown function"] = b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNS'x'\nNtR."
    made["sparse tensor"] = b"ctorch._utils\n_rebuild_sparse_tensor\n(tR."
    made["numpy scalar"] = b"cnumpy.core.multiarray\nscalar\n(tR."
    made["outside object"] = b"\x80\x02X\x06\x00\x00\x00moduleQ."
    return made


def as_zip(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def as_stream(program: bytes) -> bytes:
    head = [pickle.dumps(value, 2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True})]
    return b"".join(head) + program + pickle.dumps([], 2)


def as_system_information(program: bytes) -> bytes:
    """The program in one of the small pickles before the weights."""
    return b"".join(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL)) + program


NAMES = list(programs(Path("marker")))


@pytest.mark.parametrize("wrap", [as_zip, as_stream, as_system_information])
@pytest.mark.parametrize("name", NAMES)
def test_program_is_refused_and_does_not_run(tmp_path: Path, name: str, wrap):
    marker = tmp_path / "marker"
    path = tmp_path / "weights.pth"
    path.write_bytes(wrap(programs(marker)[name]))
    with pytest.raises(UserError) as caught:
        open_checkpoint(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)


def test_message_names_what_was_asked_for(tmp_path: Path):
    path = tmp_path / "weights.pth"
    path.write_bytes(as_zip(pickle.dumps(Call(os.system, "true"), 2)))
    with pytest.raises(UserError, match=r"'posix\.system'.*nothing was run"):
        open_checkpoint(path)


def test_the_programs_do_run_elsewhere(tmp_path: Path):
    """The control: without the restriction the same bytes create the marker."""
    marker = tmp_path / "marker"
    pickle.loads(programs(marker)["system, protocol 2"])
    assert marker.exists()


def test_endless_and_deep_structures_end(tmp_path: Path):
    path = tmp_path / "weights.pth"
    deep = b"\x80\x02" + b"(" * 5000 + b"N" + b"l" * 5000 + b"."
    path.write_bytes(as_zip(deep))
    with pytest.raises(UserError):
        open_checkpoint(path)
    # Each list holds the one before it twice: 2^60 visits unless what was seen is remembered.
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"]q" + struct.pack("B", n + 1) + b"(h" + struct.pack("B", n) + b"h" + struct.pack("B", n) + b"e"
        for n in range(60)
    )
    path.write_bytes(as_zip(laughs + b"."))
    with pytest.raises(UserError, match="holds a list"):
        open_checkpoint(path)
