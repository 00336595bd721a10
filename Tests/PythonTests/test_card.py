"""Packages for a card, as far as a machine without one goes: the sentences about driver and card, and
what a call on tensors hands to the library. driver.c stands in for CUDA's driver; tensors of the
processor stand in for the card's, and no kernel runs.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List

import packages
import pytest
from packages import Request

torch = pytest.importorskip("torch")
B, T, H, K, V = 2, 37, 2, 8, 12
Drawn = Dict[str, Any]


@pytest.fixture(scope="module")
def folder() -> Path:
    """GLA in bf16 for sm_90a, with its gradient."""
    if packages.command() is None:
        pytest.skip("there is no command that builds for a card")
    return packages.build(Request("gla", K, V, "bf16", backward=True, target="sm_90a"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, loaded: a library's dlopen of the name finds it."""
    compiler = os.environ.get("CC") or shutil.which("clang") or shutil.which("cc")
    if compiler is None or ctypes.util.find_library("cuda"):
        pytest.skip("it takes a C compiler, and a machine without a driver")
    path = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).with_name("driver.c")
    command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", str(source), "-o", str(path)]
    subprocess.run(command, check=True)
    ctypes.CDLL(str(path))
    return path


@pytest.fixture(scope="module")
def card(folder: Path, driver: Path) -> ModuleType:
    """The package, with tensors of the processor for the card's."""
    module = packages.import_package(folder)
    module.cuda._DEVICE = "cpu"
    module.cuda._current_device = lambda: None
    module.cuda._stream = lambda index: 0
    return module


