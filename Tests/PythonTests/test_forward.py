"""The answers of `forward`: sizes, states, packed sequences, grouped heads, types, threads."""

from __future__ import annotations

import inspect
import math
import threading
from types import ModuleType
from typing import List, Tuple

import numpy as np
import pytest
from draw import Shape, draw
from packages import load
from recurrences import reference, relative_error

BOUND = 1e-5

SHAPES = [
    Shape(1, 1, 1, 1),
    Shape(2, 65, 3, 3),
    Shape(1, 200, 2, 6),
    Shape(3, 15, 1, 4),
    Shape(2, 0, 2, 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_float64(gla: ModuleType, shape: Shape) -> None:
    x = draw(gla, shape)
    o, final = gla.forward(**x, output_final_state=True)
    wanted, state = reference("gla", x)
    assert o.shape == wanted.shape and o.dtype == np.float32
    assert final.shape == state.shape and final.dtype == np.float32
    assert relative_error(o, wanted) < BOUND
    assert relative_error(final, state) < BOUND


def test_final_state_only_when_asked_for(gla: ModuleType) -> None:
    o, final = gla.forward(*draw(gla).values())
    assert final is None and o.shape == (2, 37, 2, 12)


def test_state_carries_over(gla: ModuleType) -> None:
    x = draw(gla, Shape(2, 50, 2, 4))
    whole, end = gla.forward(**x, output_final_state=True)
    first = {name: array[:, :19] for name, array in x.items()}
    rest = {name: array[:, 19:] for name, array in x.items()}
    left, state = gla.forward(**first, output_final_state=True)
    right, final = gla.forward(**rest, initial_state=state, output_final_state=True)
    assert relative_error(np.concatenate([left, right], 1), whole.astype(np.float64)) < BOUND
    assert relative_error(final, end.astype(np.float64)) < BOUND


def test_an_empty_sequence_keeps_its_state(gla: ModuleType) -> None:
    state = np.random.default_rng(1).standard_normal((2, 2, 8, 12), np.float32)
    o, final = gla.forward(
        **draw(gla, Shape(2, 0, 2, 2)), initial_state=state, output_final_state=True
    )
    assert o.shape == (2, 0, 2, 12)
    np.testing.assert_array_equal(final, state)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("offsets", [[0, 37], [0, 0, 1, 20, 20, 37], [0, 5, 36, 37, 37]])
def test_packed_sequences(gla: ModuleType, dtype: type, offsets: List[int]) -> None:
    x = draw(gla, Shape(1, 37, 2, 4))
    rng = np.random.default_rng(2)
    initial = rng.standard_normal((len(offsets) - 1, 2, 8, 12), np.float32)
    o, final = gla.forward(
        **x,
        initial_state=initial,
        output_final_state=True,
        cu_seqlens=np.array(offsets, dtype),
    )
    wanted, state = reference("gla", x, initial_state=initial, cu_seqlens=offsets)
    assert relative_error(o, wanted) < BOUND
    assert relative_error(final, state) < BOUND


def test_offsets_may_be_a_list(gla: ModuleType) -> None:
    x = draw(gla, Shape(1, 10, 1, 1))
    packed, _ = gla.forward(**x, cu_seqlens=[0, 4, 10])
    wanted, _ = reference("gla", x, cu_seqlens=[0, 4, 10])
    assert relative_error(packed, wanted) < BOUND


def test_nothing_at_all(gla: ModuleType) -> None:
    x = draw(gla, Shape(1, 0, 1, 1))
    o, final = gla.forward(**x, cu_seqlens=[0, 0, 0], output_final_state=True)
    assert o.shape == (1, 0, 1, 12)
    np.testing.assert_array_equal(final, np.zeros((2, 1, 8, 12), np.float32))


@pytest.mark.parametrize("scale", [0.25, 2, np.float32(0.5), np.int64(3), 0.0, -1.0])
def test_scale(gla: ModuleType, scale: float) -> None:
    x = draw(gla)
    o, _ = gla.forward(**x, scale=scale)
    wanted, _ = reference("gla", x, scale=float(scale))
    assert relative_error(o, wanted) < BOUND


def test_default_scale_is_the_root_of_the_key(gla: ModuleType) -> None:
    x = draw(gla)
    default, _ = gla.forward(**x)
    explicit, _ = gla.forward(**x, scale=1 / math.sqrt(8))
    np.testing.assert_array_equal(default, explicit)


def test_arrays_need_not_be_dense(gla: ModuleType) -> None:
    x = draw(gla, Shape(2, 24, 2, 4))
    wanted, _ = gla.forward(**x)
    transposed = {
        name: np.ascontiguousarray(array.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
        for name, array in x.items()
    }
    unaligned = {}
    for name, array in x.items():
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float32)
        unaligned[name] = memory.reshape(array.shape)
        unaligned[name][...] = array
        assert not unaligned[name].flags.aligned
    readonly = {name: array.copy() for name, array in x.items()}
    for array in readonly.values():
        array.flags.writeable = False
    for others in (transposed, unaligned, readonly):
        np.testing.assert_array_equal(gla.forward(**others)[0], wanted)


def test_inputs_are_left_alone_and_results_are_fresh(gla: ModuleType) -> None:
    x = draw(gla)
    kept = {name: array.copy() for name, array in x.items()}
    state = np.ones((2, 2, 8, 12), np.float32)
    first, final = gla.forward(**x, initial_state=state, output_final_state=True)
    copy = first.copy()
    second, _ = gla.forward(**{name: array * 0 for name, array in x.items()})
    assert not np.shares_memory(first, second) and not np.shares_memory(final, state)
    np.testing.assert_array_equal(first, copy)
    np.testing.assert_array_equal(state, 1)
    for name, array in x.items():
        np.testing.assert_array_equal(array, kept[name])


def test_out(gla: ModuleType) -> None:
    x = draw(gla)
    out = np.full((2, 37, 2, 12), np.nan, np.float32)
    o, _ = gla.forward(**x, out=out)
    assert o is out
    np.testing.assert_array_equal(out, gla.forward(**x)[0])


@pytest.mark.parametrize("threads", [1, 2, 3, 8, np.int64(2)])
def test_threads_do_not_change_the_answer(gla: ModuleType, threads: int) -> None:
    x = draw(gla, Shape(2, 130, 3, 3))
    o, _ = gla.forward(**x, threads=threads)
    np.testing.assert_array_equal(o, gla.forward(**x)[0])


def test_several_threads_may_call(gla: ModuleType) -> None:
    shapes = [Shape(1, 10 + 40 * i, 2, 2) for i in range(4)]
    inputs = [draw(gla, shape, seed) for seed, shape in enumerate(shapes)]
    wanted = [gla.forward(**x)[0] for x in inputs]
    wrong: List[Tuple[int, int]] = []

    def work(worker: int) -> None:
        for turn in range(25):
            i = (worker + turn) % len(inputs)
            o, _ = gla.forward(**inputs[i], threads=1)
            if not np.array_equal(o, wanted[i]):
                wrong.append((worker, turn))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.parametrize("dtype, bound", [("f16", 1e-3), ("bf16", 3.4e-3)])
def test_half_types(dtype: str, bound: float) -> None:
    if dtype == "bf16":
        pytest.importorskip("ml_dtypes")
    package = load("gla", dtype=dtype)
    x = draw(package, Shape(2, 70, 2, 4))
    o, final = package.forward(**x, output_final_state=True)
    wanted, state = reference("gla", x)
    assert o.dtype == x["q"].dtype and final.dtype == np.float32
    assert relative_error(o, wanted) < bound
    assert relative_error(final, state) < min(bound, 2e-3)


@pytest.mark.parametrize("gate", ["f16", "bf16"])
def test_half_gates(gate: str) -> None:
    pytest.importorskip("ml_dtypes")
    package = load("gla", gate_dtype=gate)
    x = draw(package)
    assert x["g"].dtype.itemsize == 2 and x["q"].dtype == np.float32
    o, _ = package.forward(**x)
    assert relative_error(o, reference("gla", x)[0]) < BOUND


def test_bfloat16_as_bits() -> None:
    pytest.importorskip("ml_dtypes")
    package = load("gla", dtype="bf16")
    x = draw(package)
    wanted, _ = package.forward(**x)
    bits = {name: x[name].view(np.uint16) for name in "qkv"}
    o, _ = package.forward(**bits, g=x["g"])
    assert o.dtype == np.uint16
    np.testing.assert_array_equal(o, wanted.view(np.uint16))


def test_a_scalar_gate_may_have_an_axis_of_its_own() -> None:
    package = load("simple-gla")
    x = draw(package)
    assert x["g"].shape == (2, 37, 2)
    o, _ = package.forward(**x)
    wanted, _ = reference("simple-gla", x)
    assert relative_error(o, wanted) < BOUND
    again, _ = package.forward(**{**x, "g": x["g"][..., None]})
    np.testing.assert_array_equal(again, o)


def test_absent_inputs_are_absent() -> None:
    package = load("linear-attention")
    assert list(inspect.signature(package.forward).parameters)[:4] == ["q", "k", "v", "scale"]
    x = draw(package)
    o, _ = package.forward(**x)
    assert relative_error(o, reference("linear-attention", x)[0]) < BOUND


def test_signature_and_help(gla: ModuleType) -> None:
    signature = inspect.signature(gla.forward)
    assert list(signature.parameters) == [
        *("q", "k", "v", "g", "scale", "initial_state", "output_final_state"),
        *("cu_seqlens", "threads", "snapshot_every", "out"),
    ]
    assert signature.parameters["scale"].default is None
    text = inspect.getdoc(gla.forward)
    assert text is not None
    assert "[B, T, query heads, 8] float32" in text and "1 / sqrt(8)" in text
    names = ["Runner", "Stepper", "backward", "forward", "manifest", "new_state", "states_every"]
    assert gla.__all__ == [*names, "step", "chunk_gla"]
    assert gla.__version__ == gla.manifest["sluice"]


def test_resets_are_exact(gla: ModuleType) -> None:
    x = draw(gla, Shape(1, 40, 2, 2))
    x["g"][:, 21] = -np.inf
    changed = {name: array.copy() for name, array in x.items()}
    for name in ("k", "v"):
        changed[name][:, :21] = 1e4
    o, final = gla.forward(**x, output_final_state=True)
    other, end = gla.forward(**changed, output_final_state=True)
    assert np.isfinite(o).all()
    assert relative_error(o, reference("gla", x)[0]) < BOUND
    assert relative_error(other[:, 21:], o[:, 21:].astype(np.float64)) < BOUND
    assert relative_error(end, final.astype(np.float64)) < BOUND


def test_calls_again_see_their_own_arrays(gla: ModuleType) -> None:
    """What a call keeps for the next one of its shapes is no array, and only what is alike is not checked again."""
    first, second = (list(draw(gla, seed=seed).values()) for seed in (1, 2))
    names = list(draw(gla))
    options = dict(output_final_state=True, threads=1)
    wanted = gla.forward(**dict(zip(names, second)), **options)
    kept = gla.forward(*first, **options)
    copies = [array.copy() for array in kept]
    for again in (second, [np.repeat(a, 2, axis=0)[::2] for a in second]):
        for got, want in zip(gla.forward(*again, **options), wanted):
            np.testing.assert_array_equal(got, want)
    for got, want in zip(kept, copies):
        np.testing.assert_array_equal(got, want)
    out = np.empty_like(wanted[0])
    assert gla.forward(*second, **options, out=out)[0] is out
    np.testing.assert_array_equal(out, wanted[0])
    assert gla.forward(*second, threads=1)[1] is None
    assert gla.forward(*second, output_final_state=False, threads=1)[1] is None
    state = gla.forward(*first, **options, initial_state=kept[1])[1]
    assert not np.array_equal(state, kept[1])
    np.testing.assert_array_equal(gla.forward(*second, **options)[1], wanted[1])
    one = gla.forward(*[a[:1] for a in second], **options)
    np.testing.assert_array_equal(one[0], wanted[0][:1])
    gla.forward(*second, **options)
    scaled, _ = gla.forward(*second, **options, scale=0.0)
    assert not scaled.any()
    gla.forward(*second, **options)
    with pytest.raises(TypeError, match="threads"):
        gla.forward(*second, output_final_state=True, threads=True)
    with pytest.raises(TypeError, match="q must be of type"):
        gla.forward(second[0].astype(np.float64), *second[1:], **options)
    inside = out.reshape(-1)[: second[2].size].reshape(second[2].shape)
    with pytest.raises(ValueError, match="shares memory"):
        gla.forward(*second[:2], inside, *second[3:], **options, out=out)
    with pytest.raises(TypeError, match="forward"):
        gla.forward(*second, **options, wrong=1)
