"""A gated-linear-attention kernel: NumPy arrays in, NumPy arrays out.

This text is the same in every package. What differs (the recurrence, its inputs, key and value
sizes, element types) is read from ``manifest.json`` beside it, and the library is loaded only if it
is the one that the manifest describes. ``help(forward)`` lists the inputs with their shapes.

    import sys
    sys.path.insert(0, "the folder that holds this one")
    import gla

    o, final_state = gla.forward(q, k, v, g, output_final_state=True)

``step`` decodes: one token, the states moved in place:

    o = gla.step(q, k, v, g, state)

``forward`` and ``step`` may be called from several threads at once: each holds no lock, and Python's is released.

A package that was built with its gradient has ``backward`` too, and ``autograd.py`` beside this file
makes both a PyTorch operator:

    d = gla.backward(q, k, v, g, d_o=d_o)
    d["q"], d["k"], d["v"], d["g"], d["initial_state"]

A package for a CUDA card takes PyTorch's tensors instead: ``cuda.py`` beside this file.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import keyword
import math
import numbers
import platform
import threading
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple, Union

import numpy as np

__all__ = ["backward", "forward", "manifest", "step"]

_ABI = 1
_FOLDER = Path(__file__).resolve().parent

# Element types as the manifest calls them, and the NumPy types that hold them. bfloat16 is none of
# NumPy's own: it is any registered type of that name (such as ml_dtypes.bfloat16), or its bits.
_ELEMENTS = {"f32": ("float32",), "f16": ("float16",), "bf16": ("bfloat16", "uint16")}
_USUAL = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(np.uint16)}
_WANTED = {"f32": "float32", "f16": "float16", "bf16": "bfloat16 (or uint16, its bits)"}

# A workspace up to this many bytes stays with its thread for the next call.
_KEPT_WORKSPACE = 256 << 20

# The largest scale that a float holds.
_LARGEST_FLOAT = float(np.finfo(np.float32).max)

_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183}

# Without these a library made for the target would stop the process at its first instruction.
_CPU_FLAGS = {
    "avx2": ("avx2", "fma", "f16c"),
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "f16c"),
    "avx512bf16": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "fma", "f16c"),
    "amx": (
        "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "fma", "f16c", "amx_tile",
        "amx_bf16",
    ),
}

_CODES = {
    1: "the library has another version of the argument struct",
    2: "a required pointer is missing",
    3: "a size is negative or too large, or the query heads are not a multiple of the heads",
    4: "cu_seqlens does not rise from 0 to the number of tokens, or the batch is not 1",
    5: "the workspace is too small",
    6: "a pointer is not aligned",
    7: "the layout or the number of threads is unknown or negative",
    8: "the operating system does not let this process use the matrix tiles",
}


class _Input(NamedTuple):
    """One input of the kernel, as the manifest has it."""

    name: str
    role: str
    """``query``, ``operand``, ``gate`` (a row a token and head) or ``parameter`` (a row a head)."""
    element: str
    row: Tuple[int, ...]
    """The last axes: (K,), (V,), (K, V), or none for a scalar."""
    summary: str

    @property
    def heads(self) -> str:
        return "query heads" if self.role == "query" else "heads"

    @property
    def leading(self) -> Tuple[str, ...]:
        """Names of the axes before the row's."""
        return (self.heads,) if self.role == "parameter" else ("B", "T", self.heads)


# ---- The package: manifest and library, checked ----


def _read_manifest(path: Path) -> Dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ImportError(f"This package has no manifest: {path} is missing.") from None
    except OSError as error:
        raise ImportError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ImportError(f"{path} is damaged: it is no JSON ({error}).") from None
    if not isinstance(manifest, dict):
        raise ImportError(f"{path} is damaged: it holds no object.")
    if manifest.get("abi") != _ABI:
        raise ImportError(
            f"{path} is of another version: its abi is {manifest.get('abi')!r}, "
            f"and this module knows {_ABI}."
        )
    return manifest


