"""The functions under flash-linear-attention's names: held to the recurrences as fla defines them."""

from __future__ import annotations

import inspect
import math
from types import ModuleType
from typing import Any, Callable, Dict, Tuple

import numpy as np
import pytest
from draw import Shape, draw
from packages import Request, build, command, import_package, load
from recurrences import reference, relative_error

pytestmark = pytest.mark.skipif(command() is None, reason="stand-ins are of few recurrences")

SHAPE = Shape(2, 37, 3, 3)
BOUND = 1e-5
Arrays = Dict[str, np.ndarray]


def _gamma(x: Arrays) -> Arrays:
    return {**x, "g_gamma": np.log(1 - 2.0 ** (-5 - np.arange(SHAPE.heads)))}


def _slope(x: Arrays) -> Arrays:
    return {**x, "slope": 8 / SHAPE.heads * (1 - 2 / 6) * np.arange(SHAPE.heads)}


# Variant: the function, how its arguments are made of the package's inputs, and the inputs again.
Case = Tuple[str, Callable[[Arrays], Dict[str, Any]], Callable[[Arrays], Arrays]]
CASES: Dict[str, Case] = {
    "gla": ("chunk_gla", dict, dict),
    "simple-gla": ("chunk_simple_gla", dict, dict),
    "retnet": ("chunk_retention", lambda x: _without(x, "g_gamma"), _gamma),
    "lightning": (
        "chunk_lightning_attn",
        lambda x: {**_without(x, "slope"), "layer_idx": 2, "num_layers": 6},
        _slope,
    ),
    "linear-attention": ("chunk_linear_attn", lambda x: {**x, "normalize": False}, dict),
    "linear-attention-normalized": ("chunk_linear_attn", dict, dict),
    "rwkv6": (
        "chunk_rwkv6",
        lambda x: {**_without(x, "q"), "r": x["q"], "w": -np.exp(x["w"])},
        dict,
    ),
    "gated-outer": (
        "fused_recurrent_gla",
        lambda x: {**_without(x, "g"), "gk": x["g"]},
        dict,
    ),
}


def _without(x: Arrays, name: str) -> Arrays:
    return {n: a for n, a in x.items() if n != name}


def _state(package: ModuleType, seed: int = 5) -> np.ndarray:
    sizes = (SHAPE.batch, SHAPE.heads, package.manifest["key"], package.manifest["stateColumns"])
    return np.abs(np.random.default_rng(seed).standard_normal(sizes)).astype(np.float32)


def _parted(variant: str, state: np.ndarray) -> Any:
    """A state as fla has it: with a normalizer, the sum of the keys apart."""
    if variant != "linear-attention-normalized":
        return state
    return state[..., :-1], state[..., -1][:, None]


def _whole(variant: str, state: Any) -> np.ndarray:
    if variant != "linear-attention-normalized":
        return np.asarray(state)
    return np.concatenate([state[0], np.asarray(state[1])[:, 0][..., None]], -1)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("variant", list(CASES))
def test_answers(variant: str, kind: str) -> None:
    torch = pytest.importorskip("torch") if kind == "torch" else None
    name, arguments, inputs = CASES[variant]
    package = load(variant)
    function = getattr(package, name)
    x = draw(package, SHAPE)
    state = _state(package)
    given: Dict[str, Any] = {**arguments(x), "initial_state": _parted(variant, state)}
    if torch is not None:
        given = {n: _tensor(torch, a) for n, a in given.items()}
    o, final = function(**given, output_final_state=True)
    scale = 1 / math.sqrt(package.manifest["key"])
    wanted, wanted_state = reference(variant, inputs(x), scale=scale, initial_state=state)
    assert relative_error(np.asarray(o), wanted) < BOUND
    assert relative_error(_whole(variant, final), wanted_state) < BOUND
    again, none = function(**given, scale=2 * scale)
    assert none is None
    # The quotient of the normalized recurrence has the scale on both sides.
    factor = 1 if variant == "linear-attention-normalized" else 2
    assert relative_error(np.asarray(again), factor * wanted) < BOUND


def _tensor(torch: Any, array: Any) -> Any:
    """The same numbers, and strides that are not dense."""
    if isinstance(array, tuple):
        return tuple(_tensor(torch, a) for a in array)
    if not isinstance(array, np.ndarray):
        return array
    return torch.from_numpy(np.repeat(array, 2, axis=-1))[..., ::2]


def test_first_arguments_are_in_the_fields_order(gla: ModuleType) -> None:
    """fla 0.6's chunk_gla; what is given by position means the same."""
    names = list(inspect.signature(gla.chunk_gla).parameters)
    assert names == [
        "q", "k", "v", "g", "scale", "initial_state", "output_final_state", "state_v_first",
        "cu_seqlens", "cu_seqlens_cpu",
    ]


