"""The file of a training state: named arrays and a little JSON, whole or recognisably not.

    magic line | length of the header (8 bytes) | header (JSON) | the arrays in a row | SHA-256 of all before

It is written under a temporary name, synced and renamed. Reading checks every byte against the checksum.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.files import atomic_path
from mindvideo.weights.renamed import NAMES_ENTRY, PRESENT_NAMES, present_names

MAGIC = b"mindvideo training state 1\n"
_LENGTH = struct.Struct("<Q")
_DIGEST_SIZE = hashlib.sha256().digest_size
# These stand before the name of the parameter that an optimiser's moment or an average belongs to.
OWNERS = ("average.", "accumulated.", "adamw.first_moment.", "adamw.second_moment.", "sgd.velocity.")
# Some families' training graphs hold the network as a part, whose place then comes before a parameter's name as well.
PREFIXES = tuple(f"{owner}{place}" for owner in ("", *OWNERS) for place in ("", "network."))


class DamagedStateError(Exception):
    """A state file that is cut short, altered, or none at all; the message names it."""


def write_state(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write ``arrays`` and the JSON-able ``facts``; the file appears whole or not at all."""
    table = [{"name": name, "dtype": array.dtype.str, "shape": array.shape} for name, array in arrays.items()]
    header = json.dumps({"facts": facts, "arrays": table, NAMES_ENTRY: PRESENT_NAMES}).encode()
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        for part in (MAGIC, _LENGTH.pack(len(header)), header):
            digest.update(part)
            stream.write(part)
        for array in arrays.values():
            content = np.ascontiguousarray(array).data.cast("B") if array.size else b""
            digest.update(content)
            stream.write(content)
        stream.write(digest.digest())


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, facts) of a state file, or :class:`DamagedStateError`. Names of an earlier version come out renamed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedStateError(f"{path} cannot be read: {error.strerror}") from error
    start = len(MAGIC) + _LENGTH.size
    if not content.startswith(MAGIC) or len(content) < start + _DIGEST_SIZE:
        raise DamagedStateError(f"{path} ({len(content)} bytes) is not a training state, or was cut short")
    body = memoryview(content)[:-_DIGEST_SIZE]
    if hashlib.sha256(body).digest() != content[-_DIGEST_SIZE:]:
        raise DamagedStateError(f"{path} ({len(content)} bytes) is damaged: its checksum does not match its content")
    (length,) = _LENGTH.unpack(body[len(MAGIC) : start])
    header = json.loads(bytes(body[start : start + length]))
    arrays, offset = {}, start + length
    stored = [entry["name"] for entry in header["arrays"]]
    names = present_names(stored, written_with=header.get(NAMES_ENTRY), prefixes=PREFIXES)
    for entry in header["arrays"]:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        # A copy, since an array that looks into the file's bytes cannot be written to.
        arrays[names[entry["name"]]] = np.frombuffer(body, dtype, count, offset).reshape(shape).copy()
        offset += count * dtype.itemsize
    return arrays, header["facts"]
