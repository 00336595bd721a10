"""Arguments that are wrong: each has a sentence that names it, what was wanted and what came."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict

import numpy as np
import pytest
from draw import Shape, draw
from packages import load

Changes = Dict[str, Any]


def refuse(gla: ModuleType, error: type, text: str, **changes: Any) -> None:
    """Calls with some arguments replaced; the sentence must hold the text."""
    x = draw(gla, Shape(2, 37, 2, 4))
    with pytest.raises(error) as raised:
        gla.forward(**{**x, **changes})
    sentence = str(raised.value)
    assert text in sentence, sentence
    assert sentence.endswith("."), sentence


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"k": None}, "k must be a NumPy array of float32, not NoneType"),
        ({"q": [[1.0]]}, "q must be a NumPy array of float32, not list"),
        ({"v": zeros(2, 37, 2, 12, dtype=np.float64)}, "v must be of type float32, not float64"),
        ({"g": zeros(2, 37, 2, 8, dtype=np.float16)}, "g must be of type float32, not float16"),
        ({"v": zeros(2, 37, 2, 12, dtype=">f4")}, "v must be of type float32, not >f4"),
        ({"q": zeros(2, 37, 4, 8, dtype=np.uint16)}, "q must be of type float32, not uint16"),
        ({"initial_state": zeros(2, 2, 8, 12, dtype=np.float16)}, "initial_state must be of type"),
        ({"initial_state": 0}, "initial_state must be a NumPy array of float32, not int"),
        ({"scale": "big"}, "scale must be a number or None, not str"),
        ({"scale": True}, "scale must be a number or None, not bool"),
        ({"threads": 1.0}, "threads must be an integer or None, not float"),
        ({"threads": True}, "threads must be an integer or None, not bool"),
        ({"cu_seqlens": [0.0, 37.0]}, "cu_seqlens must be of type int32 or int64, not float64"),
        ({"cu_seqlens": zeros(2, dtype=np.uint8)}, "cu_seqlens must be of type int32 or int64"),
        ({"out": zeros(2, 37, 4, 12, dtype=np.float64)}, "out must be of type float32"),
        ({"mask": 1}, "got an unexpected keyword argument 'mask'"),
    ],
)
def test_wrong_type(gla: ModuleType, changes: Changes, text: str) -> None:
    refuse(gla, TypeError, text, **changes)


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"q": zeros(2, 37, 8)}, "q must have shape (B, T, query heads, 8), not (2, 37, 8)"),
        ({"q": zeros(2, 37, 4, 9)}, "q must have shape (B, T, query heads, 8), not (2, 37, 4, 9)"),
        ({"k": zeros(1, 37, 2, 8)}, "k must have shape (2, 37, heads, 8), not (1, 37, 2, 8)"),
        ({"v": zeros(2, 36, 2, 12)}, "v must have shape (2, 37, 2, 12), not (2, 36, 2, 12)"),
        ({"v": zeros(2, 37, 1, 12)}, "v must have shape (2, 37, 2, 12), not (2, 37, 1, 12)"),
        ({"g": zeros(2, 37, 2)}, "g must have shape (2, 37, 2, 8), not (2, 37, 2)"),
        ({"g": zeros(2, 37, 4, 8)}, "g must have shape (2, 37, 2, 8), not (2, 37, 4, 8)"),
        ({"q": zeros(2, 37, 3, 8)}, "must be a multiple of the others', and they are 3 and 2"),
        ({"q": zeros(2, 37, 0, 8)}, "must be a multiple of the others', and they are 0 and 2"),
        (
            {"initial_state": zeros(2, 4, 8, 12)},
            "initial_state must have shape (2, 2, 8, 12), not (2, 4, 8, 12)",
        ),
        ({"initial_state": zeros(2, 2, 12, 8)}, "must have shape (2, 2, 8, 12), not (2, 2, 12, 8)"),
        ({"scale": float("nan")}, "scale must be a finite float32, not nan"),
        ({"scale": 1e39}, "scale must be a finite float32, not 1e+39"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"threads": -2}, "threads must be at least 1, not -2"),
        ({"cu_seqlens": np.array([0, 37])}, "cu_seqlens needs tensors with B = 1, and B is 2"),
        ({"out": zeros(2, 37, 2, 12)}, "out must have shape (2, 37, 4, 12), not (2, 37, 2, 12)"),
        ({"out": zeros(2, 4, 37, 12).transpose(0, 2, 1, 3)}, "out must be writeable, aligned and"),
    ],
)
def test_wrong_value(gla: ModuleType, changes: Changes, text: str) -> None:
    refuse(gla, ValueError, text, **changes)


@pytest.mark.parametrize(
    "offsets, text",
    [
        (
            [0, 36],
            "must rise from 0 to the 37 tokens of the tensors; it begins with 0, ends with 36",
        ),
        ([1, 37], "it begins with 1, ends with 37."),
        ([0, 20, 10, 37], "ends with 37 and falls in between."),
        ([0, 50, 37], "and falls in between."),
        ([0, -1, 37], "and falls in between."),
        ([37], "must have shape (N + 1,) for N packed sequences, not (1,)"),
        ([[0, 37]], "not (1, 2)"),
    ],
)
def test_wrong_offsets(gla: ModuleType, offsets: Any, text: str) -> None:
    x = draw(gla, Shape(1, 37, 2, 2))
    with pytest.raises(ValueError) as raised:
        gla.forward(**x, cu_seqlens=np.array(offsets))
    assert text in str(raised.value), str(raised.value)


def test_initial_state_has_a_row_a_sequence(gla: ModuleType) -> None:
    x = draw(gla, Shape(1, 37, 2, 2))
    with pytest.raises(ValueError, match=r"initial_state must have shape \(3, 2, 8, 12\)"):
        gla.forward(**x, cu_seqlens=[0, 1, 2, 37], initial_state=zeros(1, 2, 8, 12))


def test_out_must_not_be_an_input() -> None:
    package = load("gla", 8, 8)
    x = draw(package)
    with pytest.raises(ValueError, match="out shares memory with an input"):
        package.forward(**x, out=x["v"])
    state = zeros(2, 2, 8, 8)
    readonly = zeros(2, 37, 2, 8)
    readonly.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        package.forward(**x, initial_state=state, out=readonly)


def test_missing_and_surplus_arguments(gla: ModuleType) -> None:
    x = draw(gla)
    with pytest.raises(TypeError, match=r"forward\(q, k, v, g, .*missing a required argument: 'v'"):
        gla.forward(x["q"], x["k"])
    with pytest.raises(TypeError, match="too many positional arguments"):
        gla.forward(*x.values(), None, None, False, None, None, None)
    with pytest.raises(TypeError, match="multiple values for argument 'q'"):
        gla.forward(*x.values(), q=x["q"])


def test_a_failed_call_leaves_the_next_alone(gla: ModuleType) -> None:
    x = draw(gla)
    wanted, _ = gla.forward(**x)
    for changes in ({"k": x["q"][:1]}, {"scale": float("inf")}):
        with pytest.raises(ValueError):
            gla.forward(**{**x, **changes})
    np.testing.assert_array_equal(gla.forward(**x)[0], wanted)
