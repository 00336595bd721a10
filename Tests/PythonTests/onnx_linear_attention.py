"""ONNX's operator LinearAttention (opset 27), answered by packages.

The operator packs heads into the last axis, [B, T, heads * D]; a package takes them apart, as
[B, T, heads, D], so tensors are reshaped and never moved. Update rules and the recurrences behind:

    linear                               linear-attention
    gated, decay [B, T, heads * d_k]     gla
    gated, decay [B, T, heads]           simple-gla

The delta rules are refused. The gate is passed on in float32, of which every half type is a part.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

# From a recurrence, K, V and the type of its tensors ("f32", "bf16", "f16") to a package for them.
Load = Callable[[str, int, int, str], ModuleType]

_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def linear_attention(
    load: Load,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    past_state: Optional[np.ndarray] = None,
    decay: Optional[np.ndarray] = None,
    beta: Optional[np.ndarray] = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    update_rule: str = "gated_delta",
    scale: float = 0.0,
    chunk_size: int = 64,
) -> Tuple[np.ndarray, np.ndarray]:
    """The operator's outputs: output [B, T, q heads * d_v], present_state [B, kv heads, d_k, d_v].

    The state has past_state's type, or the query's when there is none. `chunk_size` is a hint that
    changes no answer; a package has its own plan.
    """
    if update_rule not in ("linear", "gated") or beta is not None:
        raise NotImplementedError(f"There is no kernel for the update rule {update_rule!r}.")
    if (decay is None) != (update_rule == "linear"):
        raise ValueError(f"The update rule {update_rule!r} does not go with this decay.")
    batch, length, _ = query.shape

    def unpack(packed: np.ndarray, heads: int) -> np.ndarray:
        if packed.shape[2] % heads != 0:
            raise ValueError(f"{packed.shape[2]} columns do not divide into {heads} heads.")
        return packed.reshape(batch, length, heads, packed.shape[2] // heads)

    q, k, v = unpack(query, q_num_heads), unpack(key, kv_num_heads), unpack(value, kv_num_heads)
    gate = {}
    recurrence = "linear-attention"
    if decay is not None:
        per_head = decay.shape[2] == kv_num_heads
        recurrence = "simple-gla" if per_head else "gla"
        gate["g"] = unpack(decay.astype(np.float32), kv_num_heads)
    package = load(recurrence, q.shape[-1], v.shape[-1], _TYPES[query.dtype.name])
    o, state = package.forward(
        q,
        k,
        v,
        **gate,
        scale=scale or None,
        initial_state=None if past_state is None else past_state.astype(np.float32),
        output_final_state=True,
    )
    state_type = query.dtype if past_state is None else past_state.dtype
    return o.reshape(batch, length, -1), state.astype(state_type)


def run_node(load: Load, node: Any, inputs: Sequence[np.ndarray]) -> Tuple[np.ndarray, ...]:
    """Runs a NodeProto; `inputs` are its present ones, in order."""
    from onnx import helper

    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if "update_rule" in attributes:
        attributes["update_rule"] = attributes["update_rule"].decode()
    remaining = iter(inputs)
    arguments: List[Any] = [next(remaining) if name else None for name in node.input]
    return linear_attention(load, *arguments, **attributes)
