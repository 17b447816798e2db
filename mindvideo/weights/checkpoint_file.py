"""Any checkpoint file, recognised by its content: PyTorch (both formats), safetensors, detectron2, or MindSpore's."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError, printable
from mindvideo.weights.class_names import CLASS_NAMES_ENTRY, parse_class_names
from mindvideo.weights.formats.detectron_pickle import looks_like_pickle, read_array_pickle, torchvision_name
from mindvideo.weights.formats.earlier_port import is_of_earlier_port, read_earlier_port
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
DETECTRON = "detectron2 (pickle)"
EARLIER_PORT = "MindSpore (earlier port of VisTR)"
# Where training scripts put the weights among the other things they save, in the order in which they are looked for.
WEIGHT_ENTRIES = ("model", "state_dict")
DATA_PARALLEL_PREFIX = "module."
PROVENANCE_ENTRY = "mindvideo.provenance"
CHECKSUM_ENTRY = "mindvideo_sha256"
MAX_NAME, MAX_MESSAGE = 1000, 600  # characters
# Tensors may share their bytes (a head that several layers use), so they can be larger than their file; not by much.
MAX_GROWTH, SMALL = 16, 1 << 26
_OTHER_KINDS = (
    (b"<!DOCTYPE", "a web page (the download asked for a confirmation or a login)"),
    (b"<html", "a web page (the download asked for a confirmation or a login)"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the real file with 'git lfs pull'"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
)


AsWritten = Callable[[str, StoredTensor], StoredTensor]


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
    try:
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "no such file"
            raise UserError(f"weights {path}: {kind}")
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"weights {path}: the file is empty; fetch it again")
        content = map_file(path)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror or error})") from error
    try:
        file = _open(path, content)
        _require_sane(file.tensors, size)
    except UserError as error:
        # A damaged file may say anything of itself, control characters included.
        raise UserError(f"weights {path}: {printable(str(error)[:MAX_MESSAGE])}") from error
    return file


def _require_sane(tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Refuse names that are none, and files of which a few bytes stand for a whole memory (by strides of zero)."""
    for name in tensors:
        if not isinstance(name, str) or not name.isprintable() or len(name) > MAX_NAME:
            shown = repr(name[:40]) if isinstance(name, str) else f"a {type(name).__name__}"
            raise UserError(f"the name {shown} of a tensor is no printable string of up to {MAX_NAME} characters")
    total = sum(tensor.size * tensor.bits.itemsize for tensor in tensors.values())
    if total > MAX_GROWTH * size + SMALL:
        raise UserError(f"its tensors make {total / 1e9:.1f} GB out of {size} bytes; the file is damaged")


def _open(path: Path, content: memoryview) -> CheckpointFile:
    start = bytes(content[: len(LEGACY_SIGNATURE)])
    if start.startswith(ZIP_SIGNATURE):
        tensors, others = weights_in(read_torch_zip(content))
        return CheckpointFile(path, TORCH_ZIP, tensors, others, _provenance_in(others))
    if start == LEGACY_SIGNATURE:
        tensors, others = weights_in(read_torch_stream(content))
        return CheckpointFile(path, TORCH_STREAM, tensors, others, _provenance_in(others))
    if looks_like_pickle(content):
        tensors, others = weights_in(read_array_pickle(content))
        tensors = {torchvision_name(name): tensor for name, tensor in tensors.items()}
        return CheckpointFile(path, DETECTRON, tensors, others, {})
    for signature, kind in _OTHER_KINDS:
        if bytes(content[: len(signature)]).lower() == signature.lower():
            raise UserError(f"this is no checkpoint but {kind}")
    if looks_like_safetensors(content):
        tensors, metadata = read_safetensors(content)
        provenance = _json_entry(metadata.pop(PROVENANCE_ENTRY, "{}"), PROVENANCE_ENTRY)
        return CheckpointFile(path, SAFETENSORS, without_prefix(tensors), dict(metadata), provenance)
    if looks_native(content):
        return _native_file(path, content)
    raise UserError(
        "neither a PyTorch (.pth, .pt), a detectron2 (.pkl), a safetensors nor a MindSpore (.ckpt) file"
        + ("; the tar format from before PyTorch 0.2 cannot be read" if bytes(content[257:262]) == b"ustar" else "")
    )


def _native_file(path: Path, content: memoryview) -> CheckpointFile:
    """A checkpoint of ours, its parameters under their present names; or one of the earlier port."""
    stored, strings = read_native(content)
    if is_of_earlier_port(stored):
        return CheckpointFile(path, EARLIER_PORT, read_earlier_port(path, stored), {}, {})
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


def _provenance_in(others: dict[str, Any]) -> dict[str, Any]:
    """The origin that a .pth written here states; taken out of ``others``."""
    found = others.pop(PROVENANCE_ENTRY, {})
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


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
        f"{' or '.join(map(repr, WEIGHT_ENTRIES))}, found {_shown_keys(saved)}"
    )


def _shown_keys(saved: dict[Any, Any]) -> str:
    return ", ".join(repr(key)[:40] for key in list(saved)[:8]) or "nothing"


def without_prefix(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names without the ``module.`` that PyTorch's data-parallel wrappers put before every one of them."""
    if tensors and all(isinstance(name, str) and name.startswith(DATA_PARALLEL_PREFIX) for name in tensors):
        return {name[len(DATA_PARALLEL_PREFIX) :]: tensor for name, tensor in tensors.items()}
    return tensors


def file_checksum(path: Path) -> str:
    """SHA-256 of the file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tensors_checksum(tensors: Mapping[str, StoredTensor], *, as_written: AsWritten = lambda _, tensor: tensor) -> str:
    """SHA-256 over names, types, shapes and values: the same whatever the format and the order of the file.

    ``as_written`` turns one tensor after the other into what a format will hold of it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = as_written(name, tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        if tensor.size:
            digest.update(tensor.content().reshape(-1).data.cast("B"))
    return digest.hexdigest()


def is_intact(file: CheckpointFile) -> bool | None:
    """Whether the tensors are those that the file was written with; None where it carries no check sum."""
    expected = file.checksum or file.provenance.get("tensors_sha256")
    if not expected:
        return None
    stored = {present: name for name, present in file.renamed.items()}
    return tensors_checksum({stored.get(name, name): tensor for name, tensor in file.tensors.items()}) == expected


def plain_settings(others: dict[str, Any]) -> dict[str, Any]:
    """The values beside the weights that fit into a line: numbers, strings, and the arguments of the training."""
    shown: dict[str, Any] = {}
    for name, value in others.items():
        if isinstance(value, Settings):
            shown.update({f"{name}.{key}": item for key, item in value.values.items() if _is_plain(item)})
        elif _is_plain(value):
            shown[name] = value
    return shown


def _is_plain(value: Any) -> bool:
    """Whether the value can be shown as it is; a number of a million digits cannot."""
    if isinstance(value, int):
        return abs(value) < 1 << 64
    return value is None or isinstance(value, float) or (isinstance(value, str) and len(value) <= MAX_MESSAGE)


def class_names_of(path: str | Path) -> dict[int, str] | None:
    """Category id -> name, from a checkpoint of ours; None for files that do not say, and for those of others."""
    return open_checkpoint(path).class_names