@pytest.fixture
def calls(card: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[List[Any]]:
    """The argument structs of this test's calls, in order."""
    seen: List[Any] = []
    for entry, kind in (
        (card.cuda._enter_forward, card.cuda._kernel.Arguments),
        (card.cuda._enter_backward, card.cuda._kernel.GradientArguments),
        (card.cuda._enter_step, card.cuda._kernel.Arguments),
    ):

        def enter(given: bytes, stream: int, inner: Any = entry._enter, kind: Any = kind) -> int:
            seen.append(kind.from_buffer_copy(given))
            return int(inner(given, stream))

        monkeypatch.setattr(entry, "_enter", enter)
    yield seen


def draw(batch: int = B, length: int = T, query_heads: int = H) -> Drawn:
    def normal(heads: int, width: int) -> Any:
        return torch.randn(batch, length, heads, width)

    q, k, v = normal(query_heads, K).bfloat16(), normal(H, K).bfloat16(), normal(H, V).bfloat16()
    return {"q": q, "k": k, "v": v, "g": -normal(H, K).abs()}


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
        ({"LAUNCH": 2}, "The card is out of memory."),
        ({"LAUNCH": 700}, "A call of the CUDA driver failed with code 700."),
    ],
)
def test_driver_and_card(
    answers: Dict[str, int], sentence: str, card: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a fresh copy of the library: what it found of driver and card stays with it."""
    for name, value in answers.items():
        monkeypatch.setenv(f"DRIVER_{name}", str(value))
    kernel = card.cuda._kernel
    library = ctypes.CDLL(str(shutil.copy(kernel.library._name, tmp_path / "copy.so")))
    x = draw()
    o, arguments = torch.empty(B, T, H, V), kernel.Arguments()
    arguments.abi, arguments.size = 1, ctypes.sizeof(arguments)
    arguments.batch, arguments.length, arguments.query_heads, arguments.heads = B, T, H, H
    arguments.o = o.data_ptr()
    for name, tensor in x.items():
        setattr(arguments, f"input_{name}", tensor.data_ptr())
    message = library[f"{kernel.name}_message"]
    message.restype = ctypes.c_char_p
    code = library[f"{kernel.name}_forward"](ctypes.byref(arguments))
    assert message(code).decode().startswith(sentence)


def test_no_driver(folder: Path) -> None:
    """In a process of its own, which has none."""
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has a driver")
    program = (
        "import ctypes, sys\n"
        "library = ctypes.CDLL(sys.argv[1])\n"
        "message = library.sluice_message\n"
        "message.restype = ctypes.c_char_p\n"
        "print(message(16).decode())\n"
    )
    library = next(folder.glob("*.so"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(library)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("There is no CUDA driver (libcuda.so.1), or no card")


@pytest.mark.parametrize("query_heads", [H, 3 * H])
def test_forward_hands_over_what_it_was_given(
    card: ModuleType, calls: List[Any], query_heads: int
) -> None:
    x = draw(query_heads=query_heads)
    initial = torch.randn(B, H, K, V)
    o, final = card.forward(**x, scale=0.5, initial_state=initial, output_final_state=True)
    (given,) = calls
    sizes = (given.batch, given.length, given.query_heads, given.heads, given.sequences)
    assert sizes == (B, T, query_heads, H, 0)
    assert (given.abi, given.size, given.cu_seqlens) == (1, ctypes.sizeof(given), None)
    assert given.scale == 0.5
    assert o.shape == (B, T, query_heads, V) and o.dtype == torch.bfloat16
    assert final.shape == (B, H, K, V) and final.dtype == torch.float32
    assert (given.o, given.final_state) == (o.data_ptr(), final.data_ptr())
    assert given.initial_state == initial.data_ptr()
    for name, tensor in x.items():
        assert getattr(given, f"input_{name}") == tensor.data_ptr()
    card.forward(*x.values())
    assert calls[1].initial_state is None and calls[1].final_state is None
    assert math.isclose(calls[1].scale, K**-0.5, rel_tol=1e-6)


def test_packed_sequences(card: ModuleType, calls: List[Any]) -> None:
    offsets = torch.tensor([0, 5, 5, 37])
    _, final = card.forward(**draw(batch=1), cu_seqlens=offsets, output_final_state=True)
    assert (calls[0].sequences, calls[0].cu_seqlens) == (3, offsets.data_ptr())
    assert final.shape == (3, H, K, V)
    card.forward(**draw(batch=1), cu_seqlens=offsets.int())
    assert calls[1].sequences == 3


def test_backward_and_step_hand_over(card: ModuleType, calls: List[Any]) -> None:
    x = draw()
    d_o = torch.randn(B, T, H, V).bfloat16()
    found = card.backward(*x.values(), d_o=d_o)
    given = calls[0]
    assert (given.d_o, given.d_final_state, given.initial_state) == (d_o.data_ptr(), None, None)
    assert given.d_initial_state == found["initial_state"].data_ptr()
    for name, tensor in x.items():
        assert getattr(given, f"input_{name}") == tensor.data_ptr()
        assert getattr(given, f"adjoint_{name}") == found[name].data_ptr()
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype
    state = torch.zeros(B, H, K, V)
    o = card.step(*draw(length=1).values(), state)
    assert (calls[1].o, calls[1].final_state) == (o.data_ptr(), state.data_ptr())


def test_strided_and_misaligned_tensors_are_copied(card: ModuleType, calls: List[Any]) -> None:
    x = draw()
    whole = torch.randn(B * T * H * K + 1).bfloat16()
    x["q"] = whole[1:].view(B, T, H, K)
    x["g"] = x["g"].transpose(1, 2).contiguous().transpose(1, 2)
    card.forward(**x)
    assert calls[0].input_q != x["q"].data_ptr() and calls[0].input_q % 16 == 0
    assert calls[0].input_g != x["g"].data_ptr()
    assert calls[0].input_k == x["k"].data_ptr()


def test_a_failed_call_leaves_the_next_one_alone(
    card: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = draw()
    monkeypatch.setenv("DRIVER_LAUNCH", "2")
    with pytest.raises(RuntimeError, match=r"The card is out of memory\."):
        card.forward(**x)
    monkeypatch.delenv("DRIVER_LAUNCH")
    assert card.forward(**x)[0].shape == (B, T, H, V)


def changed(**changes: Any) -> Drawn:
    return {**draw(), **changes}


@pytest.mark.parametrize(
    "given, sentence",
    [
        (changed(q=[[1.0]]), "q must be a torch.Tensor on a card; it is on list."),
        (changed(q=torch.zeros(B, T, H, K, device="meta")), "on a card; it is on meta."),
        (changed(k=None), "k must be a torch.Tensor on a card, not NoneType."),
        (changed(k=torch.zeros(B, T, H, K, device="meta")), "k is on meta, and q on cpu."),
        (changed(v=torch.zeros(B, T, H, V)), "v must be of type torch.bfloat16, not torch.float32."),
        (changed(q=torch.zeros(T, H, K).bfloat16()), "q must have four axes"),
        (changed(q=torch.zeros(B, T, 3, K).bfloat16()), "and they are 3 and 2."),
        (changed(g=torch.zeros(B, T, H, 9)), "g must have shape (2, 37, 2, 8), not (2, 37, 2, 9)."),
        (changed(initial_state=torch.zeros(1, H, K, V)), "initial_state must have shape (2, 2, 8, 12)"),
        (changed(cu_seqlens=torch.tensor([0, T])), "cu_seqlens goes with B = 1, not 2."),
        (changed(cu_seqlens=torch.tensor([[0, T]])), "cu_seqlens must have shape (N + 1,)"),
        (changed(scale=math.inf), "scale must be a finite"),
        (changed(gate=1), "gate is unknown, or given twice."),
    ],
)
def test_a_call_that_cannot_be_right(card: ModuleType, given: Drawn, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        card.forward(**given)
    assert sentence in str(raised.value)


def test_a_wrong_call_is_refused_every_time(card: ModuleType) -> None:
    """Also after a right one of the same shapes, which is remembered."""
    x = draw()
    card.forward(**x)
    for _ in range(2):
        with pytest.raises(TypeError):
            card.forward(**{**x, "k": x["k"].float()})
        with pytest.raises(ValueError):
            card.forward(**{**x, "k": x["k"][:, :-1]})
    card.forward(**x)
