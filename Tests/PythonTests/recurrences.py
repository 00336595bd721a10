"""The shipped recurrences in NumPy and float64, from their papers: what packages are held to.

They walk token by token over arrays [B, T, heads, D]; the heads of q may be a multiple of the rest.
Nothing is shared with the compiler.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

Arrays = Dict[str, np.ndarray]


class Step(NamedTuple):
    """A recurrence brought to per-token arrays; what is None is absent."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    key_log_decay: Optional[np.ndarray] = None
    value_log_decay: Optional[np.ndarray] = None
    state_log_decay: Optional[np.ndarray] = None
    """[B, T, heads, K, V]."""
    bonus: Optional[np.ndarray] = None
    """[heads, K]: the read-out then comes before the write."""
    skip: Optional[np.ndarray] = None
    """[B, T, heads, V], added to the output."""
    normalized: bool = False


def softplus(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(x, 0.0))


def _column(x: np.ndarray) -> np.ndarray:
    """A scalar a token or head as a vector of one: [..., heads] to [..., heads, 1]."""
    return x[..., None]


def _constant(log_decay: np.ndarray, k: np.ndarray) -> np.ndarray:
    """A log decay a head, repeated over rows and tokens."""
    return np.broadcast_to(_column(log_decay), (*k.shape[:3], 1))


def _linear(x: Arrays) -> Step:
    return Step(x["q"], x["k"], x["v"])


def _mamba2(x: Arrays) -> Step:
    step = _column(softplus(x["dt"] + x["dt_bias"]))
    decay = -np.exp(_column(x["A_log"])) * step
    return Step(x["q"], step * x["k"], x["v"], decay, skip=_column(x["D"]) * x["v"])


def _mamba(x: Arrays) -> Step:
    step = softplus(x["dt"] + x["dt_bias"])
    decay = x["A"] * step[..., None, :]
    return Step(x["q"], x["k"], step * x["v"], state_log_decay=decay, skip=x["D"] * x["v"])


_RECURRENCES: Dict[str, Callable[[Arrays], Step]] = {
    "linear-attention": _linear,
    "linear-attention-normalized": lambda x: _linear(x)._replace(normalized=True),
    "retnet": lambda x: Step(x["q"], x["k"], x["v"], _constant(x["g_gamma"], x["k"])),
    "lightning": lambda x: Step(x["q"], x["k"], x["v"], _constant(-x["slope"], x["k"])),
    "simple-gla": lambda x: Step(x["q"], x["k"], x["v"], _column(x["g"])),
    "mamba2": _mamba2,
    "gla": lambda x: Step(x["q"], x["k"], x["v"], x["g"]),
    "gla-logits": lambda x: Step(x["q"], x["k"], x["v"], -softplus(-x["g"]) / 16),
    "gla-decay": lambda x: Step(x["q"], x["k"], x["v"], np.log(x["alpha"])),
    "hgrn2": lambda x: Step(x["q"], -np.expm1(x["g"]), x["v"], x["g"]),
    "rwkv6": lambda x: Step(x["q"], x["k"], x["v"], -np.exp(x["w"]), bonus=x["u"]),
    "gated-outer": lambda x: Step(x["q"], x["k"], x["v"], x["g"], x["gv"]),
    "mamba": _mamba,
}

NAMES: List[str] = list(_RECURRENCES)


def _monomials(x: np.ndarray) -> np.ndarray:
    """Of a row of d features 1, all of them, and all products of two, for exp(x.y / sqrt(d))."""
    d = x.shape[-1]
    first, second = np.triu_indices(d)
    products = x[..., first] * x[..., second] * np.where(first == second, math.sqrt(0.5), 1.0)
    return np.concatenate([np.ones((*x.shape[:-1], 1)), x / d**0.25, products / d**0.5], axis=-1)


MAPS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))),
    "relu": lambda x: np.maximum(x, 0.0),
    "exp": lambda x: np.asarray(np.exp(x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "taylor2": _monomials,
}
_UNSCALED = ("mamba2", "mamba", "rwkv6")


def reference(
    name: str,
    inputs: Arrays,
    scale: Optional[float] = None,
    initial_state: Optional[np.ndarray] = None,
    cu_seqlens: Optional[Sequence[int]] = None,
) -> Tuple[np.ndarray, np.ndarray]:
    """The output [B, T, query heads, V] and final state [B or N, heads, K, V], in float64.

    With a normalizer the state has one more column, the running sum of k. A name may end in a map of q
    and k: ``gla-elu``.
    """
    base, _, ending = name.rpartition("-")
    if ending in MAPS:
        name = base
        mapped = {n: MAPS[ending](inputs[n].astype(np.float64)) for n in ("q", "k")}
        inputs = {**inputs, **mapped}
        if scale is None and ending == "taylor2":
            scale = 1.0
    with np.errstate(divide="ignore"):
        step = _RECURRENCES[name]({n: x.astype(np.float64) for n, x in inputs.items()})
    if cu_seqlens is None:
        return _walk(name, step, scale, initial_state)
    outputs, states = [], []
    for n, (start, end) in enumerate(zip(cu_seqlens[:-1], cu_seqlens[1:])):
        tokens: Dict[str, Any] = {
            field: x[:, start:end]
            for field, x in step._asdict().items()
            if isinstance(x, np.ndarray) and x.ndim > 2
        }
        part = step._replace(**tokens)
        state = None if initial_state is None else initial_state[n : n + 1]
        o, final = _walk(name, part, scale, state)
        outputs.append(o)
        states.append(final)
    return np.concatenate(outputs, axis=1), np.concatenate(states, axis=0)


def _walk(
    name: str, step: Step, scale: Optional[float], initial_state: Optional[np.ndarray]
) -> Tuple[np.ndarray, np.ndarray]:
    batch, length, query_heads, key = step.q.shape
    heads = step.v.shape[2]
    v = step.v
    if step.normalized:
        v = np.concatenate([v, np.ones((*v.shape[:3], 1))], axis=-1)
    if scale is None:
        scale = 1.0 if name in _UNSCALED else 1 / math.sqrt(key)
    state = np.zeros((batch, heads, key, v.shape[-1]))
    if initial_state is not None:
        state += initial_state
    o = np.zeros((batch, length, query_heads, v.shape[-1]))
    for t in range(length):
        write = step.k[:, t, :, :, None] * v[:, t, :, None, :]
        before = state
        if step.key_log_decay is not None:
            state = state * np.exp(step.key_log_decay[:, t])[..., :, None]
        if step.value_log_decay is not None:
            state = state * np.exp(step.value_log_decay[:, t])[..., None, :]
        if step.state_log_decay is not None:
            state = state * np.exp(step.state_log_decay[:, t])
        state = state + write
        read = state if step.bonus is None else before + step.bonus[..., None] * write
        read = np.repeat(read, query_heads // heads, axis=1)
        o[:, t] = scale * np.einsum("bhk,bhkv->bhv", step.q[:, t], read)
    if step.normalized:
        o = o[..., :-1] / np.maximum(np.abs(o[..., -1:]), 1e-6)
    if step.skip is not None:
        o = o + np.repeat(step.skip, query_heads // heads, axis=2)
    return o, state


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """RMS of the difference over RMS of what is wanted; zero for nothing at all."""
    difference = np.asarray(got, np.float64) - wanted
    if difference.size == 0:
        return 0.0
    scale = float(np.sqrt(np.mean(np.square(wanted))))
    return float(np.sqrt(np.mean(np.square(difference)))) / (scale or 1.0)
