"""The wheel: what a user gets from ``pip install``, run from an empty folder that knows nothing of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from mindvideo.cli import COMMANDS, EXTRAS

PROJECT = Path(__file__).resolve().parents[1]
WITH_HELP = [name for name in COMMANDS if name not in ("demo",)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The packages of an environment of its own, into which the wheel was installed.

    What the wheel depends on is borrowed from this environment, so that nothing is downloaded; but not this checkout,
    whose link is in a file that only counts in the environment it lies in.
    """
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    source.mkdir()
    for name in ("mindvideo", "config", "datas", "custom_ops"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
    for name in ("setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run([*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-q", "-w", str(root / "wheels")])
    [wheel] = (root / "wheels").glob("mindvideo-*.whl")
    venv.create(root / "venv", with_pip=False)
    [site] = (root / "venv" / "lib").glob("python*/site-packages")
    # Before anything is borrowed: pip would find this checkout, of the same version, and have nothing to install.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own_python = str(root / "venv" / "bin" / "python")
    run([*pip, "--python", own_python, "install", "--no-deps", "-q", str(wheel)], env=alone)
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return site


def run(command: list[str], **options) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def mindvideo(installed: Path, folder: Path, *arguments: str) -> str:
    """Run the installed command in ``folder``; its standard output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MINDVIDEO_")}
    environment.pop("PYTHONPATH", None)
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "CXX": "/no/compiler"}
    command = installed.parents[2] / "bin" / "mindvideo"
    return run([str(command), *arguments], cwd=folder, env=environment).stdout


def test_configurations_data_and_native_sources_travel_with_the_wheel(installed, tmp_path):
    listed = mindvideo(installed, tmp_path, "config", "--list")
    assert "vistr_toy" in listed and "instanceformer_ytvis2019_r50" in listed
    (tmp_path / "mine.yaml").write_text("_base_: vistr_toy\nname: mine\noptimizer: {learning_rate: 1.0e-3}\n")
    shown = mindvideo(installed, tmp_path, "config", "--show", "mine.yaml")
    assert "learning_rate: 0.001" in shown and "name: mine" in shown
    for packaged in (
        "_custom_ops/build.py",
        "_custom_ops/cpu/exports.cpp",
        "report/assets/page.css",
        "_datas/data.json",
    ):
        assert (installed / "mindvideo" / packaged).is_file()
    assert str(tmp_path / "cache") in mindvideo(installed, tmp_path, "ops", "where")
    script = "from mindvideo.data.labels.catalogue import Catalogue as C; print(C().find('coco/train').category_map)"
    found = run([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}).stdout
    assert Path(found.strip()).is_relative_to(installed) or found.strip() == "None"


@pytest.mark.parametrize("command", WITH_HELP)
def test_every_command_has_help(installed, tmp_path, command):
    text = mindvideo(installed, tmp_path, command, "--help")
    assert f"usage: mindvideo {command}" in text
    assert ".py " not in text.replace("launch.sh", ""), "the help speaks of a script that a wheel does not have"


def test_the_demos_steps_run_from_an_empty_folder(installed, tmp_path):
    """Data, training, inference without -c, evaluation with its report, at the smallest size.

    Inference is compiled, which the parser of graphs needs the package's sources for; the others run step by step.
    """
    mindvideo(
        installed, tmp_path, "prepare", "synthetic", "--output", "sets/synthetic_easy", "--train", "4", "--valid", "1"
    )
    small = ["data.root=sets", "schedule.max_steps=1", "data.batch_size=2", "vistr.encoder_layers=1", "data.workers=1"]
    small += ["vistr.decoder_layers=1"]
    direct, compiled = "runtime.mode=pynative", "runtime.mode=graph"
    mindvideo(installed, tmp_path, "train", "-c", "vistr_toy", "--output", "run", *small, direct)
    video = next((tmp_path / "sets" / "synthetic_easy" / "videos").glob("*.mp4"))
    mindvideo(installed, tmp_path, "infer", str(video), "--weights", "run/last.ckpt", "--output", "videos", compiled)
    assert len(list((tmp_path / "videos").glob("*/overlay.mp4"))) == 1
    model = ["-c", "run/config.yaml", "--weights", "run/last.ckpt", "--output", "figures"]
    assert "AP" in mindvideo(installed, tmp_path, "eval", *model)
    assert (tmp_path / "figures" / "report.html").is_file()


@pytest.fixture(scope="module")
def compiler(tmp_path_factory) -> Path:
    """A quick stand-in, which makes files of four letters."""
    path = tmp_path_factory.mktemp("compiler") / "compiler"
    path.write_text("#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done; echo made > $1\n")
    path.chmod(0o755)
    return path


def test_a_platform_wheel_has_the_library_inside(installed, compiler, tmp_path):
    """It is used as long as it is of the package's sources and the user has built none; otherwise one is built."""
    root = installed.parents[3]
    command = [sys.executable, "-m", "pip", "--no-input", "wheel", str(root / "source"), "--no-deps"]
    environment = {**os.environ, "MINDVIDEO_PLATFORM_WHEEL": "1", "CXX": str(compiler)}
    run([*command, "--no-build-isolation", "-q", "-w", str(tmp_path)], env=environment)
    [wheel] = tmp_path.glob("mindvideo-*.whl")
    assert wheel.name.endswith(f"-py3-none-{sysconfig.get_platform().replace('-', '_')}.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "from mindvideo.native_library import CPU_LIBRARY, build_folder, library_folder\n"
        "print((library_folder() / CPU_LIBRARY).is_file(), library_folder(), build_folder())"
    )

    def found() -> tuple[str, Path, Path]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("MINDVIDEO_")}
        given |= {"PYTHONPATH": str(tmp_path / "site"), "MINDVIDEO_CACHE": str(tmp_path / "cache")}
        there, library, build = run([sys.executable, "-c", script], cwd=tmp_path, env=given).stdout.split()
        return there, Path(library), Path(build)

    there, inside, own = found()
    assert there == "True" and inside.is_relative_to(tmp_path / "site") and own.is_relative_to(tmp_path / "cache")
    own.mkdir(parents=True)
    (own / "libmindvideo_cpu.so").write_text("the user's")
    assert found() == ("True", own, own)
    with open(tmp_path / "site" / "mindvideo" / "_custom_ops" / "cpu" / "exports.cpp", "a") as source:
        source.write("// of a later version\n")
    there, library, build = found()
    assert there == "False" and library == build != own  # neither the one inside nor that of before


