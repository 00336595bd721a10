"""States written out on the way of a prefill: each is the final state of its prefix."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from draw import Shape, draw
from packages import Request, build, command, import_package, load
from recurrences import reference, relative_error

pytestmark = pytest.mark.skipif(command() is None, reason="stand-ins write no states out")


@pytest.fixture(scope="module", params=["gla", "linear-attention-normalized", "mamba"])
def package(request: pytest.FixtureRequest) -> ModuleType:
    return import_package(build(Request(request.param, snapshots=16)))


def _variant(package: ModuleType) -> str:
    return str(package.manifest["recurrence"]["name"])


def test_states_of_prefixes(package: ModuleType) -> None:
    x = draw(package, Shape(2, 69, 2, 4))
    tokens = [e["name"] for e in package.manifest["inputs"] if e["role"] != "parameter"]
    wanted_o, wanted_state = package.forward(**x, output_final_state=True)
    for every in (16, 32):
        o, state, found = package.forward(**x, output_final_state=True, snapshot_every=every)
        assert np.array_equal(o, wanted_o) and np.array_equal(state, wanted_state)
        assert found.shape == (2, 69 // every, *state.shape[1:])
        for n in range(69 // every):
            prefix = {a: b[:, : (n + 1) * every] if a in tokens else b for a, b in x.items()}
            _, wanted = reference(_variant(package), prefix)
            assert relative_error(found[:, n], wanted) < 1e-5


def test_states_of_packed_sequences(package: ModuleType) -> None:
    x = draw(package, Shape(1, 75, 2, 2))
    offsets = [0, 3, 20, 20, 75]
    _, _, found = package.forward(**x, cu_seqlens=offsets, snapshot_every=16)
    tokens = [e["name"] for e in package.manifest["inputs"] if e["role"] != "parameter"]
    for begin, end in zip(offsets[:-1], offsets[1:]):
        for n in range((end - begin) // 16):
            part = {
                a: b[:, begin : begin + (n + 1) * 16] if a in tokens else b for a, b in x.items()
            }
            _, wanted = reference(_variant(package), part)
            assert relative_error(found[0, begin // 16 + n], wanted[0]) < 1e-5


@pytest.mark.parametrize(
    "every, kind, text",
    [
        (0, ValueError, "snapshot_every must be a multiple of"),
        (-16, ValueError, "snapshot_every must be a multiple of"),
        (16.0, TypeError, "snapshot_every must be an integer or None, not float"),
    ],
)
def test_wrong_numbers(package: ModuleType, every: Any, kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        package.forward(**draw(package), snapshot_every=every)


def test_a_package_that_writes_none() -> None:
    package = load("gla")
    with pytest.raises(ValueError, match="writes no states out on the way: build it with"):
        package.forward(**draw(package), snapshot_every=16)
