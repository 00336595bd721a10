"""The arguments of a call: checked by name, and laid out as the library reads them.

This text is the same in every package.
"""

from __future__ import annotations

import ctypes
import numbers
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from ._library import address_of, kernel
from ._manifest import ABI, ELEMENTS, Input

USUAL: Dict[str, np.dtype] = {
    "f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(np.uint16),
    "f64": np.dtype(np.float64),
}
WANTED = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16 (or uint16, its bits)", "f64": "float64",
}

# The largest scale that the kernel takes.
_LARGEST_SCALE = float(np.finfo(kernel.state_type).max)


def _numbers(values: Sequence[Union[int, str]]) -> str:
    """Sizes, or names where the size is free: ``(2, 100, heads, 64)``."""
    return "(" + ", ".join(map(str, values)) + ("," if len(values) == 1 else "") + ")"


def check_type(name: str, array: Any, element: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        hint = ""
        if type(array).__module__.startswith("torch"):
            package = __package__ or "the package"
            hint = f" PyTorch's tensors go to {package}.autograd and {package}.decode."
        raise TypeError(
            f"{name} must be a NumPy array of {WANTED[element]}, not {type(array).__name__}.{hint}"
        )
    dtype = array.dtype
    if dtype != USUAL[element] and (dtype.name not in ELEMENTS[element] or not dtype.isnative):
        raise TypeError(f"{name} must be of type {WANTED[element]}, not {dtype}.")
    return array


def check_shape(name: str, array: np.ndarray, wanted: Sequence[Union[int, str]]) -> None:
    if array.shape == tuple(wanted):
        return
    if len(array.shape) != len(wanted) or any(
        isinstance(want, int) and size != want for size, want in zip(array.shape, wanted)
    ):
        raise ValueError(f"{name} must have shape {_numbers(wanted)}, not {_numbers(array.shape)}.")


def dense(array: np.ndarray) -> np.ndarray:
    """The same values in C order and aligned; a copy only when they are not."""
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, requirements=("C", "A"))


def _check_tensors(
    inputs: Sequence[Input], given: Dict[str, Any]
) -> Tuple[Dict[str, np.ndarray], Dict[str, int]]:
    """The tensors, dense; and the sizes B, T, query heads and heads that they agree on."""
    sizes: Dict[str, int] = {}
    tensors: Dict[str, np.ndarray] = {}
    for entry in inputs:
        array = check_type(entry.name, given[entry.name], entry.element)
        row = entry.row
        if not row and array.ndim == len(entry.leading) + 1:
            row = (1,)  # A scalar a token may have an axis of its own.
        wanted = [*(sizes.get(axis, axis) for axis in entry.leading), *row]
        check_shape(entry.name, array, wanted)
        sizes.update(zip(entry.leading, array.shape))
        tensors[entry.name] = dense(array)
    sizes.setdefault("heads", sizes["query heads"])
    if sizes["heads"] < 1 or sizes["query heads"] < 1 or sizes["query heads"] % sizes["heads"]:
        raise ValueError(
            f"The heads of the query must be a multiple of the others', and they are "
            f"{sizes['query heads']} and {sizes['heads']}."
        )
    return tensors, sizes


def check_scale(scale: Any, default: float) -> float:
    if scale is None:
        return default
    if isinstance(scale, (bool, np.bool_)) or not isinstance(scale, numbers.Real):
        raise TypeError(f"scale must be a number or None, not {type(scale).__name__}.")
    if not abs(float(scale)) <= _LARGEST_SCALE:
        raise ValueError(f"scale must be a finite {kernel.state_type}, not {scale}.")
    return float(scale)


def _check_threads(threads: Any) -> int:
    if threads is None:
        return 0
    if isinstance(threads, (bool, np.bool_)) or not isinstance(threads, numbers.Integral):
        raise TypeError(f"threads must be an integer or None, not {type(threads).__name__}.")
    if not 1 <= int(threads) < 1 << 31:
        raise ValueError(f"threads must be at least 1, not {threads}.")
    return int(threads)


