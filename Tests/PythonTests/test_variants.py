"""Every shipped recurrence, through its package, against NumPy in float64."""

from __future__ import annotations

import pytest
from draw import Shape, draw
from packages import load
from recurrences import NAMES, reference, relative_error

BOUNDS = {"f32": (1e-5, 1e-5), "bf16": (3.4e-3, 2e-3)}


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("variant", NAMES)
def test_variant(variant: str, dtype: str) -> None:
    if dtype == "bf16":
        pytest.importorskip("ml_dtypes")
    package = load(variant, 20, 12, dtype)
    output_bound, state_bound = BOUNDS[dtype]
    offsets = [0, 0, 1, 64, 65, 150]
    for shape, packed in [(Shape(2, 100, 2, 4), None), (Shape(1, 150, 2, 2), offsets)]:
        x = draw(package, shape)
        first, state = package.forward(**x, output_final_state=True, cu_seqlens=packed)
        wanted, wanted_state = reference(variant, x, cu_seqlens=packed)
        assert relative_error(first, wanted) < output_bound
        assert relative_error(state, wanted_state) < state_bound

        again, final = package.forward(
            **x, initial_state=state, output_final_state=True, cu_seqlens=packed, threads=2
        )
        wanted, wanted_state = reference(
            variant, x, initial_state=state.astype(float), cu_seqlens=packed
        )
        assert relative_error(again, wanted) < output_bound
        assert relative_error(final, wanted_state) < state_bound
