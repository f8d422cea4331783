"""Builds libfieldprint_attention.so into the package with nvcc. Needs neither torch nor CMake.

`python3 setup.py build_library` does only that, inside the checkout.
"""
import os
import pathlib
import shutil
import subprocess

import setuptools
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
FILE = "libfieldprint_attention.so"


def build_library(folder):
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc", path=os.environ.get("PATH", "") +
                                                  ":/usr/local/cuda/bin")
    if not nvcc:
        raise SystemExit("fieldprint-torch: no nvcc found; install CUDA 13 or set NVCC")
    kernels = SOURCE / "attention" / "cuda"
    sources = sorted([*kernels.glob("*.cu"), *kernels.glob("*.cc")])
    if not sources:
        raise SystemExit(f"fieldprint-torch: no sources in {kernels}; build inside a checkout")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([nvcc, "-std=c++20", "-O3", "-gencode=arch=compute_90a,code=sm_90a",
                    "-lineinfo", "-Xcompiler=-fPIC", "-shared", "-t0", f"-I{SOURCE}",
                    f"-Xlinker=--version-script={kernels / 'exports.map'}",
                    *map(str, sources), "-o", str(folder / FILE)], check=True)


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        build_library(pathlib.Path(self.build_lib) / "fieldprint_torch")


class BuildLibrary(setuptools.Command):
    description = "compile " + FILE + " into the checkout's package"
    user_options = []

    def initialize_options(self):
        """Nothing to set."""

    def finalize_options(self):
        """Nothing to check."""

    def run(self):
        build_library(HERE / "fieldprint_torch")


# The library is for one platform, whatever setuptools makes of a package without extensions.
class BinaryDistribution(setuptools.Distribution):
    def has_ext_modules(self):
        return True


setuptools.setup(distclass=BinaryDistribution,
                 cmdclass={"build_py": BuildWithLibrary, "build_library": BuildLibrary})