def _field(holder: Any, name: str, kind: type) -> Any:
    """A field of the manifest, of the type that it must have."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ImportError(
            f"manifest.json in {_FOLDER} is damaged: {name!r} is {value!r}, "
            f"and must be of type {kind.__name__}."
        )
    return value


def _read_input(entry: Any, key: int, value: int, taken: Sequence[str]) -> _Input:
    name, role = _field(entry, "name", str), _field(entry, "role", str)
    element, axes = _field(entry, "type", str), _field(entry, "axes", int)
    row = {0: (), 1: (key,), 2: (value,), 3: (key, value)}.get(axes)
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name in taken:
        problem = f"{name!r} cannot name an input"
    elif role not in ("query", "operand", "gate", "parameter"):
        problem = f"input {name} has the unknown role {role!r}"
    elif element not in _ELEMENTS:
        problem = f"input {name} has the unknown type {element!r}"
    elif row is None or _field(entry, "size", int) != math.prod(row):
        problem = f"input {name} has sizes that do not agree"
    else:
        return _Input(name, role, element, row, _field(entry, "summary", str))
    raise ImportError(f"manifest.json in {_FOLDER} is damaged: {problem}.")


def _check_library(path: Path, digest: str, target: str) -> None:
    """Whether the file may be loaded; reads it, and executes nothing of it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImportError(f"This package has no library: {path} is missing.") from None
    except OSError as error:
        raise ImportError(f"Cannot read {path}: {error.strerror}.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ImportError(
            f"{path} is not the library that manifest.json describes: its SHA-256 is {found}, "
            f"and the manifest has {digest}. Build the package again."
        )
    machine = _MACHINES.get(platform.machine())
    if content[:4] != b"\x7fELF" or len(content) < 64:
        raise ImportError(f"{path} is not a library: it has no ELF header.")
    built_for = int.from_bytes(content[18:20], "little")
    if machine is not None and built_for != machine:
        names = {62: "x86-64", 183: "64-bit Arm"}
        raise ImportError(
            f"{path} was built for {names.get(built_for, f'ELF machine {built_for}')}, "
            f"and this machine is {names[machine]}."
        )
    flags = _cpu_flags()
    lacking = [flag for flag in _CPU_FLAGS.get(target, ()) if flags and flag not in flags]
    if lacking:
        raise ImportError(
            f"{path} was built for {target}, and this machine's CPU lacks {', '.join(lacking)}. "
            "Build the package for this machine."
        )


