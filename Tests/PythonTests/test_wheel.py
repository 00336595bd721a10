"""`pip install FOLDER`: what a user without a compiler, and without this repository, does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest
from packages import Request, build, command, copy

pytestmark = [
    pytest.mark.skipif(command() is None, reason="stand-ins are no whole packages"),
    pytest.mark.skipif(
        subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode
        != 0,
        reason="this Python has no pip",
    ),
]

# Nothing may be fetched: the package is whole.
OFFLINE = ["--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]

PROGRAM = """
import numpy as np, importlib.metadata, sys, wheeled
assert wheeled.__file__.startswith(sys.argv[1]), wheeled.__file__
q, k, g = (np.full((1, 3, 1, 8), x, np.float32) for x in (1, 1, -1))
o, _ = wheeled.chunk_gla(q, k, np.ones((1, 3, 1, 12), np.float32), g)
np.testing.assert_allclose(o[0, :, 0, 0], np.cumsum(np.exp([0.0, -1, -2])) * np.sqrt(8), rtol=1e-5)
print(importlib.metadata.version("sluice-wheeled"))
"""


def pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    run: List[str] = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(run, capture_output=True, text=True)


def test_an_installed_package_computes(tmp_path: Path) -> None:
    folder = copy(build(Request("gla")), tmp_path / "wheeled")
    before = sorted(path.name for path in folder.iterdir())
    done = pip("install", *OFFLINE, "--target", str(tmp_path / "site"), str(folder))
    assert done.returncode == 0, done.stderr
    after = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    assert after == before
    there = str(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": there, "PATH": "/nowhere"}
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, there], capture_output=True, text=True,
        env=environment, cwd=tmp_path / "site",
    )
    assert program.returncode == 0, program.stderr
    assert not (tmp_path / "site" / "wheeled" / "_wheel.py").exists()


def test_equal_packages_are_equal_wheels(tmp_path: Path) -> None:
    bytes_of = []
    for place in ("a", "b"):
        folder = copy(build(Request("gla")), tmp_path / place / "wheeled")
        done = pip("wheel", *OFFLINE, "--wheel-dir", str(tmp_path / place / "out"), str(folder))
        assert done.returncode == 0, done.stderr
        (wheel,) = (tmp_path / place / "out").iterdir()
        assert wheel.name.startswith("sluice_wheeled-") and "-py3-none-linux_" in wheel.name
        bytes_of.append((wheel.name, wheel.read_bytes()))
    assert bytes_of[0] == bytes_of[1]


def test_a_folder_that_names_no_module_is_refused(tmp_path: Path) -> None:
    folder = copy(build(Request("gla")), tmp_path / "gla-340m")
    done = pip("install", *OFFLINE, "--target", str(tmp_path / "site"), str(folder))
    assert done.returncode != 0
    assert "'gla-340m' is no Python identifier: rename it, for example to 'gla_340m'." in done.stderr
