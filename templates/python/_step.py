"""`step`: one token of every sequence, the states moved in place; NumPy arrays in and out.

This text is the same in every package.
"""

from __future__ import annotations

import threading
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ._checks import Call, check_out, check_shape, check_type
from ._library import address_of, aligned, kernel

__all__ = ["Stepper", "new_state", "step"]

_STEP_FIELDS = [f"input_{entry.name}" for entry in kernel.inputs] + ["final_state"]


def new_state(batch: int, heads: int) -> np.ndarray:
    """States of zeros for so many sequences, [batch, heads, K, V] float32 (V + 1 with a normalizer).

    They begin at a 64-byte boundary, as those that ``forward`` returns do: a step on them takes a fifth
    less time than on NumPy's own arrays, which begin anywhere.
    """
    state = aligned((batch, heads, kernel.key, kernel.state_columns), kernel.state_type)
    state[...] = 0
    return state


class Stepper:
    """One token of every sequence again and again, its arrays bound once and their checks done once.

        stepper = gla.Stepper(q, k, v, g, state)
        while True:
            q[:], k[:], v[:], g[:] = ...      # the next token
            o = stepper()                     # stepper.o

    A call reads the arrays as they are then, moves ``state`` in place and overwrites ``o``. One thread
    at a time may call it.
    """

    o: np.ndarray
    """The output: the array that was given as ``out``, or one of the Stepper's own."""

    def __init__(
        self,
        *args: np.ndarray,
        scale: Optional[float] = None,
        threads: Optional[int] = None,
        out: Optional[np.ndarray] = None,
        **tensors: np.ndarray,
    ) -> None:
        """Binds the arrays.

        Args:
            as ``step``'s; but the inputs must be dense, since they are read where they lie.

        Raises:
            RuntimeError, TypeError, ValueError: as ``step``; or an input is not dense.
        """
        token = _Token(args, tensors, scale, threads, out)
        for name, array in token.given.items():
            if not (array.flags.c_contiguous and array.flags.aligned):
                raise ValueError(
                    f"{name} must be aligned and in C order: a Stepper reads it where it lies."
                )
        self.o = token.o
        self._arrays = token.given
        self._arguments = token.arguments
        self._enter, self._address, self._workspace = kernel.bind_step(token.arguments)

    def __call__(self) -> np.ndarray:
        """Computes the token that lies in the inputs; returns ``o``."""
        code = self._enter(self._address)
        if code != 0:
            kernel.fail(code)
        return self.o


class _LastStep(threading.local):
    """A thread's last step: calls of the same shapes take its arguments with other addresses."""

    arguments: Any = None
    enter: Any = None
    address: int = 0
    workspace: Optional[np.ndarray] = None
    shapes: Tuple[Any, ...] = ()
    o_shape: Tuple[int, ...] = ()
    o_type: Optional[np.dtype] = None

    def run(self, tensors: Sequence[Any]) -> Optional[np.ndarray]:
        """The output, or None when something is not as in the last call."""
        arguments = self.arguments
        addresses = []
        for tensor, (shape, dtype) in zip(tensors, self.shapes):
            if type(tensor) is not np.ndarray or tensor.shape != shape or tensor.dtype != dtype:
                return None
            flags = tensor.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
            addresses.append(address_of(tensor))
        if not tensors[-1].flags.writeable:
            return None
        o = np.empty(self.o_shape, self.o_type)
        for name, address in zip(_STEP_FIELDS, addresses):
            setattr(arguments, name, address)
        arguments.o = address_of(o)
        code = self.enter(self.address)
        if code != 0:
            kernel.fail(code)
        return o


_last_step = _LastStep()


