"""`step`: what `forward` gives token by token, the state in place, and wrong arguments."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, Tuple

import numpy as np
import pytest
from draw import Shape, draw
from packages import command, load

pytestmark = pytest.mark.skipif(command() is None, reason="stand-ins have no step")

SHAPE = Shape(2, 5, 2, 4)


def _parameters(package: ModuleType) -> set:
    return {e["name"] for e in package.manifest["inputs"] if e["role"] == "parameter"}


def _token(package: ModuleType, x: Dict[str, np.ndarray], t: int, short: bool) -> Dict[str, Any]:
    fixed = _parameters(package)
    place: Any = t if short else slice(t, t + 1)
    return {name: a if name in fixed else a[:, place] for name, a in x.items()}


def _state(package: ModuleType, batch: int = SHAPE.batch) -> np.ndarray:
    sizes = (package.manifest["key"], package.manifest["stateColumns"])
    return np.zeros((batch, SHAPE.heads, *sizes), np.float32)


@pytest.mark.parametrize("variant", ["gla", "mamba2", "rwkv6", "linear-attention-normalized", "mamba"])
@pytest.mark.parametrize("short", [False, True])
def test_steps_give_the_sequence(variant: str, short: bool) -> None:
    package = load(variant)
    x = draw(package, SHAPE)
    wanted, final = package.forward(**x, output_final_state=True)
    state = _state(package)
    for t in range(SHAPE.length):
        token = _token(package, x, t, short)
        o = package.step(*token.values(), state) if t % 2 else package.step(**token, state=state)
        assert o.shape == (wanted[:, t] if short else wanted[:, t : t + 1]).shape
        np.testing.assert_allclose(o.reshape(wanted[:, t].shape), wanted[:, t], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state, final, rtol=1e-4, atol=1e-5)


def test_calls_again_see_their_own_arrays(gla: ModuleType) -> None:
    """What a call keeps for the next one of its shapes is no array."""
    state, other = _state(gla), _state(gla)
    first = list(draw(gla, SHAPE._replace(length=1), seed=1).values())
    second = list(draw(gla, SHAPE._replace(length=1), seed=2).values())
    kept = gla.step(*first, state)
    copy = kept.copy()
    strided = [np.repeat(a, 2, axis=0)[::2] for a in second]
    a = gla.step(*second, state.copy())
    b = gla.step(*strided, state.copy())
    assert np.array_equal(a, b) and np.array_equal(kept, copy)
    assert np.array_equal(gla.step(*first, other), kept) and np.array_equal(other, state)
    one = gla.step(*[x[:1] for x in first], _state(gla, 1))
    assert np.array_equal(one, kept[:1])
    scaled = gla.step(*first, _state(gla), scale=2.0)
    np.testing.assert_allclose(scaled, kept * 2 * np.sqrt(gla.manifest["key"]), rtol=1e-5)
    assert np.array_equal(gla.step(*first, _state(gla), threads=2), kept)


def test_states_begin_at_a_cache_line(gla: ModuleType) -> None:
    x = draw(gla, SHAPE)
    _, final = gla.forward(**x, output_final_state=True)
    for _ in range(5):
        state = gla.new_state(SHAPE.batch, SHAPE.heads)
        assert state.ctypes.data % 64 == 0 and state.shape == final.shape and not state.any()
        assert gla.forward(**x, output_final_state=True)[1].ctypes.data % 64 == 0


def test_a_stepper_is_steps_on_bound_arrays(gla: ModuleType) -> None:
    x = draw(gla, SHAPE)
    state, wanted_state = _state(gla), _state(gla)
    bound = {name: np.ascontiguousarray(a[:, 0]) for name, a in x.items()}
    out = np.empty((SHAPE.batch, SHAPE.query_heads, gla.manifest["value"]), np.float32)
    stepper = gla.Stepper(**bound, state=state, out=out)
    for t in range(SHAPE.length):
        token = [a[:, t] for a in x.values()]
        for place, now in zip(bound.values(), token):
            place[:] = now
        assert stepper() is out and stepper.o is out
        assert np.array_equal(out, gla.step(*token, wanted_state))
    assert np.array_equal(state, wanted_state)
    with pytest.raises(ValueError, match="q must be aligned and in C order"):
        gla.Stepper(**{**bound, "q": np.repeat(bound["q"], 2, axis=-1)[..., ::2]}, state=state)
    inside = state.reshape(-1)[: bound["q"].size].reshape(bound["q"].shape)
    with pytest.raises(ValueError, match="state shares memory"):
        gla.Stepper(**{**bound, "q": inside}, state=state)


def _wrong(gla: ModuleType) -> Dict[str, Tuple[type, str, Dict[str, Any]]]:
    read_only = _state(gla)
    read_only.flags.writeable = False
    return {
        "two tokens": (ValueError, "one token", draw(gla, SHAPE._replace(length=2))),
        "a state of doubles": (TypeError, "state", {"state": _state(gla).astype(np.float64)}),
        "another batch's state": (ValueError, "state", {"state": _state(gla, 3)}),
        "a strided state": (ValueError, "in place", {"state": _state(gla, 4)[::2]}),
        "a read-only state": (ValueError, "writeable", {"state": read_only}),
        "no state": (TypeError, "state", {"state": None}),
        "an unknown tensor": (TypeError, "step", {"initial_state": _state(gla)}),
    }


@pytest.mark.parametrize("case", [
    "two tokens", "a state of doubles", "another batch's state", "a strided state",
    "a read-only state", "no state", "an unknown tensor",
])
def test_wrong_arguments(gla: ModuleType, case: str) -> None:
    kind, text, change = _wrong(gla)[case]
    given = {**draw(gla, SHAPE._replace(length=1)), "state": _state(gla), **change}
    gla.step(**{**draw(gla, SHAPE._replace(length=1)), "state": _state(gla)})
    for call in (gla.step, gla.Stepper):
        with pytest.raises(kind, match=text):
            call(**given)


def test_torch_operator() -> None:
    torch = pytest.importorskip("torch")
    import importlib

    package = load("gla")
    decode = importlib.import_module(f"{package.__name__}.decode")
    x = draw(package, SHAPE._replace(length=1))
    state = torch.from_numpy(_state(package))
    tensors = [torch.from_numpy(a) for a in x.values()]
    wanted_state = _state(package)
    wanted = package.step(*x.values(), wanted_state)
    assert np.array_equal(decode.step(*tensors, state).numpy(), wanted)
    assert np.array_equal(state.numpy(), wanted_state)
    operator = getattr(torch.ops.sluice, f"{package.manifest['name']}_step").default
    torch.library.opcheck(operator, (*tensors, state, 1.0, 0))
    stepper = decode.Stepper(*tensors, state)
    wanted = package.step(*x.values(), wanted_state)
    assert np.array_equal(stepper().numpy(), wanted) and np.array_equal(stepper.o.numpy(), wanted)
    assert np.array_equal(state.numpy(), wanted_state)
    with pytest.raises(ValueError, match="q must be contiguous"):
        decode.Stepper(tensors[0].transpose(0, 2), *tensors[1:], state)
    with pytest.raises(ValueError, match="gradient"):
        decode.step(tensors[0].requires_grad_(), *tensors[1:], state)
