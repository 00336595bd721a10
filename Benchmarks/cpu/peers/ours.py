"""A package that `sluice build` makes for the problem."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from problem import Inputs, Problem, TYPES, aligned
from timing import Call

from . import NotMeasured

NAME = "sluice"


def package_name(problem: Problem) -> str:
    """A package is planned for the heads and batch rows that a model has, at any length."""
    recurrence = "simple_gla" if problem.gate == "scalar" else "gla"
    sizes = f"b{problem.batch}_h{problem.heads}_k{problem.key}_v{problem.value}"
    return f"{recurrence}_{sizes}_{problem.element}"


def package(problem: Problem, sluice: Path, build: Path, target: str) -> Path:
    """Builds the package for this machine, or less than it has, and returns its folder."""
    recurrence = "simple-gla" if problem.gate == "scalar" else "gla"
    folder = build / "packages" / package_name(problem)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [str(sluice), "build", recurrence, "--key-dim", str(problem.key), "--value-dim"]
    command += [str(problem.value), "--dtype", problem.element, "--gate-dtype", "f32"]
    command += ["--heads", str(problem.heads), "--batch", str(problem.batch)]
    command += ["--target", target, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return folder


def prepare(problem: Problem, x: Inputs, threads: int, build: Path) -> Call:
    folder = build / "packages"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(package_name(problem))
    except ImportError as error:
        raise NotMeasured(str(error)) from None
    out = aligned(np.zeros((*x.q.shape[:3], problem.value), TYPES[problem.element]))

    return module.Runner(*x, threads=threads, out=out)