def step(
    *args: np.ndarray,
    scale: Optional[float] = None,
    threads: Optional[int] = None,
    out: Optional[np.ndarray] = None,
    **tensors: np.ndarray,
) -> np.ndarray:
    """Computes one token of every sequence, and moves their states in place.

    Args:
        *args, **tensors: the inputs of ``forward`` for T = 1, in its order or by name, then ``state``.
            The axis T may be left out of all of them: q is [B, 1, query heads, K] or
            [B, query heads, K]. Inputs that are not dense are copied.
        state: [B, heads, K, V] float32 (V + 1 with a normalizer), dense and writeable: the states
            before the token, and after the call those after it. Zeros begin a sequence.
        scale: factor on the output; None is the recurrence's own.
        threads: how many threads compute; None is a number that the bytes of the states are worth.
        out: the array to write o to; None makes a new one.

    Returns:
        o, of q's axes with V values in the last.

    Raises:
        RuntimeError: the package was built without the step.
        TypeError, ValueError: as ``forward`` does; the state is not writeable or not dense.
    """
    last = _last_step
    usual = scale is None and threads is None
    if usual and out is None and not tensors and last.arguments is not None:
        if len(args) == len(last.shapes):
            o = last.run(args)
            if o is not None:
                return o
    token = _Token(args, tensors, scale, threads, out)
    enter, address, workspace = kernel.bind_step(token.arguments)
    code = enter(address)
    if code != 0:
        kernel.fail(code)
    if usual:
        last.arguments, last.enter, last.address = token.arguments, enter, address
        last.workspace = workspace
        last.shapes = tuple((array.shape, array.dtype) for array in token.given.values())
        last.o_shape, last.o_type = token.o.shape, token.o.dtype
    return token.o


class _Token:
    """What a step brings, every argument checked; the arrays must outlive its calls."""

    given: Dict[str, np.ndarray]
    """The inputs and the state in the package's order, as they came."""
    arguments: Any
    o: np.ndarray

    def __init__(
        self, args: Sequence[Any], named: Dict[str, Any], scale: Any, threads: Any, out: Any
    ) -> None:
        if not kernel.has_step:
            raise RuntimeError(
                f"{kernel.name} has no step: build the package without '--no-step'."
            )
        if kernel.is_for_card:
            raise RuntimeError(
                f"{kernel.name} computes on a card, where NumPy's arrays are not: its 'step' takes "
                "PyTorch's tensors, and it has no Stepper."
            )
        names = [entry.name for entry in kernel.inputs] + ["state"]
        given = {**dict(zip(names, args)), **named}
        if len(args) > len(names) or given.keys() != set(names) or set(names[: len(args)]) & set(named):
            raise TypeError(f"step({', '.join(names)}): each tensor is needed, once.")
        query = next(entry.name for entry in kernel.inputs if entry.role == "query")
        is_short = isinstance(given[query], np.ndarray) and given[query].ndim == 3
        whole = dict(given)
        if is_short:
            for entry in kernel.inputs:
                array = given[entry.name]
                if entry.role != "parameter" and isinstance(array, np.ndarray) and array.ndim > 0:
                    whole[entry.name] = array[:, np.newaxis]
        options = {"scale": scale, "threads": threads, "cu_seqlens": None, "initial_state": None}
        call = Call({**whole, **options})
        if call.sizes["T"] != 1:
            raise ValueError(f"step takes one token, T = 1, and T is {call.sizes['T']}.")
        state = check_type("state", given["state"], kernel.state_element)
        check_shape("state", state, call.state_shape)
        flags = state.flags
        if not (flags.c_contiguous and flags.aligned and flags.writeable):
            raise ValueError("state must be writeable, aligned and in C order: it is moved in place.")
        read = list(call.tensors.values())
        if any(np.may_share_memory(state, other) for other in read):
            raise ValueError("state shares memory with an input.")
        shape = (call.o_shape[0], *call.o_shape[2:]) if is_short else call.o_shape
        if out is None:
            o = np.empty(shape, call.tensors[query].dtype)
        else:
            o = check_out(out, kernel.element, shape, [*read, state])
        self.given = {name: given[name] for name in names}
        self.o = o
        self.arguments = call.arguments(kernel.Arguments, final_state=state, o=o)
        self._read = read
