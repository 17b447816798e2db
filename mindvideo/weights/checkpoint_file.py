"""Any checkpoint file, recognised by its content: PyTorch (both formats), safetensors, or MindSpore's own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError, printable
from mindvideo.weights.class_names import CLASS_NAMES_ENTRY, parse_class_names
from mindvideo.weights.formats.native import looks_native, read_native
from mindvideo.weights.formats.safetensors import looks_like_safetensors, read_safetensors
from mindvideo.weights.formats.torch_pickle import Settings
from mindvideo.weights.formats.torch_reader import (
    LEGACY_SIGNATURE,
    ZIP_SIGNATURE,
    map_file,
    read_torch_stream,
    read_torch_zip,
)
from mindvideo.weights.renamed import NAMES_ENTRY, present_names
from mindvideo.weights.stored_tensor import StoredTensor

NATIVE, TORCH_ZIP, TORCH_STREAM, SAFETENSORS = "MindSpore", "PyTorch (zip)", "PyTorch (before 1.6)", "safetensors"
# Where training scripts put the weights among the other things they save, in the order in which they are looked for.
WEIGHT_ENTRIES = ("model", "state_dict")
DATA_PARALLEL_PREFIX = "module."
PROVENANCE_ENTRY = "mindvideo.provenance"
CHECKSUM_ENTRY = "mindvideo_sha256"
_OTHER_KINDS = (
    (b"<!DOCTYPE", "a web page (the download asked for a confirmation or a login)"),
    (b"<html", "a web page (the download asked for a confirmation or a login)"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with 'git lfs pull'"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
)


@dataclasses.dataclass(frozen=True)
class CheckpointFile:
    """``tensors`` by name in the order of the file; ``others``: what lies beside the weights, as inert data.

    ``provenance`` is what a converted file knows of its origin, empty for others. ``renamed``: stored name -> name in
    ``tensors``, of parameters that had another name when the file was written. ``checksum`` is the one that a file of
    ours carries, empty for others; ``class_names`` by category id, where the file says for which classes it is.
    """

    path: Path
    format: str
    tensors: dict[str, StoredTensor]
    others: dict[str, Any]
    provenance: dict[str, Any]
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checksum: str = ""
    class_names: dict[int, str] | None = None

    @property
    def is_native(self) -> bool:
        return self.format == NATIVE


def open_checkpoint(path: str | Path) -> CheckpointFile:
    """Map the file and list its tensors; nothing in it is executed, and the values are read when they are used."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights {path}: {'is a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise UserError(f"weights {path}: the file is empty; fetch it again")
    try:
        file = _open(path, map_file(path))
        for name in file.tensors:
            if not name.isprintable():
                raise UserError(f"the name {name!r} of a tensor holds unprintable characters; the file is damaged")
    except UserError as error:
        # What a damaged file says of itself may hold anything, control characters included.
        raise UserError(f"weights {path}: {printable(error)}") from error
    return file


def _open(path: Path, content: memoryview) -> CheckpointFile:
    start = bytes(content[: len(LEGACY_SIGNATURE)])
    if start.startswith(ZIP_SIGNATURE):
        tensors, others = weights_in(read_torch_zip(content))
        return CheckpointFile(path, TORCH_ZIP, tensors, others, others.pop(PROVENANCE_ENTRY, {}))
    if start == LEGACY_SIGNATURE:
        tensors, others = weights_in(read_torch_stream(content))
        return CheckpointFile(path, TORCH_STREAM, tensors, others, others.pop(PROVENANCE_ENTRY, {}))
    for signature, kind in _OTHER_KINDS:
        if bytes(content[: len(signature)]).lower() == signature.lower():
            raise UserError(f"this is no checkpoint but {kind}")
    if looks_like_safetensors(content):
        tensors, metadata = read_safetensors(content)
        return CheckpointFile(path, SAFETENSORS, without_prefix(tensors), metadata, {})
    if looks_native(content):
        return _native_file(path, content)
    raise UserError(
        "neither a PyTorch (.pth, .pt), a safetensors nor a MindSpore (.ckpt) file"
        + ("; the tar format from before PyTorch 0.2 cannot be read" if bytes(content[257:262]) == b"ustar" else "")
    )


def _native_file(path: Path, content: memoryview) -> CheckpointFile:
    """A checkpoint of ours, its parameters under their present names."""
    stored, strings = read_native(content)
    checksum = strings.pop(CHECKSUM_ENTRY, "")
    provenance = _json_entry(strings.pop(PROVENANCE_ENTRY, "{}"), PROVENANCE_ENTRY)
    names = present_names(stored, written_with=strings.pop(NAMES_ENTRY, None))
    class_names = parse_class_names(strings.pop(CLASS_NAMES_ENTRY, None))
    return CheckpointFile(
        path,
        NATIVE,
        {names[name]: tensor for name, tensor in stored.items()},
        dict(strings),
        provenance,
        renamed={old: new for old, new in names.items() if old != new},
        checksum=checksum,
        class_names=class_names,
    )


def _json_entry(content: str, entry: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the file is damaged: its entry '{entry}' is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"the file is damaged: its entry '{entry}' is no JSON object")
    return values


def weights_in(saved: Any) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """(the weights, everything else) of what a training script saved."""
    if not isinstance(saved, dict):
        raise UserError(f"it holds a {type(saved).__name__}, not a dictionary of weights")
    if saved and all(isinstance(value, StoredTensor) for value in saved.values()):
        return without_prefix(saved), {}
    for entry in WEIGHT_ENTRIES:
        weights = saved.get(entry)
        if isinstance(weights, dict) and any(isinstance(value, StoredTensor) for value in weights.values()):
            others = {str(key): value for key, value in saved.items() if key != entry}
            return without_prefix({k: v for k, v in weights.items() if isinstance(v, StoredTensor)}), others
    raise UserError(
        "it holds no weights: expected tensors, or a dictionary of them under "
        f"{' or '.join(map(repr, WEIGHT_ENTRIES))}, found {', '.join(map(repr, list(saved)[:8])) or 'nothing'}"
    )


def without_prefix(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names without the ``module.`` that PyTorch's data-parallel wrappers put before every one of them."""
    if tensors and all(name.startswith(DATA_PARALLEL_PREFIX) for name in tensors):
        return {name[len(DATA_PARALLEL_PREFIX) :]: tensor for name, tensor in tensors.items()}
    return tensors


def file_checksum(path: Path) -> str:
    """SHA-256 of the file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tensors_checksum(tensors: dict[str, StoredTensor]) -> str:
    """SHA-256 over names, types, shapes and values: the same whatever the format and the order of the file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        if tensor.size:
            digest.update(memoryview(tensor.content().reshape(-1)).cast("B"))
    return digest.hexdigest()


def is_intact(file: CheckpointFile) -> bool | None:
    """Whether the tensors are those that the file was written with; None where it carries no check sum."""
    expected = file.checksum or file.provenance.get("tensors_sha256")
    if not expected:
        return None
    stored = {present: name for name, present in file.renamed.items()}
    return tensors_checksum({stored.get(name, name): tensor for name, tensor in file.tensors.items()}) == expected


def plain_settings(others: dict[str, Any]) -> dict[str, Any]:
    """The values beside the weights that can be shown in a line: numbers, texts, and the arguments of the training."""
    shown: dict[str, Any] = {}
    for name, value in others.items():
        if isinstance(value, Settings):
            shown.update({f"{name}.{key}": item for key, item in value.values.items() if _is_plain(item)})
        elif _is_plain(value):
            shown[name] = value
    return shown


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