def _cpu_flags() -> Sequence[str]:
    """The CPU's features as Linux names them; none where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    return next((line.split() for line in lines if line.startswith("flags")), ())


class _Kernel:
    """The loaded library, and what its manifest says of it."""

    # The argument struct up to the inputs (docs/abi.md has the table).
    _FIELDS: List[Tuple[str, Any]] = [
        ("abi", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("batch", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("query_heads", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("sequences", ctypes.c_int64),
        ("cu_seqlens", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("reserved", ctypes.c_uint32),
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_uint64),
        ("initial_state", ctypes.c_void_p),
        ("final_state", ctypes.c_void_p),
        ("o", ctypes.c_void_p),
    ]

    # What fixes how much memory is read and written: the library's own word must agree on it.
    _SEALED = (
        "abi", "name", "key", "value", "stateColumns", "type", "gateType", "inputs", "backward", "step",
    )

    def __init__(self, folder: Path) -> None:
        manifest = _read_manifest(folder / "manifest.json")
        self.manifest = manifest
        self.version: str = _field(manifest, "sluice", str)
        self.name: str = _field(manifest, "name", str)
        self.key: int = _field(manifest, "key", int)
        self.value: int = _field(manifest, "value", int)
        self.state_columns: int = _field(manifest, "stateColumns", int)
        self.element: str = _field(manifest, "type", str)
        self.threads: int = _field(_field(manifest, "plan", dict), "threads", int)
        recurrence = _field(manifest, "recurrence", dict)
        self.summary: str = _field(recurrence, "summary", str)
        self.scales_by_key = _field(recurrence, "defaultScale", str) == "inverseSquareRootOfKey"
        self.inputs: List[_Input] = []
        for entry in _field(manifest, "inputs", list):
            taken = [*(known.name for known in self.inputs), *_OPTIONS]
            self.inputs.append(_read_input(entry, self.key, self.value, taken))
        if self.element not in _ELEMENTS or not self.name.isidentifier():
            raise ImportError(f"manifest.json in {folder} is damaged: name or type is unknown.")

        path = folder / f"{self.name}.so"
        _check_library(
            path, _field(manifest, "libraryDigest", str), _field(manifest, "target", str)
        )
        try:
            library = ctypes.CDLL(str(path))
            self.library = library
            self._forward = library[f"{self.name}_forward"]
            self._workspace_size = library[f"{self.name}_workspace_size"]
            describe = library[f"{self.name}_manifest"]
            self._backward = self._backward_workspace_size = None
            if manifest.get("backward") is not None:
                self._backward = library[f"{self.name}_backward"]
                self._backward_workspace_size = library[f"{self.name}_backward_workspace_size"]
            self._step = self._step_workspace_size = None
            if manifest.get("step") is not None:
                self._step = library[f"{self.name}_step"]
                self._step_workspace_size = library[f"{self.name}_step_workspace_size"]
        except (OSError, AttributeError) as error:
            raise ImportError(f"Cannot load {path}: {error}.") from None
        pointers = [(f"input_{known.name}", ctypes.c_void_p) for known in self.inputs]
        self.Arguments = type(
            "Arguments", (ctypes.Structure,), {"_fields_": self._FIELDS + pointers}
        )
        adjoints = [(f"adjoint_{known.name}", ctypes.c_void_p) for known in self.inputs]
        ends = [
            (name, ctypes.c_void_p)
            for name in ("initial_state", "d_final_state", "d_initial_state", "d_o")
        ]
        self.GradientArguments = type(
            "GradientArguments",
            (ctypes.Structure,),
            {"_fields_": self._FIELDS[:-3] + ends + pointers + adjoints},
        )
        for entry in (self._forward, self._backward, self._step):
            if entry is not None:
                entry.argtypes, entry.restype = [ctypes.c_void_p], ctypes.c_int32
        for entry in (
            self._workspace_size, self._backward_workspace_size, self._step_workspace_size
        ):
            if entry is not None:
                entry.argtypes, entry.restype = [ctypes.c_void_p], ctypes.c_int64
        describe.argtypes = []
        describe.restype = ctypes.c_char_p
        own = json.loads(describe() or b"{}")
        differing = [field for field in self._SEALED if own.get(field) != manifest.get(field)]
        if differing:
            raise ImportError(
                f"manifest.json in {folder} does not describe {path.name}: "
                f"they differ in {', '.join(differing)}."
            )
        self._workspace = _Workspace()

    @property
    def default_scale(self) -> float:
        return 1 / math.sqrt(self.key) if self.scales_by_key else 1.0

    @property
    def has_gradient(self) -> bool:
        return self._backward is not None

    def run_forward(self, arguments: Any) -> None:
        """Calls the library with a workspace of this thread's."""
        self._run(self._forward, self._workspace_size, arguments)

    def run_backward(self, arguments: Any) -> None:
        """The same for the gradient."""
        self._run(self._backward, self._backward_workspace_size, arguments)

    @property
    def has_step(self) -> bool:
        return self._step is not None

    def run_step(self, arguments: Any) -> np.ndarray:
        """Calls the library for one token; gives the workspace, which outlives the call."""
        return self._run(self._step, self._step_workspace_size, arguments)

    def step_again(self, address: int) -> None:
        """The same call with arguments that have their workspace."""
        code = self._step(address)
        if code != 0:
            self._fail(code)

    def _run(self, entry: Any, workspace_size: Any, arguments: Any) -> np.ndarray:
        address = ctypes.addressof(arguments)
        size = workspace_size(address)
        if size < 0:
            self._fail(-size)
        workspace = self._workspace.take(size)
        arguments.workspace = _address(workspace)
        arguments.workspace_size = size
        code = entry(address)
        if code != 0:
            self._fail(code)
        return workspace

    def _fail(self, code: int) -> NoReturn:
        meaning = _CODES.get(code, "the library does not say why")
        raise RuntimeError(f"{self.name} refused the call with code {code}: {meaning}.")


