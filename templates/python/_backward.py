"""`backward`: the adjoints of a forward call's inputs, NumPy arrays in and out.

This text is the same in every package.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np

from ._checks import Call, check_shape, check_type, dense
from ._library import address_of, empty, kernel

__all__ = ["backward", "states_every"]

states_every: Optional[int] = kernel.states_every
"""Tokens between the states that ``backward`` takes from a forward call; None: it takes none."""


def _checked_states(states: Any, call: Call) -> np.ndarray:
    if states_every is None:
        raise ValueError(
            f"The gradient of {kernel.name} takes no states: build the package with "
            "'sluice build ... --backward --gradient-states saved'."
        )
    states = check_type("states", states, "f32")
    shape = (call.sizes["B"], call.sizes["T"] // states_every, *call.state_shape[1:])
    check_shape("states", states, shape)
    return dense(states)


def backward(
    *args: Any,
    d_o: Any = None,
    d_final_state: Any = None,
    scale: Optional[float] = None,
    initial_state: Optional[np.ndarray] = None,
    cu_seqlens: Optional[np.ndarray] = None,
    threads: Optional[int] = None,
    states: Optional[np.ndarray] = None,
    **inputs: Any,
) -> Dict[str, np.ndarray]:
    """Computes the adjoints of a forward call's inputs from those of its results.

    Args:
        *args, **inputs: the inputs of ``forward``, in its order or by name.
        d_o: adjoint of o, of its shape and type.
        d_final_state: adjoint of the final state, of its shape and type; None is zero.
        scale, initial_state, cu_seqlens, threads: as in the forward call.
        states: what the forward call gave with ``snapshot_every`` = ``states_every`` of this module,
            where that is not None; None computes them again.

    Returns:
        The adjoints by input, each of its input's shape and type; and under ``initial_state`` that
        of the state before the first token. A log decay of -inf has the adjoint 0.

    Raises:
        RuntimeError: the package was built without its gradient.
        TypeError, ValueError: as ``forward`` does.
    """
    if not kernel.has_gradient:
        raise RuntimeError(
            f"{kernel.name} has no gradient: build the package with 'sluice build ... --backward'."
        )
    names = [entry.name for entry in kernel.inputs]
    given = {**dict(zip(names, args)), **inputs}
    if len(args) > len(names) or given.keys() != set(names) or set(names[: len(args)]) & set(inputs):
        raise TypeError(f"backward({', '.join(names)}, d_o=...): each input is needed, once.")
    given.update(
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, threads=threads
    )
    call = Call(given)
    if states is not None:
        states = _checked_states(states, call)
    d_o = check_type("d_o", d_o, kernel.element)
    check_shape("d_o", d_o, call.o_shape)
    d_o = dense(d_o)
    d_final = call.state("d_final_state", d_final_state)
    d_initial = empty(call.state_shape, kernel.state_type)
    adjoints = {name: empty(x.shape, x.dtype) for name, x in call.tensors.items()}
    arguments = call.arguments(
        kernel.GradientArguments, d_o=d_o, d_final_state=d_final, d_initial_state=d_initial
    )
    for name, adjoint in adjoints.items():
        setattr(arguments, f"adjoint_{name}", address_of(adjoint))
    if states is not None:
        arguments.states = address_of(states)
    kernel.run_backward(arguments)
    return {**adjoints, "initial_state": d_initial}
