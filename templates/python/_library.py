"""The loaded library of this package, and the memory that its calls work in.

This text is the same in every package.
"""

from __future__ import annotations

import ctypes
import json
import math
import threading
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional, Sequence, Tuple

import numpy as np

from ._manifest import (
    ELEMENTS,
    FOLDER,
    OPTIONS,
    Input,
    check_library,
    field,
    read_input,
    read_manifest,
)

# A workspace up to this many bytes stays with its thread for the next call.
_KEPT_WORKSPACE = 256 << 20

# Results from so many bytes on are made in memory that was used before, of which so much is kept.
_LARGE_ARRAY = 1 << 20
_KEPT_ARRAYS = 256 << 20

_CODES = {
    1: "the library has another version of the argument struct",
    2: "a required pointer is missing",
    3: "a size is negative or too large, or the query heads are not a multiple of the heads",
    4: "cu_seqlens does not rise from 0 to the number of tokens, or the batch is not 1",
    5: "the workspace is too small",
    6: "a pointer is not aligned",
    7: "the layout or the number of threads is unknown or negative",
    9: "the tokens between two snapshots are no multiple of the chunk",
    8: "the operating system does not let this process use the matrix tiles",
}


def address_of(array: np.ndarray) -> int:
    try:
        # A third of the time that the array's interface takes, which a step of a token would feel.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError, BufferError):
        # Read-only, empty, or of a type that buffers have no letter for.
        return int(array.__array_interface__["data"][0])


