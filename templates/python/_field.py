"""The functions of flash-linear-attention (fla), answered by this package's kernel.

Replacing ``from fla.ops.gla import chunk_gla`` by ``from gla import chunk_gla`` is the whole change:
names, order and defaults of the arguments are those of fla 0.6. A package has the function that
computes its recurrence:

    gla                          chunk_gla
    simple-gla                   chunk_simple_gla
    retnet                       chunk_retention
    lightning                    chunk_lightning_attn
    linear-attention             chunk_linear_attn, with normalize=False
    linear-attention-normalized  chunk_linear_attn
    rwkv6                        chunk_rwkv6
    gated-outer                  fused_recurrent_gla

All arguments are NumPy arrays, or all are PyTorch's tensors; o and the state are then likewise. q, k
and v are of the type, K and V of the sizes, that the package was built for; gates, parameters and
states of another floating-point type are converted. Gates are natural logarithms, at most 0. Tensors
of any strides are taken; what is not dense is copied. On tensors all is differentiable where the
package has its gradient. ``cu_seqlens_cpu`` is for fla's launches and is not looked at.

This text is the same in every package.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from ._checks import USUAL
from ._library import Kernel, kernel

__all__ = ["function_of"]

Result = Tuple[Any, Optional[Any]]

# The least normal float: a log decay of this size is none.
_TINY = float(np.finfo(np.float32).tiny)


def chunk_gla(
    q: Any, k: Any, v: Any, g: Any, scale: Optional[float] = None, initial_state: Any = None,
    output_final_state: bool = False, state_v_first: bool = False, cu_seqlens: Any = None,
    cu_seqlens_cpu: Any = None,
) -> Result:
    """Gated linear attention with a decay per key.

    Args:
        q, k: [B, T, heads, K].
        v: [B, T, heads, V].
        g: [B, T, heads, K], log decay, at most 0.
        scale: factor on o; None is 1 / sqrt(K).
        initial_state: [B or N, heads, K, V]; None is zero.
        output_final_state: whether to return the state after the last token.
        state_v_first: whether states are [.., V, K] instead.
        cu_seqlens: [N + 1] int32 or int64: where each of N sequences, packed along T with B = 1,
            begins, and where the last one ends.

    Returns:
        o, [B, T, heads, V], and the final state, float32, or None.
    """
    return _run(
        dict(q=q, k=k, v=v, g=g), scale, initial_state, output_final_state, cu_seqlens, state_v_first
    )


def chunk_simple_gla(
    q: Any, k: Any, v: Any, g: Any = None, g_gamma: Any = None, scale: Optional[float] = None,
    initial_state: Any = None, output_final_state: bool = False, state_v_first: bool = False,
    cu_seqlens: Any = None, cu_seqlens_cpu: Any = None,
) -> Result:
    """Linear attention with one decay a token and head; ``chunk_gla`` has the other arguments.

    Args:
        g: [B, T, heads], log decay, at most 0; None is 0.
        g_gamma: [heads], a constant log decay, added to g; None is 0.
    """
    if g is None:
        g = _zeros(k[..., 0])
    if g_gamma is not None:
        g = g + g_gamma
    return _run(
        dict(q=q, k=k, v=v, g=g), scale, initial_state, output_final_state, cu_seqlens, state_v_first
    )


def chunk_retention(
    q: Any, k: Any, v: Any, scale: Optional[float] = None, initial_state: Any = None,
    output_final_state: bool = False, cu_seqlens: Any = None,
) -> Result:
    """RetNet's retention: head h decays by 1 - 2^(-5 - h) a token; arguments as ``chunk_gla``'s.

    Other decays: ``forward`` takes them as ``g_gamma``.
    """
    gamma = np.log1p(-np.exp2(-5.0 - np.arange(k.shape[2])))
    inputs = dict(q=q, k=k, v=v, g_gamma=_like(k, gamma))
    return _run(inputs, scale, initial_state, output_final_state, cu_seqlens)


def chunk_lightning_attn(
    q: Any, k: Any, v: Any, layer_idx: int, num_layers: int, scale: Optional[float] = None,
    initial_state: Any = None, output_final_state: bool = False, cu_seqlens: Any = None,
) -> Result:
    """Lightning attention; the other arguments are ``chunk_gla``'s.

    Args:
        layer_idx, num_layers: head h of H decays by exp(-8 h / H (1 - layer_idx / num_layers)).
            Other decays: ``forward`` takes them as ``slope``.
    """
    heads = k.shape[2]
    slope = 8 / heads * (1 - layer_idx / num_layers) * np.arange(heads)
    inputs = dict(q=q, k=k, v=v, slope=_like(k, slope))
    return _run(inputs, scale, initial_state, output_final_state, cu_seqlens)


def chunk_linear_attn(
    q: Any, k: Any, v: Any, scale: Optional[float] = None, initial_state: Any = None,
    output_final_state: bool = False, normalize: bool = True, cu_seqlens: Any = None,
) -> Result:
    """Linear attention; the other arguments are ``chunk_gla``'s.

    Args:
        normalize: whether o is divided by the sum of its scores, which is what the recurrence
            linear-attention-normalized computes, and linear-attention does not. States are then a
            pair: [B or N, heads, K, V] and the sum of the keys, [B or N, 1, heads, K], which is
            zero where only the first is given.

    Raises:
        ValueError: the package computes the other kind.
    """
    has_sum = kernel.state_columns > kernel.value
    if bool(normalize) != has_sum:
        wanted = "linear-attention-normalized" if normalize else "linear-attention"
        raise ValueError(
            f"This package does {'' if has_sum else 'not '}normalize, and normalize is {normalize}: "
            f"give the other, or build {wanted}."
        )
    inputs = dict(q=q, k=k, v=v)
    if not has_sum:
        return _run(inputs, scale, initial_state, output_final_state, cu_seqlens)
    if initial_state is not None:
        state, sums = initial_state if isinstance(initial_state, tuple) else (initial_state, None)
        if sums is None:
            column = _zeros(state[..., :1])
        else:
            column = sums.swapaxes(-3, -2).swapaxes(-2, -1)
        initial_state = _joined(state, column)
    o, state = _run(inputs, scale, initial_state, output_final_state, cu_seqlens)
    if state is None:
        return o, None
    return o, (state[..., :-1], state[..., -1:].swapaxes(-2, -1).swapaxes(-3, -2))


def chunk_rwkv6(
    r: Any, k: Any, v: Any, w: Any, u: Any, scale: Optional[float] = None, initial_state: Any = None,
    output_final_state: bool = False, cu_seqlens: Any = None, cu_seqlens_cpu: Any = None,
) -> Result:
    """RWKV-6, which reads before it writes; the other arguments are ``chunk_gla``'s.

    Args:
        r: [B, T, heads, K], receptance.
        w: [B, T, heads, K], log decay, at most 0. ``forward`` takes the logarithm of -w instead, as
            models have it, and so saves the exponential and the logarithm.
        u: [heads, K], weight of the present token.
    """
    if _is_tensor(w):
        w = (-_converted(w, kernel.state_element)).clamp(min=_TINY).log()
    else:
        w = np.log(np.maximum(-np.asarray(w, kernel.state_type), _TINY))
    inputs = dict(q=r, k=k, v=v, w=w, u=u)
    return _run(inputs, scale, initial_state, output_final_state, cu_seqlens)


def fused_recurrent_gla(
    q: Any, k: Any, v: Any, gk: Any = None, gv: Any = None, scale: Optional[float] = None,
    initial_state: Any = None, output_final_state: bool = False, reverse: bool = False,
    state_v_first: bool = False, cu_seqlens: Any = None,
) -> Result:
    """Gated linear attention with a decay per key and one per value; else as ``chunk_gla``.

    Args:
        gk: [B, T, heads, K], log decay of the state's rows, at most 0; None is 0.
        gv: [B, T, heads, V], log decay of its columns, likewise.
        reverse: whether the sequence runs from its last token to its first; not with cu_seqlens.
    """
    tensors = dict(
        q=q, k=k, v=v, g=_zeros(k) if gk is None else gk, gv=_zeros(v) if gv is None else gv
    )
    if reverse:
        if cu_seqlens is not None:
            raise ValueError("reverse=True does not go with cu_seqlens: flip each sequence yourself.")
        tensors = {name: _flipped(x) for name, x in tensors.items()}
    o, state = _run(
        tensors, scale, initial_state, output_final_state, cu_seqlens, state_v_first
    )
    return (_flipped(o) if reverse else o), state


# By recurrence: the function, and the inputs that it was written for.
_FUNCTIONS: Dict[str, Tuple[Callable[..., Result], Tuple[str, ...]]] = {
    "gla": (chunk_gla, ("q", "k", "v", "g")),
    "simple-gla": (chunk_simple_gla, ("q", "k", "v", "g")),
    "retnet": (chunk_retention, ("q", "k", "v", "g_gamma")),
    "lightning": (chunk_lightning_attn, ("q", "k", "v", "slope")),
    "linear-attention": (chunk_linear_attn, ("q", "k", "v")),
    "linear-attention-normalized": (chunk_linear_attn, ("q", "k", "v")),
    "rwkv6": (chunk_rwkv6, ("q", "k", "v", "w", "u")),
    "gated-outer": (fused_recurrent_gla, ("q", "k", "v", "g", "gv")),
}


def function_of(kernel: Kernel) -> Optional[Callable[..., Result]]:
    """The field's function for this recurrence; None where there is none."""
    name = str(kernel.manifest["recurrence"].get("name"))
    function, inputs = _FUNCTIONS.get(name, (None, ()))
    return function if sorted(inputs) == sorted(entry.name for entry in kernel.inputs) else None


