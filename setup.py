"""Three folders of the checkout are packages' data inside the wheel, and a platform wheel has the CPU library too.

MINDVIDEO_PLATFORM_WHEEL=1 pip wheel . --no-build-isolation --no-deps compiles it (for every x86-64 processor, which
takes the fastest code that it can run) and names the wheel after this platform. Without the variable the wheel is for
any platform, and an installed package builds the library when a model first runs.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1 it was in a package of its own
    from wheel.bdist_wheel import bdist_wheel

# Folder of the checkout -> the files of it that the package needs; mindvideo/resources.py finds them in either place.
RESOURCES = {
    "config": ["README.md", "*/*.yaml"],
    "datas": ["README.md", "*.json", "*/*.json"],
    "custom_ops": ["README.md", "build.py", "*.h", "cpu/*.h", "cpu/*.cpp", "cuda/*.cu", "cuda/*.cuh"],
}
BUILD = Path(__file__).resolve().parent / "custom_ops" / "build.py"


class WithLibrary(build_py):
    def run(self) -> None:
        super().run()
        platform = runpy.run_path(str(BUILD))["platform_folder"]()
        folder = Path(self.build_lib) / "mindvideo" / "_native" / platform  # see mindvideo/native_library.py
        command = [sys.executable, str(BUILD), "--only", "cpu", "--require", "--output", str(folder)]
        subprocess.run(command, check=True)


class OfOnePlatform(Distribution):
    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        """Of any Python 3: the library is not linked to it."""
        return "py3", "none", super().get_tag()[2]


PLATFORM = {}
if os.environ.get("MINDVIDEO_PLATFORM_WHEEL"):
    PLATFORM = {"distclass": OfOnePlatform, "cmdclass": {"build_py": WithLibrary, "bdist_wheel": PlatformWheel}}
setup(
    packages=[*find_packages(include=["mindvideo", "mindvideo.*"]), *(f"mindvideo._{name}" for name in RESOURCES)],
    package_dir={f"mindvideo._{name}": name for name in RESOURCES},
    package_data={
        "mindvideo": ["py.typed"],
        "mindvideo.weights": ["*.yaml"],
        "mindvideo.report": ["assets/*"],
        "mindvideo.serve": ["assets/*"],
    }
    | {f"mindvideo._{n}": files for n, files in RESOURCES.items()},
    include_package_data=False,
    **PLATFORM,
)
