"""The kernel of this package as a PyTorch operator; with its gradient, if it has one.

    from gla.autograd import forward

    o, final_state = forward(q, k, v, g, output_final_state=True)
    o.sum().backward()

The arguments are those of the package's ``forward``; tensors may be of any strides, and bfloat16 where
the package is. The operators are ``torch.ops.sluice.<kernel>`` and ``..._backward``, or only
``..._forward`` in a package without its gradient: they have fake versions, so ``torch.compile`` takes
them without a graph break. They take tensors on the CPU, or on a card where the package is for one.
This text is the same in every package.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch

from ._backward import backward as _numpy_backward
from ._forward import forward as _numpy_forward
from ._library import kernel as _kernel
from ._tensors import TYPES, array_of, check_tensor, tensor_of

_DEVICE = "cuda" if _kernel.is_for_card else "cpu"
if _DEVICE == "cuda":
    from .cuda import run_backward as _card_backward
    from .cuda import run_forward as _card_forward

__all__ = ["forward"]

_NAMES = [entry.name for entry in _kernel.inputs]
_COMMON = "float scale, Tensor? initial_state, Tensor? cu_seqlens, int threads"
_INPUTS = ", ".join(f"Tensor {name}" for name in _NAMES)
# Where the gradient takes the forward call's states, the operator gives them when asked to, else an
# empty tensor in their place.
_SAVES = _kernel.states_every is not None
_QUERY = next(i for i, entry in enumerate(_kernel.inputs) if entry.role == "query")
_HEADS = next((i for i, entry in enumerate(_kernel.inputs) if entry.role != "query"), _QUERY)


def _options(scale: float, state: Any, offsets: Any, threads: int) -> Dict[str, Any]:
    return {
        "scale": scale,
        "initial_state": array_of(state),
        "cu_seqlens": array_of(offsets),
        "threads": threads or None,
    }


class _Workers(threading.local):
    """The OpenMP workers of this thread's calls, which PyTorch's own are waiting for to leave the cores.

    The package's runtime (LLVM's) lets them spin for 200 ms after a call; here PyTorch's threads come next.
    What the environment says of it stands.
    """

    asleep = bool(os.environ.get("OMP_WAIT_POLICY") or os.environ.get("KMP_BLOCKTIME"))

    def sleep(self) -> None:
        """Has them sleep as soon as a call is done."""
        if not self.asleep:
            self.asleep = True
            set_blocktime = getattr(_kernel.library, "kmp_set_blocktime", None)
            if set_blocktime is not None:
                set_blocktime(0)


_workers = _Workers()


@torch.library.custom_op(
    # Without a gradient it has a name of its own: it must not stand in the place of the one with.
    f"sluice::{_kernel.name}" + ("" if _kernel.has_gradient else "_forward"),
    mutates_args=(),
    device_types=_DEVICE,
    schema=f"({_INPUTS}, {_COMMON}, bool keep_states) -> (Tensor, Tensor, Tensor)"
    if _SAVES
    else f"({_INPUTS}, {_COMMON}) -> (Tensor, Tensor)",
)
def _operator(*args: Any) -> Tuple[torch.Tensor, ...]:
    inputs, rest = args[: len(_NAMES)], args[len(_NAMES) :]
    if _DEVICE == "cuda":
        return _card_forward(inputs, *rest[:-1], True)
    _workers.sleep()
    given = dict(zip(_NAMES, map(array_of, inputs)), **_options(*rest[:4]), output_final_state=True)
    if _SAVES and rest[4]:
        given["snapshot_every"] = _kernel.states_every
    o, *states = _numpy_forward(**given)
    if _SAVES and not rest[4]:
        states.append(np.empty(0, _kernel.state_type))
    return (tensor_of(o, inputs[_QUERY].dtype), *map(torch.from_numpy, states))


def _state_shape(*args: Any) -> Tuple[Any, ...]:
    query, other, offsets = args[_QUERY], args[_HEADS], args[len(_NAMES) + 2]
    heads = other.shape[0] if _kernel.inputs[_HEADS].role == "parameter" else other.shape[2]
    rows = query.shape[0] if offsets is None else offsets.shape[0] - 1
    return (rows, heads, _kernel.key, _kernel.state_columns)


@_operator.register_fake
def _(*args: Any) -> Tuple[torch.Tensor, ...]:
    query, state = args[_QUERY], _state_shape(*args)
    results = [
        query.new_empty((*query.shape[:3], _kernel.value)),
        query.new_empty(state, dtype=TYPES[_kernel.state_element]),
    ]
    if _SAVES:
        chunks = query.shape[1] // _kernel.states_every
        shape = (query.shape[0], chunks, *state[1:]) if args[-1] else (0,)
        results.append(query.new_empty(shape, dtype=TYPES[_kernel.state_element]))
    return tuple(results)


def _gradient_of(
    d_o: torch.Tensor, d_final_state: Optional[torch.Tensor], *args: Any
) -> List[torch.Tensor]:
    inputs, rest = args[: len(_NAMES)], args[len(_NAMES) :]
    if _DEVICE == "cuda":
        adjoints, d_initial = _card_backward(d_o, d_final_state, inputs, *rest[:-1])
        return [*adjoints, d_initial]
    _workers.sleep()
    arrays = dict(zip(_NAMES, map(array_of, inputs)))
    if _SAVES:
        arrays["states"] = array_of(rest[4])
    adjoints = _numpy_backward(
        **arrays, **_options(*rest[:4]), d_o=array_of(d_o), d_final_state=array_of(d_final_state)
    )
    return [tensor_of(adjoints[name], tensor.dtype) for name, tensor in zip(_NAMES, inputs)] + [
        torch.from_numpy(adjoints["initial_state"])
    ]


def _gradient_shapes(
    d_o: torch.Tensor, d_final_state: Optional[torch.Tensor], *args: Any
) -> List[torch.Tensor]:
    inputs = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in args[: len(_NAMES)]]
    return [*inputs, d_o.new_empty(_state_shape(*args), dtype=TYPES[_kernel.state_element])]


def _save(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
    tensors, (scale, state, offsets, threads) = inputs[: len(_NAMES)], inputs[len(_NAMES) :][:4]
    states = output[2] if _SAVES and inputs[-1] else None
    ctx.save_for_backward(*tensors, state, offsets, states)
    ctx.scale, ctx.threads = scale, threads
    # Adjoints of what nobody reads would be zeros, of the states as many as they are.
    ctx.set_materialize_grads(False)
    ctx.o_shape = output[0].shape


def _differentiate(ctx: Any, *adjoints: Optional[torch.Tensor]) -> Tuple[Any, ...]:
    *tensors, state, offsets, states = ctx.saved_tensors
    d_o, d_final_state = adjoints[:2]
    if d_o is None:
        d_o = tensors[_QUERY].new_zeros(ctx.o_shape)
    common = (ctx.scale, state, offsets, ctx.threads)
    found = _gradient(d_o, d_final_state, *tensors, *common, *([states] if _SAVES else []))
    d_state = found[-1] if state is not None else None
    return (*found[:-1], None, d_state, None, None, *([None] if _SAVES else []))


if _kernel.has_gradient:
    _gradient = torch.library.custom_op(
        f"sluice::{_kernel.name}_backward",
        _gradient_of,
        mutates_args=(),
        device_types=_DEVICE,
        schema=f"(Tensor d_o, Tensor? d_final_state, {_INPUTS}, {_COMMON}"
        + (", Tensor? states) -> Tensor[]" if _SAVES else ") -> Tensor[]"),
    )
    _gradient.register_fake(_gradient_shapes)
    _operator.register_autograd(_differentiate, setup_context=_save)


def forward(
    *args: torch.Tensor,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Optional[torch.Tensor] = None,
    threads: Optional[int] = None,
    **inputs: torch.Tensor,
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """Computes o and, when asked for, the final state; differentiable in all tensors but cu_seqlens
    where the package has its gradient.

    Args:
        *args, **inputs: the inputs in the package's order, or by name; ``help`` of the package's own
            ``forward`` has their shapes.
        scale: factor on o; None is the recurrence's own.
        initial_state: [B or N, heads, K, V], float32 (float64 in a package of float64); None is zero.
        cu_seqlens: [N + 1] int32 or int64: N sequences packed along T, with B = 1.
        threads: how many threads compute; None is the plan's number.

    Raises:
        TypeError: an input is missing, unknown, no tensor, or of the wrong type.
        ValueError: a shape or value is wrong, a tensor is on another device than the package's, or one
            asks for a gradient that the package does not have.
    """
    given = {**dict(zip(_NAMES, args)), **inputs}
    twice = set(_NAMES[: len(args)]) & set(inputs)
    if len(args) > len(_NAMES) or given.keys() != set(_NAMES) or twice:
        raise TypeError(f"forward({', '.join(_NAMES)}): each input is needed, once.")
    for entry in _kernel.inputs:
        check_tensor(entry.name, given[entry.name], entry.element, _DEVICE)
    if initial_state is not None:
        check_tensor("initial_state", initial_state, _kernel.state_element, _DEVICE)
    if cu_seqlens is not None:
        check_tensor("cu_seqlens", cu_seqlens, device=_DEVICE)
    if torch.is_grad_enabled() and not _kernel.has_gradient:
        for name, tensor in [*given.items(), ("initial_state", initial_state)]:
            if tensor is not None and tensor.requires_grad:
                raise ValueError(
                    f"{name} asks for a gradient, and this package has none: build it with "
                    "'sluice build ... --backward', or call it under torch.no_grad()."
                )
    tensors = [given[name] for name in _NAMES]
    options: List[Any] = [initial_state, cu_seqlens, threads or 0]
    if _SAVES:
        asks = [x.requires_grad for x in (*tensors, initial_state) if x is not None]
        options.append(torch.is_grad_enabled() and any(asks))
    o, state, *_ = _operator(
        *tensors, _kernel.default_scale if scale is None else float(scale), *options
    )
    return o, state if output_final_state else None