def check_snapshot_every(every: Any) -> int:
    if every is None:
        return 0
    if kernel.snapshot_every is None:
        raise ValueError(
            "This package writes no states out on the way: build it with "
            "'sluice build ... --snapshots N'."
        )
    if isinstance(every, (bool, np.bool_)) or not isinstance(every, numbers.Integral):
        raise TypeError(f"snapshot_every must be an integer or None, not {type(every).__name__}.")
    if every < 1 or every % kernel.chunk:
        raise ValueError(
            f"snapshot_every must be a multiple of {kernel.chunk}, the tokens of a chunk, not {every}."
        )
    return int(every)


def _check_cu_seqlens(cu_seqlens: Any, batch: int, length: int) -> Optional[np.ndarray]:
    if cu_seqlens is None:
        return None
    offsets = np.asarray(cu_seqlens)
    if offsets.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise TypeError(f"cu_seqlens must be of type int32 or int64, not {offsets.dtype}.")
    if offsets.ndim != 1 or offsets.size < 2:
        raise ValueError(
            f"cu_seqlens must have shape (N + 1,) for N packed sequences, not "
            f"{_numbers(offsets.shape)}."
        )
    if batch != 1:
        raise ValueError(f"cu_seqlens needs tensors with B = 1, and B is {batch}.")
    if offsets[0] != 0 or offsets[-1] != length or np.any(offsets[1:] < offsets[:-1]):
        raise ValueError(
            f"cu_seqlens must rise from 0 to the {length} tokens of the tensors; it begins with "
            f"{offsets[0]}, ends with {offsets[-1]}"
            + (" and falls in between." if np.any(offsets[1:] < offsets[:-1]) else ".")
        )
    return offsets.astype(np.int64)


def check_out(
    out: Any, element: str, shape: Sequence[int], inputs: Sequence[np.ndarray]
) -> np.ndarray:
    array = check_type("out", out, element)
    check_shape("out", array, shape)
    if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
        raise ValueError("out must be writeable, aligned and in C order; it is the caller's array.")
    if any(np.may_share_memory(array, other) for other in inputs):
        raise ValueError("out shares memory with an input.")
    return array


class Call:
    """What a call in either direction brings, checked."""

    def __init__(self, given: Dict[str, Any]) -> None:
        self.tensors, self.sizes = _check_tensors(kernel.inputs, given)
        self.scale = check_scale(given["scale"], kernel.default_scale)
        self.threads = _check_threads(given["threads"])
        batch, length, heads = self.sizes["B"], self.sizes["T"], self.sizes["heads"]
        self.offsets = _check_cu_seqlens(given["cu_seqlens"], batch, length)
        self.rows = batch if self.offsets is None else self.offsets.size - 1
        self.state_shape = (self.rows, heads, kernel.key, kernel.state_columns)
        self.initial = self.state("initial_state", given["initial_state"])
        self.o_shape = (batch, length, self.sizes["query heads"], kernel.value)

    def state(self, name: str, array: Any) -> Optional[np.ndarray]:
        if array is None:
            return None
        check_shape(name, check_type(name, array, kernel.state_element), self.state_shape)
        return dense(array)

    def arguments(self, kind: Any, **pointers: Optional[np.ndarray]) -> Any:
        """The argument struct; the arrays must outlive the call."""
        addresses = {name: None if x is None else address_of(x) for name, x in pointers.items()}
        arguments = kind(
            abi=ABI,
            size=ctypes.sizeof(kind),
            batch=self.sizes["B"],
            length=self.sizes["T"],
            query_heads=self.sizes["query heads"],
            heads=self.sizes["heads"],
            sequences=0 if self.offsets is None else self.rows,
            cu_seqlens=None if self.offsets is None else address_of(self.offsets),
            threads=self.threads,
            scale=self.scale,
            initial_state=None if self.initial is None else address_of(self.initial),
            **addresses,
        )
        for name, tensor in self.tensors.items():
            setattr(arguments, f"input_{name}", address_of(tensor))
        return arguments