def _run(
    inputs: Dict[str, Any], scale: Any, initial_state: Any, output_final_state: bool,
    cu_seqlens: Any, state_v_first: bool = False,
) -> Result:
    """Calls the kernel on what the arrays are: NumPy's, PyTorch's on the CPU or on a card."""
    forward = _forward_for(inputs["q"])
    for entry in kernel.inputs:
        if entry.role in ("gate", "parameter"):
            inputs[entry.name] = _converted(inputs[entry.name], entry.element)
    if initial_state is not None:
        initial_state = _converted(initial_state, kernel.state_element)
        if state_v_first:
            initial_state = initial_state.swapaxes(-2, -1)
    o, state = forward(
        **inputs,
        scale=1 / math.sqrt(kernel.key) if scale is None else scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
    )
    return o, state.swapaxes(-2, -1) if state_v_first and state is not None else state


# By module: its `forward`. An import statement takes longer than all else here.
_forwards: Dict[str, Callable[..., Result]] = {}
_is_for_card = kernel.is_for_card


def _forward_for(query: Any) -> Callable[..., Result]:
    module = "cuda" if _is_for_card else "autograd" if _is_tensor(query) else "_forward"
    if module in _forwards:
        return _forwards[module]
    if module == "cuda":
        from .cuda import forward
    elif module == "autograd":
        from .autograd import forward
    else:
        from ._forward import forward
    _forwards[module] = forward
    return forward


