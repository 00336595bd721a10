"""Packages that are damaged, foreign or of another version are refused with a sentence."""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from packages import Request, build, copy, edit_manifest, import_package


@pytest.fixture
def package(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of GLA's package that a test may damage, under a name of its own."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    return copy(build(Request("gla")), tmp_path / name)


def library(package: Path) -> Path:
    name: str = json.loads((package / "manifest.json").read_text())["name"]
    return package / f"{name}.so"


def reseal(package: Path) -> None:
    """Gives a changed library the digest that it now has."""
    digest = hashlib.sha256(library(package).read_bytes()).hexdigest()
    edit_manifest(package, libraryDigest=digest)


def refuse(package: Path, text: str) -> None:
    with pytest.raises(ImportError) as raised:
        import_package(package)
    sentence = str(raised.value)
    assert text in sentence, sentence
    assert sentence.endswith("."), sentence


def test_a_moved_package_works(package: Path) -> None:
    module = import_package(package)
    assert module.manifest["recurrence"]["name"] == "gla"


def test_two_packages_in_one_process(package: Path) -> None:
    first, second = import_package(build(Request("gla"))), import_package(package)
    assert first is not second and first.forward is not second.forward


def test_import_needs_numpy_only(package: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import numpy, importlib; importlib.import_module(sys.argv[2])\n"
        "names = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(names & {'ml_dtypes', 'torch', 'scipy', 'onnx'}))\n"
    )
    arguments = [sys.executable, "-c", program, str(package.parent), package.name]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_manifest(package: Path) -> None:
    (package / "manifest.json").unlink()
    refuse(package, "manifest.json is missing")


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "[]", "3"])
def test_a_manifest_that_is_none(package: Path, text: str) -> None:
    (package / "manifest.json").write_text(text)
    refuse(package, "is damaged")


def test_a_manifest_that_is_not_text(package: Path) -> None:
    (package / "manifest.json").write_bytes(b"\xff\xfe\xff")
    refuse(package, "is damaged")


def test_no_library(package: Path) -> None:
    library(package).unlink()
    refuse(package, ".so is missing")


@pytest.mark.parametrize("abi", [0, 2, None, "1"])
def test_another_version(package: Path, abi: Any) -> None:
    edit_manifest(package, abi=abi)
    refuse(package, "is of another version")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None},
        {"key": "8"},
        {"key": True},
        {"inputs": None},
        {"plan": []},
        {"recurrence": {}},
        {"libraryDigest": None},
        {"type": "f128"},
        {"name": "../../gla"},
    ],
    ids=str,
)
def test_a_damaged_manifest(package: Path, fields: Dict[str, Any]) -> None:
    edit_manifest(package, **fields)
    refuse(package, "is damaged")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"name": "q; import os"}, "cannot name an input"),
        ({"name": "lambda"}, "cannot name an input"),
        ({"name": "scale"}, "cannot name an input"),
        ({"name": "k"}, "cannot name an input"),
        ({"role": "mask"}, "unknown role"),
        ({"type": "f128"}, "unknown type"),
        ({"size": 9}, "sizes that do not agree"),
        ({"axes": 7}, "sizes that do not agree"),
        ({"summary": None}, "is damaged"),
    ],
    ids=str,
)
def test_a_damaged_input(package: Path, change: Dict[str, Any], text: str) -> None:
    inputs: List[Dict[str, Any]] = json.loads((package / "manifest.json").read_text())["inputs"]
    inputs[-1].update(change)
    edit_manifest(package, inputs=inputs)
    refuse(package, text)


def test_a_manifest_of_another_size(package: Path) -> None:
    edit_manifest(package, stateColumns=4)
    refuse(package, "they differ in stateColumns")


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [_cut, _flip, lambda content: b""])
def test_a_damaged_library(package: Path, damage: Callable[[bytes], bytes]) -> None:
    path = library(package)
    path.write_bytes(damage(path.read_bytes()))
    refuse(package, "is not the library that manifest.json describes")


def test_no_library_at_all(package: Path) -> None:
    library(package).write_bytes(b"MZ" + bytes(100))
    reseal(package)
    refuse(package, "it has no ELF header")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="knows these two")
def test_a_library_for_another_machine(package: Path) -> None:
    path = library(package)
    content = bytearray(path.read_bytes())
    content[18] = 183 if platform.machine() == "x86_64" else 62
    path.write_bytes(bytes(content))
    reseal(package)
    refuse(package, "was built for")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_a_library_for_another_cpu(package: Path) -> None:
    module = import_package(build(Request("gla")))._manifest
    module._CPU_FLAGS["fictional"] = ("no_such_flag",)
    try:
        with pytest.raises(ImportError, match="this machine's CPU lacks no_such_flag"):
            module.check_library(
                library(package),
                hashlib.sha256(library(package).read_bytes()).hexdigest(),
                "fictional",
            )
    finally:
        del module._CPU_FLAGS["fictional"]


def test_a_library_without_the_entries(package: Path) -> None:
    edit_manifest(package, name="another")
    manifest = json.loads((package / "manifest.json").read_text())
    old = next(package.glob("*.so"))
    old.rename(package / "another.so")
    assert manifest["name"] == "another"
    refuse(package, "Cannot load")


def test_the_struct_is_the_documented_one() -> None:
    module = import_package(build(Request("gla")))
    fields = module._kernel.Arguments
    offsets = {name: getattr(fields, name).offset for name, *_ in fields._fields_}
    assert offsets["batch"] == 8 and offsets["cu_seqlens"] == 48 and offsets["scale"] == 64
    assert offsets["workspace"] == 72 and offsets["o"] == 104 and offsets["input_q"] == 112
    assert ctypes.sizeof(fields) == 112 + 8 * 4