class Kernel:
    """The loaded library, and what its manifest says of it."""

    # The argument struct up to the inputs (docs/abi.md has the table); a scale in double fills the
    # place of both fields.
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
        "snapshotEvery",
    )

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder / "manifest.json")
        self.manifest = manifest
        self.version: str = field(manifest, "sluice", str)
        self.name: str = field(manifest, "name", str)
        self.key: int = field(manifest, "key", int)
        self.value: int = field(manifest, "value", int)
        self.state_columns: int = field(manifest, "stateColumns", int)
        self.element: str = field(manifest, "type", str)
        # Of states, parameters and sums.
        self.state_element = "f64" if self.element == "f64" else "f32"
        self.state_type = np.dtype(np.float64 if self.element == "f64" else np.float32)
        self.threads: int = field(field(manifest, "plan", dict), "threads", int)
        recurrence = field(manifest, "recurrence", dict)
        self.summary: str = field(recurrence, "summary", str)
        self.scales_by_key = field(recurrence, "defaultScale", str) == "inverseSquareRootOfKey"
        self.inputs: List[Input] = []
        for entry in field(manifest, "inputs", list):
            taken = [*(known.name for known in self.inputs), *OPTIONS]
            self.inputs.append(read_input(entry, self.key, self.value, taken))
        if self.element not in ELEMENTS or not self.name.isidentifier():
            raise ImportError(f"manifest.json in {folder} is damaged: name or type is unknown.")

        path = folder / f"{self.name}.so"
        check_library(
            path, field(manifest, "libraryDigest", str), field(manifest, "target", str)
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
        # Tokens between two states that a call may have written out, or a divisor; None: it writes none.
        self.snapshot_every: Optional[int] = None
        tail: List[Tuple[str, Any]] = []
        if manifest.get("snapshotEvery") is not None:
            self.snapshot_every = field(manifest, "snapshotEvery", int)
            self.chunk: int = field(field(manifest, "plan", dict), "chunk", int)
            tail = [("snapshot_every", ctypes.c_int64), ("snapshots", ctypes.c_void_p)]
        fields = self._FIELDS
        if self.state_element == "f64":
            fields = [
                ("scale", ctypes.c_double) if name == "scale" else (name, kind)
                for name, kind in fields
                if name != "reserved"
            ]
        pointers = [(f"input_{known.name}", ctypes.c_void_p) for known in self.inputs]
        self.Arguments = type(
            "Arguments", (ctypes.Structure,), {"_fields_": fields + pointers + tail}
        )
        adjoints = [(f"adjoint_{known.name}", ctypes.c_void_p) for known in self.inputs]
        # Tokens between the states that the gradient takes from a forward call; None: it takes none.
        self.states_every: Optional[int] = None
        if manifest.get("backward") is not None:
            gradient = field(manifest, "backward", dict)
            if "saved" in field(gradient, "materialization", dict):
                self.states_every = field(gradient, "chunk", int)
                adjoints.append(("states", ctypes.c_void_p))
        ends = [
            (name, ctypes.c_void_p)
            for name in ("initial_state", "d_final_state", "d_initial_state", "d_o")
        ]
        self.GradientArguments = type(
            "GradientArguments",
            (ctypes.Structure,),
            {"_fields_": fields[:-3] + ends + pointers + adjoints},
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
    def is_for_card(self) -> bool:
        """Whether the kernel runs on a CUDA card."""
        return str(self.manifest["target"]).startswith("sm_")

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

    def bind_step(self, arguments: Any) -> Tuple[Any, int, np.ndarray]:
        """The call of a token, ready: the entry, which takes the arguments' address and returns a code,
        that address, and the workspace, which must outlive the calls."""
        return self._bind(self._step, self._step_workspace_size, arguments)

    def bind_forward(self, arguments: Any) -> Tuple[Any, int, np.ndarray]:
        """The same of whole sequences."""
        return self._bind(self._forward, self._workspace_size, arguments)

    def _bind(
        self, entry: Any, workspace_size: Any, arguments: Any
    ) -> Tuple[Any, int, np.ndarray]:
        address = ctypes.addressof(arguments)
        size = self._sized(workspace_size, address)
        workspace = aligned((size,), np.uint8)
        arguments.workspace, arguments.workspace_size = address_of(workspace), size
        return entry, address, workspace

    def _run(self, entry: Any, workspace_size: Any, arguments: Any) -> None:
        address = ctypes.addressof(arguments)
        size = self._sized(workspace_size, address)
        workspace = self._workspace.take(size)
        arguments.workspace, arguments.workspace_size = address_of(workspace), size
        code = entry(address)
        if code != 0:
            self.fail(code)

    def _sized(self, workspace_size: Any, address: int) -> int:
        size = int(workspace_size(address))
        if size < 0:
            self.fail(-size)
        return size

    def release(self) -> None:
        """Gives back the memory that is kept for this thread's next call, and for new arrays."""
        self._workspace.kept = None
        _spares.clear()

    def fail(self, code: int) -> NoReturn:
        meaning = _CODES.get(code, "the library does not say why")
        raise RuntimeError(f"{self.name} refused the call with code {code}: {meaning}.")


def aligned(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of anything at a 64-byte boundary: elsewhere vectors straddle cache lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 63, np.uint8)
    start = -address_of(memory) % 64
    array: np.ndarray = memory[start : start + size].view(dtype).reshape(shape)
    return array


class _Spares:
    """Memory of large arrays that nobody holds any more, for the next ones of the same size: fresh
    memory is zeroed by the operating system at its first use, which takes about as long as to fill it.
    """

    def __init__(self) -> None:
        self._free: Dict[int, List[np.ndarray]] = {}

    def take(self, size: int) -> np.ndarray:
        try:
            return self._free[size].pop()
        except (KeyError, IndexError):
            return aligned((size,), np.uint8)

    def give(self, memory: np.ndarray) -> None:
        kept = sum(size * len(free) for size, free in list(self._free.items()))
        if kept + memory.size <= _KEPT_ARRAYS:
            self._free.setdefault(memory.size, []).append(memory)

    def clear(self) -> None:
        self._free.clear()


_spares = _Spares()


class _Lease:
    """What an array of such memory, and every view of it, keeps alive."""

    def __init__(self, size: int) -> None:
        self._memory = _spares.take(size)
        self.__array_interface__ = self._memory.__array_interface__

    def __del__(self, give: Any = _spares.give) -> None:
        give(self._memory)


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of anything. A large one's memory is used again when nobody holds it any more."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE_ARRAY:
        return aligned(shape, dtype)
    array: np.ndarray = np.asarray(_Lease(size)).view(dtype).reshape(shape)
    return array


class _Workspace(threading.local):
    """Scratch memory, each thread its own: 64-byte aligned, kept for the next call unless large."""

    kept: Optional[np.ndarray] = None

    def take(self, size: int) -> np.ndarray:
        if self.kept is not None and self.kept.size >= size:
            return self.kept
        memory = aligned((size,), np.uint8)
        if size <= _KEPT_WORKSPACE:
            self.kept = memory
        return memory


kernel = Kernel(FOLDER)
"""The kernel of this package."""
