"""The package's step as a PyTorch operator on CPU tensors.

    from gla.decode import step

    o = step(q, k, v, g, state)

``torch.ops.sluice.<kernel>_step`` says that it mutates its state and has a fake version, so
``torch.compile`` takes it without a graph break. It has no gradient: decoding needs none. This text is
the same in every package.
"""

from __future__ import annotations

from typing import Any, Optional

import torch

from ._library import kernel as _kernel
from ._step import step as _numpy_step
from ._tensors import array_of, check_tensor, tensor_of

__all__ = ["step"]

_NAMES = [entry.name for entry in _kernel.inputs]
_QUERY = next(i for i, entry in enumerate(_kernel.inputs) if entry.role == "query")


@torch.library.custom_op(
    f"sluice::{_kernel.name}_step",
    mutates_args=("state",),
    device_types="cpu",
    schema=f"({', '.join(f'Tensor {name}' for name in _NAMES)}, Tensor(a!) state, float scale, "
    "int threads) -> Tensor",
)
def _operator(*args: Any) -> torch.Tensor:
    inputs, (state, scale, threads) = args[: len(_NAMES)], args[len(_NAMES) :]
    usual = scale == _kernel.default_scale
    o = _numpy_step(
        *map(array_of, inputs),
        state.numpy(),
        scale=None if usual else scale,
        threads=threads or None,
    )
    return tensor_of(o, inputs[_QUERY].dtype)


@_operator.register_fake
def _(*args: Any) -> torch.Tensor:
    query = args[_QUERY]
    return query.new_empty((*query.shape[:-1], _kernel.value))


def step(
    *args: torch.Tensor,
    scale: Optional[float] = None,
    threads: Optional[int] = None,
    **tensors: torch.Tensor,
) -> torch.Tensor:
    """Computes one token of every sequence, and moves their states in place.

    Args:
        *args, **tensors: the inputs for T = 1 and then ``state``, in the package's order or by name;
            ``help`` of the package's own ``step`` has their shapes.
        state: [B, heads, K, V] float32 (V + 1 with a normalizer), contiguous: moved in place.
        scale: factor on o; None is the recurrence's own.
        threads: how many threads compute; None is a number that the states are worth.

    Returns:
        o, of q's axes with V values in the last.

    Raises:
        TypeError: a tensor is missing, unknown, no tensor, or of the wrong type.
        ValueError: a shape is wrong, a tensor is not on the CPU or asks for a gradient, or the state
            is not contiguous.
    """
    names = [*_NAMES, "state"]
    given = {**dict(zip(names, args)), **tensors}
    twice = set(names[: len(args)]) & set(tensors)
    if len(args) > len(names) or given.keys() != set(names) or twice:
        raise TypeError(f"step({', '.join(names)}): each tensor is needed, once.")
    for name, tensor in given.items():
        check_tensor(name, tensor)
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} asks for a gradient, and a step has none: call it under torch.no_grad()."
            )
    if not given["state"].is_contiguous():
        raise ValueError("state must be contiguous: it is moved in place.")
    return _operator(
        *(given[name] for name in names),
        _kernel.default_scale if scale is None else float(scale),
        threads or 0,
    )
