"""`forward`: the whole of every sequence, NumPy arrays in and out.

This text is the same in every package.
"""

from __future__ import annotations

import inspect
import threading
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ._checks import WANTED, Call, check_out, check_snapshot_every
from ._library import Kernel, address_of, empty, kernel

__all__ = ["forward"]


class _LastCall(threading.local):
    """A thread's last call: one of the same shapes and options takes its arguments with other addresses.

    Between long calls nothing of Python's is left in the caches, and all checks would take 370 us, these 210."""

    arguments: Any = None
    options: Dict[str, Any] = {}
    shapes: Tuple[Any, ...] = ()
    o_shape: Tuple[int, ...] = ()
    o_type: Optional[np.dtype] = None
    state_shape: Tuple[int, ...] = ()

    def keep(
        self, args: Sequence[Any], kwargs: Dict[str, Any], call: Call, arguments: Any, o: np.ndarray
    ) -> None:
        options = {name: value for name, value in kwargs.items() if name != "out"}
        plain = all(value is None or type(value) in (bool, int, float) for value in options.values())
        if not plain or len(args) != len(kernel.inputs):
            return
        self.options, self.arguments = options, arguments
        self.shapes = tuple((array.shape, array.dtype) for array in args)
        self.o_shape, self.o_type, self.state_shape = call.o_shape, o.dtype, call.state_shape

    def run(self, args: Sequence[Any], kwargs: Dict[str, Any]) -> Optional[Tuple[Any, ...]]:
        """The results, or None when something is not as in the last call."""
        arguments, options = self.arguments, self.options
        if arguments is None or len(args) != len(self.shapes):
            return None
        o = kwargs.get("out")
        if len(kwargs) - ("out" in kwargs) != len(options):
            return None
        for name, usual in options.items():
            value = kwargs.get(name, self)
            if type(value) is not type(usual) or value != usual:
                return None
        spans = []
        for tensor, (shape, dtype) in zip(args, self.shapes):
            if type(tensor) is not np.ndarray or tensor.shape != shape or tensor.dtype != dtype:
                return None
            flags = tensor.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
            spans.append((address_of(tensor), tensor.nbytes))
        if o is None:
            o = empty(self.o_shape, self.o_type)
            start = address_of(o)
        else:
            if type(o) is not np.ndarray or o.shape != self.o_shape or o.dtype != self.o_type:
                return None
            flags = o.flags
            if not (flags.c_contiguous and flags.aligned and flags.writeable):
                return None
            start = address_of(o)
            end = start + o.nbytes
            if any(start < address + size and address < end for address, size in spans):
                return None
        final = None
        if options.get("output_final_state"):
            final = empty(self.state_shape, kernel.state_type)
        for name, (address, _) in zip(_FIELDS, spans):
            setattr(arguments, name, address)
        arguments.o = start
        arguments.final_state = None if final is None else address_of(final)
        kernel.run_forward(arguments)
        return o, final


_last_call = _LastCall()
_FIELDS = [f"input_{entry.name}" for entry in kernel.inputs]


