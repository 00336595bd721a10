"""What a package for a card says of a machine that cannot run it, without PyTorch or a card: driver.c
stands in for CUDA's driver, and no kernel runs.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from driver import build, build_with_machine_code, load_driver
from packages import Request


def library(path: Path) -> Tuple[Any, Any]:
    """The entry that launches, and the one that has a sentence for a code."""
    loaded = ctypes.CDLL(str(path))
    message = loaded.sluice_message
    message.restype = ctypes.c_char_p
    return loaded.sluice_forward, lambda code: message(code).decode()


def arguments(batch: int = 2, heads: int = 2, sequences: int = 0, shift: int = 0) -> bytes:
    """The argument struct of docs/abi.md with addresses that nothing reads."""
    header = (batch, 37, heads, heads, sequences, 4096 if sequences else 0)
    tensors = [4096 * (n + 1) + shift for n in range(5)]
    fields = (1, 144, *header, 0, 0, 0.5, 0, 0, 0, 0, 0, *tensors)
    return struct.pack("@IIqqqqqQiifIQQQQQQQQQ", *fields)


@pytest.mark.parametrize(
    "answers, sentence",
    [
        ({}, "Nothing is wrong."),
        ({"VERSION": 11040}, "The driver is of CUDA 11.4, and this kernel needs 12."),
        ({"INIT": 100}, "There is no CUDA driver (libcuda.so.1), or no card (code 100)."),
        ({"CARD": 80}, "The card has compute capability 8.0, and this kernel needs 9.0 exactly."),
        ({"CARD": 100}, "The card has compute capability 10.0, and this kernel needs 9.0 exactly."),
        ({"CONTEXT": 201}, "No CUDA context is current in the calling thread."),
        ({"LOAD": 2}, "The card is out of memory."),
        ({"LOAD": 218}, "A call of the CUDA driver failed with code 218."),
        ({"ATTRIBUTE": 2}, "The card is out of memory."),
        ({"LAUNCH": 2}, "The card is out of memory."),
        ({"LAUNCH": 700}, "A call of the CUDA driver failed with code 700."),
    ],
)
def test_driver_and_card(
    answers: Dict[str, int], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a fresh copy of the library: what it found of driver and card stays with it, but kernels that
    could not be loaded or launched are tried again."""
    load_driver()
    for name, value in answers.items():
        monkeypatch.setenv(f"DRIVER_{name}", str(value))
    enter, message = library(shutil.copy(next(build().glob("*.so")), tmp_path / "copy.so"))
    code = enter(arguments())
    assert message(code).startswith(sentence)
    for name in answers.keys() & {"LOAD", "ATTRIBUTE", "LAUNCH"}:
        monkeypatch.delenv(f"DRIVER_{name}")
        assert enter(arguments()) == 0


def test_machine_code_is_for_its_own_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the driver compiles the kernels: it would take foreign machine code, and fail later."""
    load_driver()
    made = next(build_with_machine_code(tmp_path).glob("*.so"))
    for compiles in (0, 218):
        monkeypatch.setenv("DRIVER_COMPILE", str(compiles))
        for card in (80, 86, 89, 90, 100):
            monkeypatch.setenv("DRIVER_CARD", str(card))
            enter, message = library(shutil.copy(made, tmp_path / f"copy{card}_{compiles}.so"))
            fails = compiles and card == 100
            wanted = "A call of the CUDA driver failed with code 218." if fails else "Nothing is wrong."
            assert message(enter(arguments())) == wanted


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({}, "Nothing is wrong."),
        ({"shift": 1}, "A pointer is misaligned."),
        ({"heads": 0}, "A size is wrong, or too large."),
        ({"sequences": 70_000, "batch": 1}, "Nothing is wrong."),
        ({"sequences": 3}, "cu_seqlens goes with one batch row and at least one sequence."),
        ({"batch": 1 << 40}, "A size is wrong, or too large."),
    ],
)
def test_arguments(given: Dict[str, int], sentence: str) -> None:
    load_driver()
    enter, message = library(next(build().glob("*.so")))
    assert message(enter(arguments(**given))) == sentence


@pytest.mark.parametrize(
    "walks, query_heads, sentence",
    [
        ("chunks", 2, "Nothing is wrong."),
        ("chunks", 4, "The workspace is too small."),
        ("segments:2", 2, "The workspace is too small."),
    ],
)
def test_a_gradient_may_do_without_a_workspace(walks: str, query_heads: int, sentence: str) -> None:
    """One that keeps its states in registers needs it for grouped heads and walks in parts alone."""
    load_driver()
    sizes = ("linear-attention", 40, 72, "bf16")
    request = Request(*sizes, backward=True, target="sm_90a", states=walks)
    loaded = ctypes.CDLL(str(next(build(request).glob("*.so"))))
    loaded.sluice_message.restype = ctypes.c_char_p
    tensors = [4096 * (n + 1) for n in range(7)]
    fields = (1, 168, 2, 37, query_heads, 2, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, *tensors)
    code = loaded.sluice_backward(struct.pack("@IIqqqqqQiifIQQQQQQQQQQQQ", *fields))
    assert loaded.sluice_message(code).decode() == sentence
    without_heads = struct.pack("@IIqqqqqQiifIQQQQQQQQQQQQ", *fields[:5], 0, *fields[6:])
    assert loaded.sluice_backward(without_heads) == 3


def test_no_driver() -> None:
    """In a process of its own, which has none."""
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has a driver")
    program = (
        "import ctypes, sys\n"
        "library = ctypes.CDLL(sys.argv[1])\n"
        "library.sluice_message.restype = ctypes.c_char_p\n"
        "print(library.sluice_message(library.sluice_forward(bytes.fromhex(sys.argv[2]))).decode())\n"
    )
    path = str(next(build().glob("*.so")))
    done = subprocess.run(
        [sys.executable, "-c", program, path, arguments().hex()],
        capture_output=True, text=True, check=True,
    )
    assert done.stdout.startswith("There is no CUDA driver (libcuda.so.1), or no card")