class _Workspace(threading.local):
    """Scratch memory, each thread its own: 64-byte aligned, kept for the next call unless large."""

    kept: Optional[np.ndarray] = None

    def take(self, size: int) -> np.ndarray:
        if self.kept is not None and self.kept.size >= size:
            return self.kept
        memory = np.empty(size + 63, np.uint8)
        start = -_address(memory) % 64
        aligned = memory[start : start + size]
        if size <= _KEPT_WORKSPACE:
            self.kept = aligned
        return aligned


# ---- The arguments of a call, checked ----


def _address(array: np.ndarray) -> int:
    try:
        # A third of the time that the array's interface takes, which a step of a token would feel.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError, BufferError):
        # Read-only, empty, or of a type that buffers have no letter for.
        return int(array.__array_interface__["data"][0])


def _numbers(values: Sequence[Union[int, str]]) -> str:
    """Sizes, or names where the size is free: ``(2, 100, heads, 64)``."""
    return "(" + ", ".join(map(str, values)) + ("," if len(values) == 1 else "") + ")"


def _check_type(name: str, array: Any, element: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name} must be a NumPy array of {_WANTED[element]}, not {type(array).__name__}."
        )
    dtype = array.dtype
    if dtype != _USUAL[element] and (dtype.name not in _ELEMENTS[element] or not dtype.isnative):
        raise TypeError(f"{name} must be of type {_WANTED[element]}, not {dtype}.")
    return array


def _check_shape(name: str, array: np.ndarray, wanted: Sequence[Union[int, str]]) -> None:
    if array.shape == tuple(wanted):
        return
    if len(array.shape) != len(wanted) or any(
        isinstance(want, int) and size != want for size, want in zip(array.shape, wanted)
    ):
        raise ValueError(f"{name} must have shape {_numbers(wanted)}, not {_numbers(array.shape)}.")


def _dense(array: np.ndarray) -> np.ndarray:
    """The same values in C order and aligned; a copy only when they are not."""
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, requirements=("C", "A"))


def _check_tensors(
    inputs: Sequence[_Input], given: Dict[str, Any]
) -> Tuple[Dict[str, np.ndarray], Dict[str, int]]:
    """The tensors, dense; and the sizes B, T, query heads and heads that they agree on."""
    sizes: Dict[str, int] = {}
    tensors: Dict[str, np.ndarray] = {}
    for entry in inputs:
        array = _check_type(entry.name, given[entry.name], entry.element)
        row = entry.row
        if not row and array.ndim == len(entry.leading) + 1:
            row = (1,)  # A scalar a token may have an axis of its own.
        wanted = [*(sizes.get(axis, axis) for axis in entry.leading), *row]
        _check_shape(entry.name, array, wanted)
        sizes.update(zip(entry.leading, array.shape))
        tensors[entry.name] = _dense(array)
    sizes.setdefault("heads", sizes["query heads"])
    if sizes["heads"] < 1 or sizes["query heads"] < 1 or sizes["query heads"] % sizes["heads"]:
        raise ValueError(
            f"The heads of the query must be a multiple of the others', and they are "
            f"{sizes['query heads']} and {sizes['heads']}."
        )
    return tensors, sizes


def _check_scale(scale: Any, default: float) -> float:
    if scale is None:
        return default
    if isinstance(scale, (bool, np.bool_)) or not isinstance(scale, numbers.Real):
        raise TypeError(f"scale must be a number or None, not {type(scale).__name__}.")
    if not abs(float(scale)) <= _LARGEST_FLOAT:
        raise ValueError(f"scale must be a finite float32, not {scale}.")
    return float(scale)


def _check_threads(threads: Any) -> int:
    if threads is None:
        return 0
    if isinstance(threads, (bool, np.bool_)) or not isinstance(threads, numbers.Integral):
        raise TypeError(f"threads must be an integer or None, not {type(threads).__name__}.")
    if not 1 <= int(threads) < 1 << 31:
        raise ValueError(f"threads must be at least 1, not {threads}.")
    return int(threads)


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