def _forward(
    given: Dict[str, Any], args: Sequence[Any], kwargs: Dict[str, Any]
) -> Tuple[Any, ...]:
    """Checks the arguments, all of them by name, and calls the kernel."""
    call = Call(given)
    tensors, initial, shape = call.tensors, call.initial, call.o_shape
    state_shape = call.state_shape
    final = empty(state_shape, kernel.state_type) if given["output_final_state"] else None
    o = given["out"]
    if o is None:
        query = next(entry.name for entry in kernel.inputs if entry.role == "query")
        o = empty(shape, tensors[query].dtype)
    else:
        read = [*tensors.values(), *(() if initial is None else (initial,))]
        o = check_out(o, kernel.element, shape, read)

    arguments = call.arguments(kernel.Arguments, final_state=final, o=o)
    every = check_snapshot_every(given["snapshot_every"])
    if every == 0:
        kernel.run_forward(arguments)
        _last_call.keep(args, kwargs, call, arguments, o)
        return o, final
    batch, length = shape[0], shape[1]
    snapshots = empty((batch, length // every, *state_shape[1:]), kernel.state_type)
    if call.offsets is not None:
        snapshots[...] = 0  # Some slots stay free.
    arguments.snapshot_every, arguments.snapshots = every, address_of(snapshots)
    kernel.run_forward(arguments)
    return o, final, snapshots


# The arguments that every kernel has, after its inputs: annotation, default and meaning.
_OPTIONS: Dict[str, Tuple[Any, Any, str]] = {
    "scale": (Optional[float], None, "factor on the output; None is {scale}"),
    "initial_state": (
        Optional[np.ndarray],
        None,
        "{state}: the state before the first token; None is zero",
    ),
    "output_final_state": (bool, False, "whether to return the state after the last token"),
    "cu_seqlens": (
        Optional[np.ndarray],
        None,
        "[N + 1] int32 or int64: where each of N sequences, packed along T with B = 1, begins, and "
        "where the last one ends",
    ),
    "threads": (Optional[int], None, "how many threads compute; None is {threads}"),
    "snapshot_every": (
        Optional[int],
        None,
        "also return the state after every so many tokens, where the package writes them "
        "('sluice build --snapshots')",
    ),
    "out": (Optional[np.ndarray], None, "the array to write o to; None makes a new one"),
}


# Those that are given by name alone.
_NAMED = ("snapshot_every", "out")


def _signature(kernel: Kernel) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(entry.name, kind, annotation=np.ndarray) for entry in kernel.inputs
    ]
    for name, (annotation, default, _) in _OPTIONS.items():
        where = inspect.Parameter.KEYWORD_ONLY if name in _NAMED else kind
        parameters.append(inspect.Parameter(name, where, default=default, annotation=annotation))
    result = Tuple[np.ndarray, Optional[np.ndarray]]
    return inspect.Signature(parameters, return_annotation=result)


def _documentation(kernel: Kernel) -> str:
    kind = WANTED[kernel.state_element]
    state = f"[B or N, heads, {kernel.key}, {kernel.state_columns}] {kind}"
    text = [f"Computes {kernel.summary}.", "", "Args:"]
    for entry in kernel.inputs:
        shape = ", ".join([*entry.leading, *map(str, entry.row)])
        text.append(f"    {entry.name}: [{shape}] {WANTED[entry.element]}: {entry.summary}.")
    root = f"1 / sqrt({kernel.key})" if kernel.scales_by_key else "1"
    for name, (_, _, meaning) in _OPTIONS.items():
        meaning = meaning.format(scale=root, state=state, threads=kernel.threads)
        text.append(f"    {name}: {meaning}.")
    text += [
        "",
        "Query heads are a multiple of heads: each group of neighbours reads one state. Tensors",
        "that are not dense in this order are copied. Log decays are natural logarithms.",
        "Legal gates are the caller's part: a log decay above zero makes the state grow, and NaN",
        "reaches later tokens of its own head and at most its own chunk's earlier ones.",
        "",
        "Returns:",
        f"    o, [B, T, query heads, {kernel.value}] {WANTED[kernel.element]};",
        f"    the final state, {state}, or None when it was not asked for;",
        f"    with snapshot_every = n also the states on the way, [B, T // n, ...] {kind}. Of packed",
        "    sequences, one that begins at token b has its own from the slot b // n on.",
        "",
        "Raises:",
        "    TypeError: an argument is missing, unknown or of the wrong type.",
        "    ValueError: an argument has the wrong shape or value.",
    ]
    return "\n".join(text)


def forward(*args: Any, **kwargs: Any) -> Any:
    results = _last_call.run(args, kwargs)
    if results is not None:
        return results
    positional = dict(zip(_POSITIONAL, args))
    given = {**_DEFAULTS, **positional, **kwargs}
    surplus = len(positional) < len(args) or not positional.keys().isdisjoint(kwargs)
    if surplus or given.keys() != _SIGNATURE.parameters.keys():
        try:
            _SIGNATURE.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(_SIGNATURE.parameters)
            raise TypeError(f"forward({names}): {error}.") from None
    return _forward(given, args, kwargs)


_SIGNATURE = _signature(kernel)
_POSITIONAL = [name for name in _SIGNATURE.parameters if name not in _NAMED]
_DEFAULTS = {name: default for name, (_, default, _) in _OPTIONS.items()}
forward.__doc__ = _documentation(kernel)
setattr(forward, "__signature__", _SIGNATURE)
