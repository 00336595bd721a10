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
from typing import Any

import packages
import pytest
from packages import Request

K, V = 8, 12


GLA = Request("gla", K, V, "bf16", backward=True, target="sm_90a")


def build(request: Request = GLA) -> Path:
    """The folder of a package for a card: of GLA in bf16 for sm_90a, with its gradient."""
    if packages.command() is None:
        pytest.skip("there is no command that builds for a card")
    return packages.build(request)


def build_with_machine_code(folder: Path) -> Path:
    """A package of GLA for sm_80 in `folder`; a script stands in for ptxas, and its code for machine code."""
    command = packages.command()
    if command is None:
        pytest.skip("there is no command that builds for a card")
    ptxas = folder / "ptxas"
    ptxas.write_text(
        "#!/bin/sh\n"
        "echo 'ptxas: NVIDIA (R) Ptx optimizing assembler'\n"
        "echo 'Cuda compilation tools, release 13.0, V13.0.88'\n"
        '[ "$1" = --version ] || printf \'machine code of %s\' "$2" > "$6"\n'
    )
    ptxas.chmod(0o755)
    package = folder / "gla"
    sizes = ["--key-dim", str(K), "--value-dim", str(V), "--dtype", "bf16"]
    arguments = ["build", "gla", *sizes, "--target", "sm_80", "--ptxas", str(ptxas), "-o", str(package)]
    done = subprocess.run([str(command), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return package


@functools.lru_cache(maxsize=None)
def load_driver(*flags: str) -> Any:
    """Loads the stand-in, compiled with these flags: a library's dlopen of the driver's name finds what is
    loaded under it, in this process the first that was."""
    compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("cc")
    if compiler is None or ctypes.util.find_library("cuda"):
        pytest.skip("it takes a C compiler, and a machine without a driver")
    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / "libcuda.so.1", Path(__file__).with_name("driver.c")
        usual = ["-shared", "-fPIC", "-pthread", "-Wl,-soname,libcuda.so.1"]
        subprocess.run([compiler, *usual, *flags, str(source), "-o", str(path)], check=True)
        driver = ctypes.CDLL(str(path))
    driver.driver_seen.restype = ctypes.c_char_p
    return driver
