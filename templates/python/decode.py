"""The package's step as a PyTorch operator on CPU tensors.

    from gla.decode import step

    o = step(q, k, v, g, state)

    stepper = Stepper(q, k, v, g, state)    # the tensors bound once; a call costs little more than the
    q.copy_(...); ...                       # kernel
    o = stepper()

``torch.ops.sluice.<kernel>_step`` says that it mutates its state and has a fake version, so
``torch.compile`` takes it without a graph break. It has no gradient: decoding needs none. This text is
the same in every package.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import torch

from ._library import kernel as _kernel
from ._step import Stepper as _NumpyStepper
from ._step import step as _numpy_step
from ._tensors import array_of, check_tensor, tensor_of

__all__ = ["Stepper", "step"]

_NAMES = [entry.name for entry in _kernel.inputs]
_TENSORS = [*_NAMES, "state"]
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
    given = _given(args, tensors)
    if not given[-1].is_contiguous():
        raise ValueError("state must be contiguous: it is moved in place.")
    return _operator(
        *given, _kernel.default_scale if scale is None else float(scale), threads or 0
    )


class Stepper:
    """``step`` again and again on tensors that are bound once; the package's ``Stepper`` says the rest.

    A call reads the tensors as they are then, moves ``state`` in place and overwrites ``o``. One thread
    at a time may call it; autograd and ``torch.compile`` see nothing of it.
    """

    o: torch.Tensor
    """The output, the Stepper's own."""

    def __init__(
        self,
        *args: torch.Tensor,
        scale: Optional[float] = None,
        threads: Optional[int] = None,
        **tensors: torch.Tensor,
    ) -> None:
        """Binds the tensors.

        Args:
            as ``step``'s; but all tensors must be contiguous, since they are read where they lie.

        Raises:
            RuntimeError, TypeError, ValueError: as ``step``; or a tensor is not contiguous.
        """
        given = _given(args, tensors)
        for name, tensor in zip(_TENSORS, given):
            if not tensor.is_contiguous():
                raise ValueError(
                    f"{name} must be contiguous: a Stepper reads and writes where it lies."
                )
        # Its arrays are the tensors' memory, and keep it.
        self._call = _NumpyStepper(*map(array_of, given), scale=scale, threads=threads)
        self.o = tensor_of(self._call.o, given[_QUERY].dtype)

    def __call__(self) -> torch.Tensor:
        """Computes the token that lies in the tensors; returns ``o``."""
        self._call()
        return self.o


def _given(args: Sequence[Any], named: Dict[str, Any]) -> List[torch.Tensor]:
    """The inputs and the state in their order, checked as far as tensors differ from arrays."""
    given = {**dict(zip(_TENSORS, args)), **named}
    twice = set(_TENSORS[: len(args)]) & set(named)
    if len(args) > len(_TENSORS) or given.keys() != set(_TENSORS) or twice:
        raise TypeError(f"step({', '.join(_TENSORS)}): each tensor is needed, once.")
    for name, tensor in given.items():
        check_tensor(name, tensor)
        if tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} asks for a gradient, and a step has none: call it under torch.no_grad()."
            )
    return [given[name] for name in _TENSORS]
