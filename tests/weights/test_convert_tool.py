"""``mindvideo convert`` as a user runs it, on a configuration small enough for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly import checkpoints
from mindvideo.assembly.checkpoints import shapes_of, tables_of
from mindvideo.config import known_configs
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.conversion import to_published_names, write_native_file
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.stored_tensor import from_numpy
from tests.command import run_here

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = "instanceformer_toy"
FIXTURE = Path(__file__).parent / "fixtures" / "training_legacy.pth"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_here("convert", *arguments)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes_of(load_config(CONFIG)).items()
    }


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, np.ndarray]) -> Path:
    """A native file of the toy configuration."""
    path = tmp_path_factory.mktemp("tool") / "native.ckpt"
    write_native_file(path, {name: from_numpy(value) for name, value in weights.items()}, {})
    return path


def test_to_torch_and_back(tmp_path: Path, converted: Path, weights: dict[str, np.ndarray]):
    there = run(converted, tmp_path / "out.pth", "--model", CONFIG, "--to-torch")
    assert there.returncode == 0, there.stderr
    published = open_checkpoint(tmp_path / "out.pth")
    assert len(published.tensors) >= len(weights) and set(published.tensors) != set(weights)
    back = run(tmp_path / "out.pth", tmp_path / "back.ckpt", "--model", CONFIG, "--report")
    assert back.returncode == 0, back.stderr
    assert f"mapped: {len(weights)}" in back.stdout and " -> backbone.conv1.weight [32, 3, 3, 3]" in back.stdout
    file = open_checkpoint(tmp_path / "back.ckpt")
    assert set(file.tensors) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(file.tensors[name].numpy(), value)
    inspected = run("--inspect", tmp_path / "back.ckpt")
    assert inspected.returncode == 0
    for fact in ("MindSpore", "out.pth", CONFIG, "the tensors are those that were written"):
        assert fact in inspected.stdout


def test_unexplained_entries_fail_and_write_nothing(tmp_path: Path, weights: dict[str, np.ndarray]):
    cfg = load_config(CONFIG)
    published, _, _ = to_published_names({n: from_numpy(v) for n, v in weights.items()}, tables_of(cfg)[0])
    del published["detr.class_embed.0.bias"]
    write_torch(tmp_path / "in.pth", {**published, "surplus.weight": from_numpy(np.zeros(3))}, others={})
    result = run(tmp_path / "in.pth", tmp_path / "out.ckpt", "--model", CONFIG)
    assert result.returncode == 2 and not (tmp_path / "out.ckpt").exists()
    assert "left over: 1\n  surplus.weight" in result.stdout and "missing: 1\n  class_embed.0.bias" in result.stdout
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ") and "surplus.weight" in error and "class_embed.0.bias" in error


def test_architecture_of_our_own_leaves_under_our_names(tmp_path: Path):
    shapes = shapes_of(load_config("vistr_toy"))
    tensors = {name: from_numpy(np.zeros(shape, np.float32)) for name, shape in shapes.items()}
    write_native_file(tmp_path / "toy.ckpt", tensors, {})
    refused = run(tmp_path / "toy.ckpt", tmp_path / "toy.pth", "--model", "vistr_toy", "--to-torch")
    assert refused.returncode == 2 and "--as-is" in refused.stderr
    assert run(tmp_path / "toy.ckpt", tmp_path / "toy.pth", "--as-is", "--to-torch").returncode == 0
    assert list(open_checkpoint(tmp_path / "toy.pth").tensors) == list(tensors)


def test_wrong_model_names_the_one_that_fits(tmp_path: Path, converted: Path, monkeypatch: pytest.MonkeyPatch):
    toys = {name: path for name, path in known_configs().items() if name.endswith("_toy")}
    monkeypatch.setattr(checkpoints, "known_configs", lambda: toys)  # all the others would be built, too
    result = run(converted, tmp_path / "out.pth", "--model", "vistr_toy", "--to-torch")
    assert result.returncode == 2 and not (tmp_path / "out.pth").exists()
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ") and "only in the network" in error and CONFIG in error


def test_only_our_files_go_to_torch(tmp_path: Path):
    result = run(FIXTURE, tmp_path / "out.pth", "--model", CONFIG, "--to-torch")
    assert result.returncode == 2 and "takes a .ckpt" in result.stderr


def test_inspect_tells_what_a_foreign_file_is():
    """Through the script that a checkout has, in a process of its own."""
    tool = PROJECT / "tools" / "segmentation" / "convert.py"
    command = [sys.executable, str(tool), "--inspect", str(FIXTURE)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert result.returncode == 0
    for fact in ("PyTorch (before 1.6)", "21 tensors", "bfloat16", "args.backbone=resnet50", "epoch=17", "sha256"):
        assert fact in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.pth", "out.ckpt", "--model", CONFIG), "no such file"),
        ((FIXTURE, "out.pth", "--model", CONFIG), "add --to-torch"),
        ((FIXTURE, "out.ckpt"), "give either --model"),
        ((FIXTURE, "out.ckpt", "--model", CONFIG, "--as-is"), "give either --model"),
        (("results.json", "out.xml", "--as-is"), "mindvideo prepare export"),
        ((FIXTURE,), "give SRC and DST"),
        ((FIXTURE.with_name("whole_module.pth"), "out.ckpt", "--as-is"), "Sequential"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: tuple, message: str):
    result = run(*(tmp_path / a if isinstance(a, str) and a.endswith(("ckpt", "pth")) else a for a in arguments))
    assert result.returncode == 2 and result.stderr.startswith("error: ")
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_memory_stays_near_one_copy(tmp_path: Path):
    """Converting 96 MB may add little more than those 96 MB to the process, which maps the file."""
    values = np.zeros((24, 1024, 1024), np.float32)
    write_torch(tmp_path / "in.pth", {f"w{i}": from_numpy(value) for i, value in enumerate(values)}, others={})
    peaks = {}
    for name, source in (("small", FIXTURE), ("large", tmp_path / "in.pth")):
        target = "complex" if name == "small" else "out.ckpt"
        script = (
            "import resource, sys; from pathlib import Path; import mindvideo;"
            "from mindvideo.weights.checkpoint_file import open_checkpoint;"
            "from mindvideo.weights.conversion import provenance_of, write_native_file;"
            "file = open_checkpoint(sys.argv[1]);"
            "tensors = {n: t for n, t in file.tensors.items() if not t.dtype.startswith('complex')};"
            "write_native_file(Path(sys.argv[2]), tensors, provenance_of(file));"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", script, str(source), str(tmp_path / target)]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout)
    assert (peaks["large"] - peaks["small"]) * 1024 < 1.3 * values.nbytes