def _check_out(
    out: Any, element: str, shape: Sequence[int], inputs: Sequence[np.ndarray]
) -> np.ndarray:
    array = _check_type("out", out, element)
    _check_shape("out", array, shape)
    if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
        raise ValueError("out must be writeable, aligned and in C order; it is the caller's array.")
    if any(np.may_share_memory(array, other) for other in inputs):
        raise ValueError("out shares memory with an input.")
    return array


# ---- forward ----


class _Call:
    """What a call in either direction brings, checked."""

    def __init__(self, given: Dict[str, Any]) -> None:
        self.tensors, self.sizes = _check_tensors(_kernel.inputs, given)
        self.scale = _check_scale(given["scale"], _kernel.default_scale)
        self.threads = _check_threads(given["threads"])
        batch, length, heads = self.sizes["B"], self.sizes["T"], self.sizes["heads"]
        self.offsets = _check_cu_seqlens(given["cu_seqlens"], batch, length)
        self.rows = batch if self.offsets is None else self.offsets.size - 1
        self.state_shape = (self.rows, heads, _kernel.key, _kernel.state_columns)
        self.initial = self.state("initial_state", given["initial_state"])
        self.o_shape = (batch, length, self.sizes["query heads"], _kernel.value)

    def state(self, name: str, array: Any) -> Optional[np.ndarray]:
        if array is None:
            return None
        _check_shape(name, _check_type(name, array, "f32"), self.state_shape)
        return _dense(array)

    def arguments(self, kind: Any, **pointers: Optional[np.ndarray]) -> Any:
        """The argument struct; the arrays must outlive the call."""
        addresses = {name: None if x is None else _address(x) for name, x in pointers.items()}
        arguments = kind(
            abi=_ABI,
            size=ctypes.sizeof(kind),
            batch=self.sizes["B"],
            length=self.sizes["T"],
            query_heads=self.sizes["query heads"],
            heads=self.sizes["heads"],
            sequences=0 if self.offsets is None else self.rows,
            cu_seqlens=None if self.offsets is None else _address(self.offsets),
            threads=self.threads,
            scale=self.scale,
            initial_state=None if self.initial is None else _address(self.initial),
            **addresses,
        )
        for name, tensor in self.tensors.items():
            setattr(arguments, f"input_{name}", _address(tensor))
        return arguments


def _forward(given: Dict[str, Any]) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """Checks the arguments, all of them by name, and calls the kernel."""
    call = _Call(given)
    tensors, initial, shape = call.tensors, call.initial, call.o_shape
    state_shape = call.state_shape
    final = np.empty(state_shape, np.float32) if given["output_final_state"] else None
    o = given["out"]
    if o is None:
        query = next(entry.name for entry in _kernel.inputs if entry.role == "query")
        o = np.empty(shape, tensors[query].dtype)
    else:
        read = [*tensors.values(), *(() if initial is None else (initial,))]
        o = _check_out(o, _kernel.element, shape, read)

    _kernel.run_forward(call.arguments(_kernel.Arguments, final_state=final, o=o))
    return o, final


# ---- backward ----