def test_states_with_values_first(gla: ModuleType) -> None:
    x, state = draw(gla, SHAPE), _state(gla)
    wanted, final = gla.chunk_gla(**x, initial_state=state, output_final_state=True)
    turned = np.ascontiguousarray(state.swapaxes(-2, -1))
    o, last = gla.chunk_gla(
        **x, initial_state=turned, output_final_state=True, state_v_first=True
    )
    assert np.array_equal(o, wanted) and np.array_equal(last.swapaxes(-2, -1), final)


def test_gates_of_other_types_are_converted(gla: ModuleType) -> None:
    x = draw(gla, SHAPE)
    wanted, _ = gla.chunk_gla(**x)
    assert np.array_equal(gla.chunk_gla(**{**x, "g": x["g"].astype(np.float64)})[0], wanted)
    with pytest.raises(TypeError, match="q must be of type float32, not float64"):
        gla.chunk_gla(**{**x, "q": x["q"].astype(np.float64)})


def test_packed_sequences(gla: ModuleType) -> None:
    x = draw(gla, SHAPE._replace(batch=1))
    o, _ = gla.chunk_gla(**x, cu_seqlens=np.array([0, 5, 5, 37]))
    wanted, _ = reference("gla", x, cu_seqlens=[0, 5, 5, 37])
    assert relative_error(o, wanted) < BOUND


def test_missing_gates_are_zero() -> None:
    simple, outer = load("simple-gla"), load("gated-outer")
    x = draw(simple, SHAPE)
    gamma = np.array([-0.1, -0.2, -0.3], np.float32)
    wanted, _ = reference("simple-gla", {**x, "g": np.broadcast_to(gamma, x["g"].shape)})
    o, _ = simple.chunk_simple_gla(x["q"], x["k"], x["v"], g_gamma=gamma)
    assert relative_error(o, wanted) < BOUND
    x = draw(outer, SHAPE)
    wanted, _ = reference("gated-outer", {**x, "g": 0 * x["g"]})
    o, _ = outer.fused_recurrent_gla(x["q"], x["k"], x["v"], gv=x["gv"])
    assert relative_error(o, wanted) < BOUND
    flipped = {name: a[:, ::-1] for name, a in x.items()}
    wanted, _ = reference("gated-outer", flipped)
    o, _ = outer.fused_recurrent_gla(
        x["q"], x["k"], x["v"], gk=x["g"], gv=x["gv"], reverse=True
    )
    assert relative_error(o, wanted[:, ::-1]) < BOUND
    with pytest.raises(ValueError, match="does not go with cu_seqlens"):
        outer.fused_recurrent_gla(x["q"], x["k"], x["v"], reverse=True, cu_seqlens=[0, 37])


def test_the_other_kind_of_linear_attention_is_named() -> None:
    package = load("linear-attention")
    with pytest.raises(ValueError, match="build linear-attention-normalized"):
        package.chunk_linear_attn(**draw(package, SHAPE))


def test_a_state_without_the_sum_of_its_keys() -> None:
    package = load("linear-attention-normalized")
    x, state = draw(package, SHAPE), _state(package)
    state[..., -1] = 0
    wanted, _ = reference("linear-attention-normalized", x, initial_state=state)
    o, _ = package.chunk_linear_attn(**x, initial_state=state[..., :-1])
    assert relative_error(o, wanted) < BOUND


def test_recurrences_of_no_counterpart_have_no_function() -> None:
    package = load("mamba2")
    assert not [name for name in dir(package) if name.startswith(("chunk_", "fused_"))]


def test_gradients_flow() -> None:
    torch = pytest.importorskip("torch")
    package = import_package(build(Request("rwkv6", backward=True)))
    x = {n: torch.from_numpy(a) for n, a in draw(package, SHAPE).items()}
    x["w"] = -x["w"].exp()
    x = {n: a.double().requires_grad_() for n, a in x.items()}

    def plain() -> Any:
        scale = package.manifest["key"] ** -0.5
        state = torch.zeros(SHAPE.batch, SHAPE.heads, 8, 12, dtype=torch.float64)
        o = []
        for t in range(SHAPE.length):
            write = x["k"][:, t, :, :, None] * x["v"][:, t, :, None]
            read = state + x["u"][..., None] * write
            o.append(scale * torch.einsum("bhk,bhkv->bhv", x["q"][:, t], read))
            state = x["w"][:, t].exp()[..., None] * state + write
        return torch.stack(o, 1)

    order = [x[n] for n in ("q", "k", "v", "w", "u")]
    weight = torch.randn(SHAPE.batch, SHAPE.length, SHAPE.heads, 12, dtype=torch.float64)
    wanted = torch.autograd.grad((plain() * weight).sum(), order)
    o, _ = package.chunk_rwkv6(*(a.float() for a in order))
    found = torch.autograd.grad((o * weight).sum(), order)
    for a, b in zip(found, wanted):
        assert relative_error(a.numpy(), b.numpy()) < 1e-4
