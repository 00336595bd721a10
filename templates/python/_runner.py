"""`Runner`: the whole of every sequence again and again, the arrays bound once.

This text is the same in every package.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from ._checks import Call, check_out
from ._library import aligned, kernel

__all__ = ["Runner"]


class Runner:
    """``forward`` again and again, its arrays bound once and their checks done once.

        runner = gla.Runner(q, k, v, g)
        while True:
            q[:], k[:], v[:], g[:] = ...      # the next sequences
            o, final_state = runner()         # runner.o, runner.final_state

    A call reads the arrays as they are then, and overwrites ``o`` and ``final_state``. One thread at a
    time may call it. Between long calls nothing of Python's is left in the caches: there the checks of
    ``forward`` take 210 us, a Runner 13.
    """

    o: np.ndarray
    """The output: the array that was given as ``out``, or one of the Runner's own."""
    final_state: np.ndarray
    """The state after the last token."""

    def __init__(
        self,
        *args: np.ndarray,
        scale: Optional[float] = None,
        initial_state: Optional[np.ndarray] = None,
        cu_seqlens: Optional[np.ndarray] = None,
        threads: Optional[int] = None,
        out: Optional[np.ndarray] = None,
        **tensors: np.ndarray,
    ) -> None:
        """Binds the arrays.

        Args:
            as ``forward``'s; but the inputs must be dense, since they are read where they lie. Offsets are
            read once.

        Raises:
            RuntimeError, TypeError, ValueError: as ``forward``; or an input is not dense.
        """
        if kernel.is_for_card:
            raise RuntimeError(
                f"{kernel.name} computes on a card, where NumPy's arrays are not, and has no Runner."
            )
        names = [entry.name for entry in kernel.inputs]
        given: Dict[str, Any] = {**dict(zip(names, args)), **tensors}
        if (
            len(args) > len(names) or given.keys() != set(names) or set(names[: len(args)]) & set(tensors)
        ):
            raise TypeError(f"Runner({', '.join(names)}): each tensor is needed, once.")
        options = dict(
            scale=scale, threads=threads, cu_seqlens=cu_seqlens, initial_state=initial_state
        )
        call = Call({**given, **options})
        bound = {**given, **({} if initial_state is None else {"initial_state": initial_state})}
        for name, array in bound.items():
            if not (array.flags.c_contiguous and array.flags.aligned):
                raise ValueError(
                    f"{name} must be aligned and in C order: a Runner reads it where it lies."
                )
        query = next(entry.name for entry in kernel.inputs if entry.role == "query")
        if out is None:
            out = aligned(call.o_shape, given[query].dtype)
        else:
            out = check_out(out, kernel.element, call.o_shape, list(bound.values()))
        self.o = out
        self.final_state = aligned(call.state_shape, kernel.state_type)
        self._result = self.o, self.final_state
        # What the arguments point to.
        self._arguments = call.arguments(kernel.Arguments, o=self.o, final_state=self.final_state)
        self._arrays = [*bound.values(), call.offsets]
        self._enter, self._address, self._workspace = kernel.bind_forward(self._arguments)

    def __call__(self) -> Tuple[np.ndarray, np.ndarray]:
        """Computes what lies in the inputs; returns ``o`` and ``final_state``."""
        code = self._enter(self._address)
        if code != 0:
            kernel.fail(code)
        return self._result