def backward(
    *args: Any,
    d_o: Any = None,
    d_final_state: Any = None,
    scale: Optional[float] = None,
    initial_state: Optional[np.ndarray] = None,
    cu_seqlens: Optional[np.ndarray] = None,
    threads: Optional[int] = None,
    **inputs: Any,
) -> Dict[str, np.ndarray]:
    """Computes the adjoints of a forward call's inputs from those of its results.

    Args:
        *args, **inputs: the inputs of ``forward``, in its order or by name.
        d_o: adjoint of o, of its shape and type.
        d_final_state: adjoint of the final state, of its shape, float32; None is zero.
        scale, initial_state, cu_seqlens, threads: as in the forward call.

    Returns:
        The adjoints by input, each of its input's shape and type; and under ``initial_state`` that
        of the state before the first token, float32. A log decay of -inf has the adjoint 0.

    Raises:
        RuntimeError: the package was built without its gradient.
        TypeError, ValueError: as ``forward`` does.
    """
    if not _kernel.has_gradient:
        raise RuntimeError(
            f"{_kernel.name} has no gradient: build the package with 'sluice build ... --backward'."
        )
    names = [entry.name for entry in _kernel.inputs]
    given = {**dict(zip(names, args)), **inputs}
    if len(args) > len(names) or given.keys() != set(names) or set(names[: len(args)]) & set(inputs):
        raise TypeError(f"backward({', '.join(names)}, d_o=...): each input is needed, once.")
    given.update(
        scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens, threads=threads
    )
    call = _Call(given)
    d_o = _check_type("d_o", d_o, _kernel.element)
    _check_shape("d_o", d_o, call.o_shape)
    d_o = _dense(d_o)
    d_final = call.state("d_final_state", d_final_state)
    d_initial = np.empty(call.state_shape, np.float32)
    adjoints = {name: np.empty_like(tensor) for name, tensor in call.tensors.items()}
    arguments = call.arguments(
        _kernel.GradientArguments, d_o=d_o, d_final_state=d_final, d_initial_state=d_initial
    )
    for name, adjoint in adjoints.items():
        setattr(arguments, f"adjoint_{name}", _address(adjoint))
    _kernel.run_backward(arguments)
    return {**adjoints, "initial_state": d_initial}


# ---- step ----


class _LastStep(threading.local):
    """A thread's last step: calls of the same shapes take its arguments with other addresses."""

    arguments: Any = None
    shapes: Tuple[Any, ...] = ()
    workspace: Optional[np.ndarray] = None
    o_shape: Tuple[int, ...] = ()
    o_type: Optional[np.dtype] = None

    def run(self, tensors: Sequence[Any], out: Optional[np.ndarray]) -> Optional[np.ndarray]:
        """The output, or None when something is not as in the last call."""
        arguments = self.arguments
        addresses = []
        for tensor, (shape, dtype) in zip(tensors, self.shapes):
            if type(tensor) is not np.ndarray or tensor.shape != shape or tensor.dtype != dtype:
                return None
            flags = tensor.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
            addresses.append(_address(tensor))
        if not tensors[-1].flags.writeable:
            return None
        o = np.empty(self.o_shape, self.o_type) if out is None else out
        for name, address in zip(_STEP_FIELDS, addresses):
            setattr(arguments, name, address)
        arguments.o = _address(o)
        _kernel.step_again(ctypes.addressof(arguments))
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
    if last.arguments is not None and len(args) == len(last.shapes) and scale is None:
        if threads is None and out is None and not tensors:
            o = last.run(args, None)
            if o is not None:
                return o
    return _step(args, tensors, scale, threads, out)


def _step(
    args: Sequence[Any], named: Dict[str, Any], scale: Any, threads: Any, out: Any
) -> np.ndarray:
    """The same with every argument checked."""
    if not _kernel.has_step:
        raise RuntimeError(
            f"{_kernel.name} has no step: build the package without '--no-step'."
        )
    names = [entry.name for entry in _kernel.inputs] + ["state"]
    given = {**dict(zip(names, args)), **named}
    if len(args) > len(names) or given.keys() != set(names) or set(names[: len(args)]) & set(named):
        raise TypeError(f"step({', '.join(names)}): each tensor is needed, once.")
    query = next(entry.name for entry in _kernel.inputs if entry.role == "query")
    is_short = isinstance(given[query], np.ndarray) and given[query].ndim == 3
    whole = dict(given)
    if is_short:
        for entry in _kernel.inputs:
            array = given[entry.name]
            if entry.role != "parameter" and isinstance(array, np.ndarray) and array.ndim > 0:
                whole[entry.name] = array[:, np.newaxis]
    call = _Call({**whole, "scale": scale, "threads": threads, "cu_seqlens": None, "initial_state": None})
    if call.sizes["T"] != 1:
        raise ValueError(f"step takes one token, T = 1, and T is {call.sizes['T']}.")
    state = _check_type("state", given["state"], "f32")
    _check_shape("state", state, call.state_shape)
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
        o = _check_out(out, _kernel.element, shape, [*read, state])
    arguments = call.arguments(_kernel.Arguments, final_state=state, o=o)
    workspace = _kernel.run_step(arguments)
    if scale is None and threads is None:
        last = _last_step
        last.arguments, last.workspace = arguments, workspace
        last.shapes = tuple((given[name].shape, given[name].dtype) for name in names)
        last.o_shape, last.o_type = shape, o.dtype
    return o


