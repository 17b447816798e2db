"""For every manifest of the golden data: .pth -> .ckpt -> .pth, bit for bit, and through each family's own table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly.checkpoints import convert_as_is, convert_to_native, convert_to_torch, fit_of, tables_of
from mindvideo.models.registry import FAMILIES
from mindvideo.weights.checkpoint_file import CheckpointFile, open_checkpoint
from mindvideo.weights.conversion import to_published_names
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.renamed import present_name
from mindvideo.weights.stored_tensor import StoredTensor
from tests.weights.manifests import configuration_of, filled, hollow, manifest_paths, read_manifest

# VidEoMT's manifests hold two forms of its names each, those of MS-STS VIS are of the public code, which never calls a
# part of what it declares: tests/models/videomt/test_weights.py and tests/models/mssts/test_parts.py read them.
OUR_FAMILIES = tuple(f"{name}/" for name in FAMILIES if name not in ("videomt", "mssts"))
FULL_SIZE = "r50_full"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    paths = manifest_paths(Path(metafunc.config.getoption("--golden")))
    if "any_manifest" in metafunc.fixturenames:
        metafunc.parametrize("any_manifest", paths)
    if "own_manifest" in metafunc.fixturenames:
        metafunc.parametrize("own_manifest", [path for path in paths if path.startswith(OUR_FAMILIES)])
    if "full_manifest" in metafunc.fixturenames:
        full = [path for path in paths if path.startswith(OUR_FAMILIES) and FULL_SIZE in path]
        metafunc.parametrize("full_manifest", full)


def assert_same_bits(found: dict[str, StoredTensor], expected: dict[str, StoredTensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        np.testing.assert_array_equal(found[name].bits, tensor.bits, err_msg=name)


def there_and_back_as_is(tensors: dict[str, StoredTensor], folder: Path) -> None:
    write_torch(folder / "first.pth", tensors, others={})
    convert_as_is(open_checkpoint(folder / "first.pth"), folder / "middle.ckpt", to_torch=False)
    convert_as_is(open_checkpoint(folder / "middle.ckpt"), folder / "last.pth", to_torch=True)
    assert_same_bits(open_checkpoint(folder / "last.pth").tensors, tensors)
    assert list(open_checkpoint(folder / "last.pth").tensors) == list(tensors)


def test_formats_keep_every_entry(golden: Path, any_manifest: str, tmp_path: Path):
    entries, _ = read_manifest(golden / any_manifest)
    there_and_back_as_is(filled(entries, largest_side=9), tmp_path)


@pytest.mark.slow
def test_formats_keep_every_entry_at_full_size(golden: Path, any_manifest: str, tmp_path: Path):
    entries, _ = read_manifest(golden / any_manifest)
    there_and_back_as_is(filled(entries), tmp_path)


def test_family_knows_every_name_and_shape(golden: Path, own_manifest: str):
    entries, flags = read_manifest(golden / own_manifest)
    name, overrides = configuration_of(own_manifest, flags)
    cfg = load_config(name, overrides)
    file = CheckpointFile(Path(own_manifest), "hollow", hollow(entries), {}, {})
    fit, _ = fit_of(file, cfg)
    assert fit.is_complete and not fit.plan.fresh and not fit.plan.dropped
    assert fit.plan.table.name == "published"
    assert all(present_name(parameter) == parameter for parameter in fit.tensors), "a row of RENAMED has a present name"
    published, _, nameless = to_published_names(fit.tensors, tables_of(cfg)[0])
    assert not nameless
    assert {name: tensor.shape for name, tensor in published.items()} == {name: shape for name, shape, _ in entries}


def test_family_checkpoint_there_and_back(golden: Path, full_manifest: str, tmp_path: Path):
    entries, flags = read_manifest(golden / full_manifest)
    name, overrides = configuration_of(full_manifest, flags)
    cfg = load_config(name, overrides)
    tensors = filled(entries)
    write_torch(tmp_path / "first.pth", tensors, others={"epoch": 17})
    for convert, source, destination in (
        (convert_to_native, "first.pth", "middle.ckpt"),
        (convert_to_torch, "middle.ckpt", "last.pth"),
    ):
        file = open_checkpoint(tmp_path / source)
        _, refusal = convert(file, tmp_path / destination, cfg, source=None, every_name=True)
        assert not refusal
    assert_same_bits(open_checkpoint(tmp_path / "last.pth").tensors, tensors)
    provenance = open_checkpoint(tmp_path / "middle.ckpt").provenance
    assert provenance["source"] == "first.pth" and provenance["names"] == "published"


def test_files_of_the_mssts_code_are_seqformers_with_a_module_that_nothing_calls(golden: Path):
    entries, _ = read_manifest(golden / "mssts/r50_full_6l/manifest.json")
    cfg = load_config("seqformer_ytvis2019_r50")
    fit, _ = fit_of(CheckpointFile(Path("mssts.pth"), "hollow", hollow(entries), {}, {}), cfg)
    assert fit.is_complete and not fit.plan.fresh
    assert len(fit.plan.dropped) == 3 * cfg.seqformer.decoder_layers
    assert all(".temp_attn_box." in name for name in fit.plan.dropped)
