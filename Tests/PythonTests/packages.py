"""Packages for the tests: built by the command on demand, and imported as a user imports them.

Environment:
    SLUICE           the command; without it, a build of this repository; ``stand-in`` for none.
    SLUICE_TARGET    the target to build for (native).
    SLUICE_PACKAGES  a folder that keeps packages between runs; those in it are used as they are.

Without a command there are stand-ins for the simplest recurrences, made from ``standin.c`` with a C
compiler: they try the Python module, not the kernels.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, NamedTuple, Optional

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATES = REPOSITORY / "templates" / "python"
TARGET = os.environ.get("SLUICE_TARGET", "native")


class Request(NamedTuple):
    """A kernel that a test needs."""

    variant: str
    key: int = 8
    value: int = 12
    dtype: str = "f32"
    gate_dtype: str = "f32"
    backward: bool = False
    snapshots: int = 0
    states: str = ""
    target: str = TARGET

    @property
    def folder(self) -> str:
        name = f"{self.variant}_k{self.key}_v{self.value}_{self.dtype}_g{self.gate_dtype}"
        name += f"_backward{self.states.replace(':', '_')}" if self.backward else ""
        name += f"_w{self.snapshots}" if self.snapshots else ""
        return name.replace("-", "_") + ("" if self.target == "native" else f"_{self.target}")


@functools.lru_cache(maxsize=None)
def command() -> Optional[Path]:
    """The `sluice` command; None when stand-ins are to be used."""
    given = os.environ.get("SLUICE")
    if given == "stand-in":
        return None
    if given:
        return Path(given).resolve()
    candidates = [REPOSITORY / ".build" / mode / "sluice" for mode in ("release", "debug")]
    return next((path for path in candidates if path.exists()), None)


@functools.lru_cache(maxsize=None)
def packages_folder() -> Path:
    given = os.environ.get("SLUICE_PACKAGES")
    folder = Path(given).resolve() if given else Path(tempfile.mkdtemp(prefix="sluice-packages-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.lru_cache(maxsize=None)
def build(request: Request) -> Path:
    """The folder of the package; built if it is not there."""
    folder = packages_folder() / request.folder
    if (folder / "manifest.json").exists():
        return folder
    sluice = command()
    if sluice is None:
        return _stand_in(request, folder)
    arguments = [str(sluice), "build", request.variant]
    arguments += ["--key-dim", str(request.key), "--value-dim", str(request.value)]
    arguments += ["--dtype", request.dtype, "--gate-dtype", request.gate_dtype]
    # Double is for one target.
    target = "generic" if request.dtype == "f64" else request.target
    arguments += ["--target", target, "-o", str(folder)]
    arguments += ["--backward"] if request.backward else []
    arguments += ["--gradient-states", request.states] if request.states else []
    arguments += ["--snapshots", str(request.snapshots)] if request.snapshots else []
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(arguments)} exits with {done.returncode}:\n{done.stderr}")
    return folder


def load(variant: str, *sizes: Any, **others: Any) -> ModuleType:
    """The package, imported from the folder that holds it."""
    return import_package(build(Request(variant, *sizes, **others)))


def import_package(folder: Path) -> ModuleType:
    """Imports a package as a user does."""
    sys.path.insert(0, str(folder.parent))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(folder.name)
    finally:
        sys.path.remove(str(folder.parent))


def copy(folder: Path, to: Path) -> Path:
    """A package that a test may damage; `to` also names the module."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def edit_manifest(folder: Path, **fields: Any) -> None:
    """Changes fields of a package's manifest; None removes one."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(fields)
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


# ---- Stand-ins ----

_AXES = {"scalar": 0, "key": 1, "value": 2}
_GATES = {"linear-attention": None, "simple-gla": "scalar", "gla": "key"}


def stand_in_manifest(request: Request) -> Dict[str, Any]:
    """What the compiler writes, as far as the Python module reads it."""
    gate = _GATES[request.variant]
    sizes = {"scalar": 1, "key": request.key, "value": request.value}

    def describe(name: str, role: str, axis: str, dtype: str, summary: str) -> Dict[str, Any]:
        domain = ["-inf", "0.0" if role == "gate" else "inf"]
        return {
            "name": name,
            "role": role,
            "axes": _AXES[axis],
            "type": dtype,
            "size": sizes[axis],
            "domain": domain,
            "summary": summary,
        }

    inputs: List[Dict[str, Any]] = [
        describe("q", "query", "key", request.dtype, "what a token asks for"),
        describe("k", "operand", "key", request.dtype, "where a token writes"),
        describe("v", "operand", "value", request.dtype, "what a token writes"),
    ]
    if gate is not None:
        inputs.append(describe("g", "gate", gate, "f32", "log decay, <= 0"))
    return {
        "abi": 1,
        "sluice": "0.0.0",
        "name": request.folder + "_standin",
        "recurrence": {
            "name": request.variant,
            "summary": f"a stand-in for {request.variant}",
            "defaultScale": "inverseSquareRootOfKey",
        },
        "gateClass": gate or "none",
        "key": request.key,
        "value": request.value,
        "stateColumns": request.value,
        "type": request.dtype,
        "gateType": "f32",
        "target": "generic",
        "plan": {"schedule": "stand-in", "threads": 1, "materialization": {"none": {}}},
        "inputs": inputs,
    }


def _stand_in(request: Request, folder: Path) -> Path:
    compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("cc")
    if request.variant not in _GATES or request.gate_dtype != "f32" or request.backward:
        pytest.skip(f"there is no stand-in for {request.folder}, and no command to build it")
    if compiler is None:
        pytest.skip("neither the command nor a C compiler is here")
    manifest = stand_in_manifest(request)
    folder.mkdir(parents=True)
    text = json.dumps(json.dumps(manifest))  # A JSON string is a C string, too.
    (folder / "standin.h").write_text(f"#define MANIFEST {text}\n")
    library = folder / f"{manifest['name']}.so"
    gate = {None: 0, "scalar": 1, "key": request.key}[_GATES[request.variant]]
    definitions = {
        "KEY": request.key,
        "VALUE": request.value,
        "GATE": gate,
        "ELEMENT": ["f32", "bf16", "f16"].index(request.dtype),
        "ENTRY(x)": f"{manifest['name']}_##x",
    }
    arguments = [compiler, "-O2", "-shared", "-fPIC", "-include", str(folder / "standin.h")]
    arguments += [f"-D{name}={value}" for name, value in definitions.items()]
    arguments += [str(Path(__file__).with_name("standin.c")), "-o", str(library), "-lm"]
    subprocess.run(arguments, check=True)
    manifest["libraryDigest"] = hashlib.sha256(library.read_bytes()).hexdigest()
    for template in TEMPLATES.glob("_*.py"):
        shutil.copy(template, folder)
    shutil.copy(TEMPLATES / "package.py", folder / "__init__.py")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