def test_the_native_library_is_built_on_first_use(installed, compiler, tmp_path):
    """A quick stand-in compiles; without a compiler, or where the cache cannot be written, it goes on without."""
    (tmp_path / "file").write_text("no folder")
    script = (
        "import logging; logging.basicConfig(format='%(message)s')\n"
        "from mindvideo.native_build import build_on_first_use as build\n"
        "from mindvideo.native_library import CPU_LIBRARY, library_folder\n"
        "print(build(), (library_folder() / CPU_LIBRARY).exists())"
    )

    def first_use(cache: str, cxx: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MINDVIDEO_")}
        environment |= {"PYTHONPATH": str(installed), "MINDVIDEO_CACHE": str(tmp_path / cache), "CXX": cxx}
        done = run([sys.executable, "-c", script], cwd=tmp_path, env=environment)
        return done.stdout + done.stderr

    assert first_use("one", "/no/compiler").split() == ["False", "False"]
    assert "True True" in first_use("one", str(compiler))
    assert first_use("one", str(compiler)).split() == ["False", "True"]
    assert "cannot be written (Not a directory)" in first_use("file/cache", str(compiler))
    broken = first_use("two", "/bin/false")
    assert "could not be built (cpu: not built: /bin/false cannot compile" in broken and "slower" in broken
    assert first_use("two", "/bin/false").split() == ["False", "False"]  # once is enough


def test_an_extra_that_is_missing_is_named(installed, tmp_path):
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from mindvideo.cli import main; sys.argv = ['mindvideo', 'analyze', '--help']; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "pip install 'mindvideo[analysis]'" in done.stderr and "Traceback" not in done.stderr
    assert EXTRAS["matplotlib"] == "analysis"
