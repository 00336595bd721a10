"""Packages in float64: the gradient of every number, held to differences of the forward call."""

from __future__ import annotations

import importlib
from typing import Any, List

import numpy as np
import pytest
from draw import Shape, draw
from packages import Request, build, command, import_package
from recurrences import reference, relative_error

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(command() is None, reason="stand-ins have no gradient")

# Every number costs two calls; the tokens are more than a chunk of any plan.
KEY, VALUE, SHAPE = 3, 5, Shape(1, 37, 1, 2)


@pytest.mark.parametrize(
    "variant",
    [
        "gla", "simple-gla", "retnet", "hgrn2", "rwkv6", "mamba2", "linear-attention-taylor2",
        "simple-gla-taylor2",
    ],
)
def test_gradcheck(variant: str) -> None:
    # The monomials of three features are ten keys.
    key = 10 if variant.endswith("taylor2") else KEY
    request = Request(variant, key, VALUE, "f64", "f64", backward=True)
    package = import_package(build(request))
    forward = importlib.import_module(f"{package.__name__}.autograd").forward
    x = draw(package, SHAPE)
    rng = np.random.default_rng(1)
    columns = package.manifest["stateColumns"]
    state = rng.standard_normal((SHAPE.batch, SHAPE.heads, key, columns))

    o, final = package.forward(**x, initial_state=state, output_final_state=True)
    wanted, wanted_state = reference(variant, x, initial_state=state)
    assert o.dtype == final.dtype == np.float64
    assert relative_error(o, wanted) < 1e-13 and relative_error(final, wanted_state) < 1e-13

    # Away from the ends of what gates may be, so that a step to either side is legal.
    for entry in package.manifest["inputs"]:
        if float(entry["domain"][1]) == 0:
            x[entry["name"]] -= 0.01

    def function(*tensors: Any) -> List[Any]:
        *inputs, before = tensors
        return list(forward(*inputs, initial_state=before, output_final_state=True))

    tensors = [torch.from_numpy(array).requires_grad_() for array in [*x.values(), state]]
    assert torch.autograd.gradcheck(function, tensors, eps=1e-6, atol=1e-8, rtol=1e-6)
