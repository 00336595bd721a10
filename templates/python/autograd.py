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
    schema=f"({_INPUTS}, {_COMMON}) -> (Tensor, Tensor)",
)
def _operator(*args: Any) -> Tuple[torch.Tensor, torch.Tensor]:
    inputs, rest = args[: len(_NAMES)], args[len(_NAMES) :]
    if _DEVICE == "cuda":
        return _card_forward(inputs, *rest[:-1], True)
    _workers.sleep()
    arrays = dict(zip(_NAMES, map(array_of, inputs)))
    o, state = _numpy_forward(**arrays, **_options(*rest), output_final_state=True)
    return tensor_of(o, inputs[_QUERY].dtype), torch.from_numpy(state)


@_operator.register_fake
def _(*args: Any) -> Tuple[torch.Tensor, torch.Tensor]:
    query, other, offsets = args[_QUERY], args[_HEADS], args[len(_NAMES) + 2]
    heads = other.shape[0] if _kernel.inputs[_HEADS].role == "parameter" else other.shape[2]
    rows = query.shape[0] if offsets is None else offsets.shape[0] - 1
    state = (rows, heads, _kernel.key, _kernel.state_columns)
    return (
        query.new_empty((*query.shape[:3], _kernel.value)),
        query.new_empty(state, dtype=TYPES[_kernel.state_element]),
    )


def _gradient_of(d_o: torch.Tensor, d_final_state: torch.Tensor, *args: Any) -> List[torch.Tensor]:
    inputs, rest = args[: len(_NAMES)], args[len(_NAMES) :]
    if _DEVICE == "cuda":
        return _card_backward(d_o, d_final_state, inputs, *rest[:-1])
    _workers.sleep()
    arrays = dict(zip(_NAMES, map(array_of, inputs)))
    adjoints = _numpy_backward(
        **arrays, **_options(*rest), d_o=array_of(d_o), d_final_state=array_of(d_final_state)
    )
    return [tensor_of(adjoints[name], tensor.dtype) for name, tensor in zip(_NAMES, inputs)] + [
        torch.from_numpy(adjoints["initial_state"])
    ]


def _gradient_shapes(
    d_o: torch.Tensor, d_final_state: torch.Tensor, *args: Any
) -> List[torch.Tensor]:
    inputs = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in args[: len(_NAMES)]]
    state = d_final_state
    return [*inputs, torch.empty(state.shape, dtype=state.dtype, device=state.device)]


def _save(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
    tensors, (scale, state, offsets, threads) = inputs[: len(_NAMES)], inputs[len(_NAMES) :]
    ctx.save_for_backward(*tensors, state, offsets)
    ctx.scale, ctx.threads = scale, threads


def _differentiate(ctx: Any, d_o: torch.Tensor, d_final_state: torch.Tensor) -> Tuple[Any, ...]:
    *tensors, state, offsets = ctx.saved_tensors
    adjoints = _gradient(d_o, d_final_state, *tensors, ctx.scale, state, offsets, ctx.threads)
    d_state = adjoints[-1] if state is not None else None
    return (*adjoints[:-1], None, d_state, None, None)


if _kernel.has_gradient:
    _gradient = torch.library.custom_op(
        f"sluice::{_kernel.name}_backward",
        _gradient_of,
        mutates_args=(),
        device_types=_DEVICE,
        schema=f"(Tensor d_o, Tensor d_final_state, {_INPUTS}, {_COMMON}) -> Tensor[]",
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
    o, state = _operator(
        *tensors,
        _kernel.default_scale if scale is None else float(scale),
        initial_state,
        cu_seqlens,
        threads or 0,
    )
    return o, state if output_final_state else None
