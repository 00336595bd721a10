"""ONNX's LinearAttention: the operator's own node tests, and its reference implementation."""

from __future__ import annotations

import functools
import warnings
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
from draw import element_type
from onnx_linear_attention import linear_attention, run_node
from packages import load

pytest.importorskip("onnx", minversion="1.23")

RULES = ("linear", "gated")
# The node tests of these rules; the list is fixed so that a missing one is noticed.
NODE_TESTS = [
    "test_linear_attention_linear",
    "test_linear_attention_linear_t1_no_past",
    "test_linear_attention_gated",
    "test_linear_attention_gated_per_head_decay",
]


@functools.lru_cache(maxsize=None)
def node_tests() -> Dict[str, Any]:
    """The package's test cases of the update rules that have kernels, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases("LinearAttention")
    found = {}
    for case in cases:
        assert case.model is not None
        node = case.model.graph.node[0]
        rules = [a.s.decode() for a in node.attribute if a.name == "update_rule"]
        # The cases called `expanded` spell the operator out in other ones.
        if node.op_type == "LinearAttention" and rules and rules[0] in RULES:
            found[case.name] = case
    return found


def test_no_node_test_is_left_out() -> None:
    assert set(node_tests()) == set(NODE_TESTS)


@pytest.mark.parametrize("name", NODE_TESTS)
def test_node(name: str) -> None:
    case = node_tests()[name]
    for inputs, wanted in case.data_sets:
        outputs = run_node(load, case.model.graph.node[0], inputs)
        assert len(outputs) == len(wanted)
        for got, want in zip(outputs, wanted):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol)


# What the node tests try on the delta rules only.
CASES: List[Tuple[str, Dict[str, Any]]] = [
    ("grouped", dict(q_num_heads=8, kv_num_heads=4)),
    ("one head for all", dict(q_num_heads=8, kv_num_heads=1)),
    ("past state", dict(past=True)),
    ("decode", dict(past=True, length=1)),
    ("scale", dict(scale=0.25)),
    ("long", dict(length=130, past=True)),
    ("d_v", dict(d_k=8, d_v=12)),
    ("f16", dict(dtype="f16", q_num_heads=8)),
    ("f16, f32 state", dict(dtype="f16", past=True)),
    ("bf16", dict(dtype="bf16")),
]
DECAYS = [None, "head", "key"]


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_agrees_with_the_reference_implementation(case: Dict[str, Any], decay: str) -> None:
    if case.get("dtype") == "bf16":
        pytest.importorskip("ml_dtypes")
    inputs, attributes = _draw(decay=decay, **case)
    got = linear_attention(load, *inputs, **attributes)
    wanted = _reference(inputs, attributes)
    tolerance = {"f32": 1e-5, "f16": 2e-3, "bf16": 1.6e-2}[case.get("dtype", "f32")]
    for mine, theirs in zip(got, wanted):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        np.testing.assert_allclose(
            mine.astype(np.float64), theirs.astype(np.float64), rtol=tolerance, atol=tolerance
        )


def _draw(
    decay: Optional[str],
    length: int = 4,
    d_k: int = 8,
    d_v: int = 8,
    dtype: str = "f32",
    past: bool = False,
    q_num_heads: int = 4,
    kv_num_heads: int = 4,
    scale: float = 0.0,
) -> Tuple[List[Any], Dict[str, Any]]:
    rng = np.random.default_rng(0)
    element = element_type(dtype)
    batch = 2

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(element)

    columns = {None: 0, "head": kv_num_heads, "key": kv_num_heads * d_k}[decay]
    inputs = [
        normal(batch, length, q_num_heads * d_k),
        normal(batch, length, kv_num_heads * d_k),
        normal(batch, length, kv_num_heads * d_v),
        rng.standard_normal((batch, kv_num_heads, d_k, d_v), np.float32) if past else None,
        (-np.abs(normal(batch, length, columns)) * element.type(0.1)) if decay else None,
    ]
    return inputs, dict(
        q_num_heads=q_num_heads,
        kv_num_heads=kv_num_heads,
        update_rule="gated" if decay else "linear",
        scale=scale,
    )


def _reference(inputs: List[Any], attributes: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    """The reference implementation that the `onnx` package carries."""
    from onnx.reference.ops.op_linear_attention import LinearAttention

    operator: Any = LinearAttention.__new__(LinearAttention)
    output, state = operator._run(*inputs, **attributes)
    return output, state


def test_delta_rules_are_refused() -> None:
    inputs, attributes = _draw(decay="key")
    for rule in ("delta", "gated_delta"):
        with pytest.raises(NotImplementedError, match=rule):
            linear_attention(load, *inputs, **{**attributes, "update_rule": rule})
