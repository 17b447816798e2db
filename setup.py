"""What pyproject.toml cannot say: three folders of the checkout are packages' data inside the wheel."""

from setuptools import find_packages, setup

# Folder of the checkout -> the files of it that the package needs; mindvideo/resources.py finds them in either place.
RESOURCES = {
    "config": ["README.md", "*/*.yaml"],
    "datas": ["README.md", "*.json", "*/*.json"],
    "custom_ops": ["README.md", "build.py", "*.h", "cpu/*.h", "cpu/*.cpp", "cuda/*.cu", "cuda/*.cuh"],
}

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
)
