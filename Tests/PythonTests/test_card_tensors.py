"""What a call on tensors hands to a library for a card: tensors of the processor stand in for the
card's, and driver.c for CUDA's driver, so no kernel runs.
"""

from __future__ import annotations

import ctypes
import math
from types import ModuleType
from typing import Any, Dict, Iterator, List

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
    module.cuda._DEVICE = "cpu"
    module.cuda._current_device = lambda: None
    module.cuda._stream = lambda index: 0
    # The processor's twin of what allocates on the current card.
    guards = getattr(getattr(torch._C, "_dynamo", None), "guards", None)
    module.cuda._empty_here = getattr(guards, "_empty_strided_cpu", None)
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
    card.forward(**x)
    for _ in range(2):
        with pytest.raises(TypeError):
            card.forward(**{**x, "k": x["k"].float()})
        with pytest.raises(ValueError):
            card.forward(**{**x, "k": x["k"][:, :-1]})
    card.forward(**x)
