"""A package for a card, and driver.c, which stands in for CUDA's driver, compiled and loaded."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import packages
import pytest
from packages import Request

K, V = 8, 12


def build() -> Path:
    """The folder of GLA in bf16 for sm_90a, with its gradient."""
    if packages.command() is None:
        pytest.skip("there is no command that builds for a card")
    return packages.build(Request("gla", K, V, "bf16", backward=True, target="sm_90a"))


@functools.lru_cache(maxsize=None)
def load_driver() -> None:
    """Loads the stand-in: a library's dlopen of the driver's name finds what is loaded under it."""
    compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("cc")
    if compiler is None or ctypes.util.find_library("cuda"):
        pytest.skip("it takes a C compiler, and a machine without a driver")
    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / "libcuda.so.1", Path(__file__).with_name("driver.c")
        flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        subprocess.run([compiler, *flags, str(source), "-o", str(path)], check=True)
        ctypes.CDLL(str(path))
