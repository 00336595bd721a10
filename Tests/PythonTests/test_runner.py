"""`Runner`: what `forward` gives, on arrays that are bound once; and wrong arguments."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from draw import Shape, draw
from packages import load

SHAPE = Shape(2, 37, 2, 4)


@pytest.mark.parametrize("variant", ["gla", "simple-gla", "linear-attention"])
def test_a_runner_is_forward_on_bound_arrays(variant: str) -> None:
    package = load(variant)
    bound = draw(package, SHAPE, seed=1)
    out = np.empty((*bound["q"].shape[:3], package.manifest["value"]), np.float32)
    runner = package.Runner(**bound, out=out)
    own = package.Runner(*bound.values(), threads=2)
    for seed in (1, 2, 3):
        for name, array in draw(package, SHAPE, seed=seed).items():
            bound[name][...] = array
        wanted, wanted_state = package.forward(**bound, output_final_state=True)
        o, state = runner()
        assert o is out and o is runner.o and state is runner.final_state
        assert np.array_equal(o, wanted) and np.array_equal(state, wanted_state)
        o, state = own()
        assert np.array_equal(o, wanted) and np.array_equal(state, wanted_state)


def test_states_and_offsets_are_bound(gla: ModuleType) -> None:
    x = draw(gla, Shape(1, 37, 2, 2))
    offsets = np.array([0, 20, 20, 37], np.int32)
    _, state = gla.forward(**x, cu_seqlens=offsets, output_final_state=True)
    runner = gla.Runner(**x, cu_seqlens=offsets.copy(), initial_state=state, scale=0.5)
    for _ in range(2):
        options = dict(cu_seqlens=offsets, initial_state=state, scale=0.5)
        wanted = gla.forward(**x, **options, output_final_state=True)
        for got, want in zip(runner(), wanted):
            assert np.array_equal(got, want)
        state *= 0.5


def test_wrong_arguments(gla: ModuleType) -> None:
    x = draw(gla, SHAPE)
    with pytest.raises(TypeError, match="each tensor is needed, once"):
        gla.Runner(x["q"], **x)
    with pytest.raises(TypeError, match="each tensor is needed, once"):
        gla.Runner(x["q"])
    with pytest.raises(ValueError, match="k must be aligned and in C order"):
        gla.Runner(**{**x, "k": np.repeat(x["k"], 2, axis=-1)[..., ::2]})
    with pytest.raises(ValueError, match="v must have shape"):
        gla.Runner(**{**x, "v": x["v"][:, 1:].copy()})
    out = np.zeros((*x["q"].shape[:3], gla.manifest["value"]), np.float32)
    inside = out.reshape(-1)[: x["v"].size].reshape(x["v"].shape)
    with pytest.raises(ValueError, match="out shares memory"):
        gla.Runner(**{**x, "v": inside}, out=out)
