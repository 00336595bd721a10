"""What a call on tensors hands to a library for a card: tensors of the processor stand in for the
card's, and driver.c for CUDA's driver, so no kernel runs.
"""

from __future__ import annotations

import ctypes
import math
import threading
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List

import packages
import pytest
from driver import K, V, build, load_driver

torch = pytest.importorskip("torch")
B, T, H = 2, 37, 2
Drawn = Dict[str, Any]


@pytest.fixture(scope="module")
def card() -> ModuleType:
    """The package, with tensors of the processor for the card's."""
    load_driver()
    module = packages.import_package(build())
    # The processor's twin of what allocates on the current card.
    guards = getattr(getattr(torch._C, "_dynamo", None), "guards", None)
    scratch = torch.empty(1 << 20, dtype=torch.uint8)
    stand_ins = {
        "DEVICE": "cpu",
        "current_device": lambda: None,
        "stream_of": lambda index: 0,
        "empty_here": getattr(guards, "_empty_strided_cpu", None),
        "allocate": lambda size, stream: -(-scratch.data_ptr() // 64) * 64,
        "free": lambda place: None,
    }
    for part in (module._card, module._calls):
        for name, value in stand_ins.items():
            if hasattr(part, name):
                setattr(part, name, value)
    return module


@pytest.fixture
def calls(card: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[List[Any]]:
    """The argument structs of this test's calls, in order."""
    seen: List[Any] = []
    kernel = card._library.kernel
    for entry, kind in (
        (card._calls._forward, kernel.Arguments),
        (card._calls._backward, kernel.GradientArguments),
        (card._calls._step, kernel.Arguments),
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


# Calls from which on a call may be known: the first finds what shapes imply, the second is kept.
KNOWN = 2


@pytest.fixture
def known(card: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, no call may take the whole way."""

    def only_known() -> None:
        if card._card.guard_of([torch.zeros(1)]) is None:
            pytest.skip("this PyTorch has no guard for calls that are alike")

        def look(*args: Any) -> None:
            raise AssertionError("a call like earlier ones was looked at")

        monkeypatch.setattr(card._calls, "_Call", look)

    return only_known


@pytest.mark.parametrize("earlier", [0, KNOWN, KNOWN + 2])
@pytest.mark.parametrize("query_heads", [H, 3 * H])
def test_forward_hands_over_what_it_was_given(
    card: ModuleType, calls: List[Any], query_heads: int, earlier: int
) -> None:
    for _ in range(earlier):
        x = draw(query_heads=query_heads)
        card.forward(**x, initial_state=torch.randn(B, H, K, V), output_final_state=True)
        card.forward(**x)
    calls.clear()
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
    for times in range(KNOWN + 2):
        offsets, initial = torch.tensor([0, 5, 5, 37]), torch.zeros(3, H, K, V)
        _, final = card.forward(
            **draw(batch=1), cu_seqlens=offsets, initial_state=initial, output_final_state=True
        )
        given = calls[-1]
        assert (given.sequences, given.cu_seqlens) == (3, offsets.data_ptr())
        assert (given.initial_state, given.final_state) == (initial.data_ptr(), final.data_ptr())
        assert final.shape == (3, H, K, V)
        card.forward(**draw(batch=1), cu_seqlens=offsets.int())
        assert calls[-1].sequences == 3


@pytest.mark.parametrize("earlier", [0, KNOWN])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("has_final", [False, True])
def test_backward_hands_over(
    card: ModuleType, calls: List[Any], known: Callable[[], None], earlier: int, has_state: bool,
    has_final: bool,
) -> None:
    for times in range(earlier + 1):
        x = draw()
        d_o = torch.randn(B, T, H, V).bfloat16()
        initial, final = torch.randn(2, B, H, K, V)
        if times == earlier > 0:
            known()
        found = card.backward(
            *x.values(), d_o=d_o, initial_state=initial if has_state else None,
            d_final_state=final if has_final else None,
        )
    given = calls[-1]
    assert given.d_o == d_o.data_ptr()
    assert given.d_final_state == (final.data_ptr() if has_final else None)
    assert given.initial_state == (initial.data_ptr() if has_state else None)
    assert given.d_initial_state == found["initial_state"].data_ptr()
    assert given.workspace_size == 0 or given.workspace
    for name, tensor in x.items():
        assert getattr(given, f"input_{name}") == tensor.data_ptr()
        assert getattr(given, f"adjoint_{name}") == found[name].data_ptr()
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype
        assert found[name].is_contiguous()
    # No two share a byte.
    ranges = sorted((x.data_ptr(), x.data_ptr() + x.nbytes) for x in found.values())
    assert all(one[1] <= other[0] for one, other in zip(ranges, ranges[1:]))


def test_step_hands_over(card: ModuleType, calls: List[Any], known: Callable[[], None]) -> None:
    for times in range(KNOWN + 2):
        if times == KNOWN:
            known()
        x, state = draw(length=1), torch.zeros(B, H, K, V)
        o = card.step(*x.values(), state, scale=0.25 if times % 2 else None)
        given = calls[-1]
        assert (given.o, given.final_state) == (o.data_ptr(), state.data_ptr())
        assert given.initial_state is None
        assert math.isclose(given.scale, 0.25 if times % 2 else K**-0.5, rel_tol=1e-6)
        assert given.input_g == x["g"].data_ptr()


def test_calls_of_many_sizes_in_turns(
    card: ModuleType, calls: List[Any], known: Callable[[], None]
) -> None:
    lengths = (1, 2, 3, 5, 8, 13, 21)
    for times in range(KNOWN + 2):
        if times == KNOWN:
            known()
        for length in lengths:
            o, _ = card.forward(**draw(length=length))
            assert calls[-1].length == length and o.shape == (B, length, H, V)


def test_more_sizes_than_are_kept(
    card: ModuleType, calls: List[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card._calls.Entry, "_MOST", 3)
    for length in (30, 31, 32, 33, 34) * 4:
        o, _ = card.forward(**draw(length=length))
        assert calls[-1].length == length and o.shape == (B, length, H, V)


def test_calls_from_threads(card: ModuleType, calls: List[Any]) -> None:
    """Of two sizes at once; each has its own addresses."""
    wrong: List[str] = []

    def work(length: int) -> None:
        for _ in range(50):
            x = draw(length=length)
            o, _ = card.forward(**x)
            given = next(given for given in reversed(calls) if given.o == o.data_ptr())
            if given.length != length or given.input_v != x["v"].data_ptr():
                wrong.append(f"{given.length} for {length}")

    workers = [threading.Thread(target=work, args=(20 + n % 2,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_calls_with_and_without_a_gradient_in_turns(
    card: ModuleType, calls: List[Any], known: Callable[[], None]
) -> None:
    x = draw()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in x.items()}
    for times in range(2 * KNOWN + 2):
        if times == 2 * KNOWN:
            known()
        assert not card.forward(**x)[0].requires_grad
        o, _ = card.forward(**leaves)
        assert o.requires_grad
        with torch.no_grad():
            assert not card.forward(**leaves)[0].requires_grad
        gradients = torch.autograd.grad(o, list(leaves.values()), torch.zeros_like(o))
        assert [g.shape for g in gradients] == [tensor.shape for tensor in x.values()]
        assert calls[-1].adjoint_q == gradients[0].data_ptr()
        assert calls[-1].d_initial_state is None


def test_there_is_no_second_derivative(card: ModuleType) -> None:
    leaves = {name: tensor.requires_grad_() for name, tensor in draw().items()}
    o, _ = card.forward(**leaves)
    d_o = torch.zeros_like(o, requires_grad=True)
    (d_q,) = torch.autograd.grad(o, leaves["q"], d_o, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_q.sum().backward()


@pytest.mark.parametrize("earlier", [0, KNOWN])
def test_strided_and_misaligned_tensors_are_copied(
    card: ModuleType, calls: List[Any], earlier: int
) -> None:
    x = draw()
    for _ in range(earlier):
        card.forward(**x)
    calls.clear()
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
    for _ in range(KNOWN + 1):
        for way in ("LAUNCH", "GRAPH"):
            monkeypatch.setenv(f"DRIVER_{way}", "2")
        with pytest.raises(RuntimeError, match=r"The card is out of memory\."):
            card.forward(**x)
        for way in ("LAUNCH", "GRAPH"):
            monkeypatch.delenv(f"DRIVER_{way}")
        assert card.forward(**x)[0].shape == (B, T, H, V)


def changed(**changes: Any) -> Drawn:
    return {**draw(), **changes}


@pytest.mark.parametrize(
    "given, sentence",
    [
        (changed(q=[[1.0]]), "q must be a torch.Tensor on a card, not list."),
        (
            {name: tensor.to("meta") for name, tensor in draw().items()},
            "q must be a torch.Tensor on a card; it is on meta.",
        ),
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
    for _ in range(KNOWN + 1):
        card.forward(**x)
    for _ in range(2):
        with pytest.raises(TypeError):
            card.forward(**{**x, "k": x["k"].float()})
        with pytest.raises(TypeError):
            card.forward(**{**x, "k": None})
        with pytest.raises(ValueError):
            card.forward(**{**x, "k": x["k"][:, :-1]})
        with pytest.raises(ValueError):
            card.forward(**{**x, "k": x["k"].to("meta")})
        with pytest.raises(ValueError):
            card.forward(**x, scale=math.nan)
        with pytest.raises(TypeError):
            card.forward(*list(x.values())[:-1])
    card.forward(**x)