# The arguments that every kernel has, after its inputs: annotation, default and meaning.
_OPTIONS: Dict[str, Tuple[Any, Any, str]] = {
    "scale": (Optional[float], None, "factor on the output; None is {scale}"),
    "initial_state": (
        Optional[np.ndarray],
        None,
        "{state} float32: the state before the first token; None is zero",
    ),
    "output_final_state": (bool, False, "whether to return the state after the last token"),
    "cu_seqlens": (
        Optional[np.ndarray],
        None,
        "[N + 1] int32 or int64: where each of N sequences, packed along T with B = 1, begins, and "
        "where the last one ends",
    ),
    "threads": (Optional[int], None, "how many threads compute; None is {threads}"),
    "out": (Optional[np.ndarray], None, "the array to write o to; None makes a new one"),
}


def _signature(kernel: _Kernel) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(entry.name, kind, annotation=np.ndarray) for entry in kernel.inputs
    ]
    for name, (annotation, default, _) in _OPTIONS.items():
        where = inspect.Parameter.KEYWORD_ONLY if name == "out" else kind
        parameters.append(inspect.Parameter(name, where, default=default, annotation=annotation))
    result = Tuple[np.ndarray, Optional[np.ndarray]]
    return inspect.Signature(parameters, return_annotation=result)


def _documentation(kernel: _Kernel) -> str:
    state = f"[B or N, heads, {kernel.key}, {kernel.state_columns}]"
    text = [f"Computes {kernel.summary}.", "", "Args:"]
    for entry in kernel.inputs:
        shape = ", ".join([*entry.leading, *map(str, entry.row)])
        text.append(f"    {entry.name}: [{shape}] {_WANTED[entry.element]}: {entry.summary}.")
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
        f"    o, [B, T, query heads, {kernel.value}] {_WANTED[kernel.element]};",
        f"    the final state, {state} float32, or None when it was not asked for.",
        "",
        "Raises:",
        "    TypeError: an argument is missing, unknown or of the wrong type.",
        "    ValueError: an argument has the wrong shape or value.",
    ]
    return "\n".join(text)


def forward(*args: Any, **kwargs: Any) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    positional = dict(zip(_POSITIONAL, args))
    given = {**_DEFAULTS, **positional, **kwargs}
    surplus = len(positional) < len(args) or not positional.keys().isdisjoint(kwargs)
    if surplus or given.keys() != _SIGNATURE.parameters.keys():
        try:
            _SIGNATURE.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(_SIGNATURE.parameters)
            raise TypeError(f"forward({names}): {error}.") from None
    return _forward(given)


_kernel = _Kernel(_FOLDER)
_SIGNATURE = _signature(_kernel)
_STEP_FIELDS = [f"input_{entry.name}" for entry in _kernel.inputs] + ["final_state"]
_POSITIONAL = [name for name in _SIGNATURE.parameters if name != "out"]
_DEFAULTS = {name: default for name, (_, default, _) in _OPTIONS.items()}
forward.__doc__ = _documentation(_kernel)
setattr(forward, "__signature__", _SIGNATURE)

manifest: Dict[str, Any] = _kernel.manifest
"""What is known of this kernel: recurrence, plan, target, compiler, digests."""

__version__: str = _kernel.version

if str(manifest.get("target")).startswith("sm_"):
    try:
        from .cuda import backward, forward, step
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{_FOLDER} computes on a CUDA card, on PyTorch's tensors: {error.name} is missing."
        ) from None
