"""The kernel of this package on PyTorch's CUDA tensors; ``forward`` of the package is this one.

    import gla

    o, final_state = gla.forward(q, k, v, g, output_final_state=True)
    o.sum().backward()          # where the package was built with its gradient
    o = gla.step(q, k, v, g, state)

Inputs are [B, T, heads, size] (parameters [heads, size]) on one card, of the types that the package
was built for; ``help(gla.forward)`` lists them. A call puts kernels on the current stream of that card
and returns; memory comes from PyTorch, so it may be captured into a CUDA graph (after a first one
outside, which loads the kernels). Under ``torch.compile`` it goes through the operator of
``autograd.py``. This text is the same in every package for a card.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

import torch

from ._calls import forward_again, run_backward, run_forward, run_step, zero_output
from ._card import NAMES as _NAMES
from ._card import QUERY as _QUERY
from ._checks import check_scale
from ._library import kernel as _kernel
from ._tensors import TYPES as _TYPES

__all__ = ["backward", "forward", "step"]


def _bound(entry: str, args: Tuple[Any, ...], named: Dict[str, Any]) -> Sequence[Any]:
    """The inputs in their order."""
    if len(args) + len(named) == len(_NAMES):
        if not named:
            return args
        try:
            return (*args, *[named[name] for name in _NAMES[len(args) :]])
        except KeyError:
            pass
    given = dict(zip(_NAMES, args))
    missing = [name for name in _NAMES if name not in given and name not in named]
    surplus = [name for name in named if name in given or name not in _NAMES]
    if missing or surplus or len(args) > len(_NAMES):
        problem = (
            f"{missing[0]} is missing" if missing
            else f"{surplus[0]} is unknown, or given twice" if surplus
            else f"{len(args)} tensors were given"
        )
        raise TypeError(f"{entry}({', '.join(_NAMES)}, ...): {problem}.")
    given.update(named)
    return [given[name] for name in _NAMES]


class _Differentiable(torch.autograd.Function):
    """What the operator does, for a fraction of its dispatch."""

    @staticmethod
    def forward(ctx: Any, scale: Any, offsets: Any, wants_state: bool, state: Any, *inputs: Any) -> Any:
        ctx.scale, ctx.offsets, ctx.has_state = scale, offsets, state is not None
        ctx.save_for_backward(*inputs, *([] if state is None else [state]))
        ctx.set_materialize_grads(False)
        return run_forward(inputs, scale, state, offsets, wants_state)

    @staticmethod
    def backward(ctx: Any, *adjoints: Any) -> Any:
        # What says that there is no second derivative costs as much as the first one's launch.
        return (_gradient_once if torch.is_grad_enabled() else _gradient)(ctx, *adjoints)


def _gradient(ctx: Any, d_o: Any, d_final_state: Any) -> Any:
    tensors = ctx.saved_tensors
    inputs, state = tensors[: len(_NAMES)], tensors[-1] if ctx.has_state else None
    if d_o is None:
        d_o = zero_output(inputs, ctx.scale, state, ctx.offsets)
    adjoints, d_state = run_backward(
        d_o, d_final_state, inputs, ctx.scale, state, ctx.offsets, wants_initial=ctx.has_state
    )
    return None, None, None, d_state, *adjoints


_gradient_once = torch.autograd.function.once_differentiable(_gradient)


def forward(
    *args: torch.Tensor,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Optional[torch.Tensor] = None,
    **named: torch.Tensor,
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    inputs = _bound("forward", args, named)
    is_compiling = torch.compiler.is_compiling()
    if not is_compiling:
        found = forward_again(
            inputs, scale, initial_state, cu_seqlens, output_final_state, sees_to_gradients=False
        )
        if found is not None:
            return found
    wants_gradient = False
    if torch.is_grad_enabled():
        for tensor in (*inputs, initial_state):
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                wants_gradient = True
    if wants_gradient and not _kernel.has_gradient:
        raise ValueError(
            "An input requires a gradient, and this kernel has none: build the package with "
            "'sluice build ... --backward', or call it under torch.no_grad()."
        )
    if is_compiling:
        scale = check_scale(scale, _kernel.default_scale)
        o, final = _operator(*inputs, scale, initial_state, cu_seqlens, 0)
        return o, final if output_final_state else None
    if wants_gradient:
        return _Differentiable.apply(
            scale, cu_seqlens, output_final_state, initial_state, *inputs
        )
    return run_forward(inputs, scale, initial_state, cu_seqlens, output_final_state)


def backward(
    *args: torch.Tensor,
    d_o: torch.Tensor,
    d_final_state: Optional[torch.Tensor] = None,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    cu_seqlens: Optional[torch.Tensor] = None,
    **named: torch.Tensor,
) -> Dict[str, torch.Tensor]:
    """Computes the adjoints of a forward call's inputs from those of its results.

    Args:
        *args, **named: the inputs of ``forward``, in its order or by name.
        d_o: adjoint of o, of its shape and type.
        d_final_state: adjoint of the final state, of its shape, float32; None is zero.
        scale, initial_state, cu_seqlens: as in the forward call.

    Returns:
        The adjoints by input, each of its input's shape and type; and under ``initial_state`` that of
        the state before the first token, float32. A log decay of -inf has the adjoint 0.
    """
    inputs = _bound("backward", args, named)
    adjoints, d_initial = run_backward(
        d_o, d_final_state, inputs, scale, initial_state, cu_seqlens
    )
    found = dict(zip(_NAMES, adjoints))
    found["initial_state"] = d_initial
    return found


def step(*args: torch.Tensor, scale: Optional[float] = None) -> torch.Tensor:
    """One token of every sequence: o, [B, 1, query heads, V]; the states are moved in place.

    Args:
        *args: the inputs of ``forward`` in its order, with T = 1, and last the states,
            [B, heads, K, V] float32 and dense, before the token; after the call those after it.
        scale: as in the forward call.
    """
    if not _kernel.has_step:
        raise RuntimeError(f"{_kernel.name} has no step: build the package without --no-step.")
    if len(args) != len(_NAMES) + 1:
        raise TypeError(f"step({', '.join(_NAMES)}, state): {len(args)} tensors were given.")
    if torch.compiler.is_compiling():
        return _step_operator(*args, check_scale(scale, _kernel.default_scale))
    return run_step(*args, scale)


# What torch.compile sees of a step. (torch.compiler.disable would load all of the compiler, which takes
# seconds, with every package.)
_step_operator = torch.library.custom_op(
    f"sluice::{_kernel.name}_step",
    run_step,
    mutates_args=("state",),
    device_types="cuda",
    schema=f"({', '.join(f'Tensor {name}' for name in _NAMES)}, Tensor(a!) state, float scale) -> Tensor",
)


@_step_operator.register_fake
def _(*args: Any) -> torch.Tensor:
    query = args[_QUERY]
    return query.new_empty((*query.shape[:3], _kernel.value))


_ROWS = "\n".join(
    f"    {entry.name}: [{', '.join([*entry.leading, *map(str, entry.row)])}] {_TYPES[entry.element]}: "
    f"{entry.summary}."
    for entry in _kernel.inputs
)
forward.__doc__ = f"""Computes {_kernel.summary} on a CUDA card.

Args:
{_ROWS}
    scale: factor on the output; None is {_kernel.default_scale:.6g}.
    initial_state: [B or N, heads, {_kernel.key}, {_kernel.state_columns}] float32; None is zero.
    output_final_state: whether to return the state after the last token.
    cu_seqlens: [N + 1] where each of N sequences packed along T with B = 1 begins, and where the last
        one ends. Its values lie on the card and are not looked at: they must rise from 0 to T.

Returns:
    o, [B, T, query heads, {_kernel.value}], and the final state or None.
"""

from .autograd import _operator  # noqa: E402  (which runs what stands above)