# ---- What NumPy and PyTorch say differently ----

# PyTorch's types, from when its first tensor comes.
_types: Dict[str, Any] = {}


def _is_tensor(x: Any) -> bool:
    """Whether it is PyTorch's; asks nothing of a program that never imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _like(other: Any, array: np.ndarray) -> Any:
    """The numbers, in the type of parameters, where `other` lies."""
    array = array.astype(kernel.state_type)
    return sys.modules["torch"].from_numpy(array).to(other.device) if _is_tensor(other) else array


def _zeros(other: Any) -> Any:
    if _is_tensor(other):
        return sys.modules["torch"].zeros(other.shape, device=other.device)
    return np.zeros(other.shape, kernel.state_type)


def _flipped(x: Any) -> Any:
    return x.flip(1) if _is_tensor(x) else x[:, ::-1]


def _joined(state: Any, column: Any) -> Any:
    if _is_tensor(state):
        return sys.modules["torch"].cat([state, column.to(state.dtype)], -1)
    return np.concatenate([state, column], -1)


def _converted(x: Any, element: str) -> Any:
    """Floating-point numbers in the element type; anything else as it is, for the call to refuse."""
    if _is_tensor(x):
        if not _types:
            from ._tensors import TYPES

            _types.update(TYPES)
        wanted = _types[element]
        return x if x.dtype is wanted or not x.is_floating_point() else x.to(wanted)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and element != "bf16":
        return x.astype(USUAL[element], copy=False)
    return x
