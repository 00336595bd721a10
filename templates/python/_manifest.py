"""What a package is: its manifest, its inputs, and whether its library may be loaded here.

Nothing of the library is executed before it is known to be the one that the manifest describes, and
made for this machine. This text is the same in every package.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import math
import platform
from pathlib import Path
from typing import Any, Dict, NamedTuple, Sequence, Tuple

ABI = 1
FOLDER = Path(__file__).resolve().parent

# Element types as the manifest calls them, and the NumPy types that hold them. bfloat16 is none of
# NumPy's own: it is any registered type of that name (such as ml_dtypes.bfloat16), or its bits.
ELEMENTS = {
    "f32": ("float32",), "f16": ("float16",), "bf16": ("bfloat16", "uint16"), "f64": ("float64",),
}

# The arguments that calls have beside the inputs: no input may take such a name.
OPTIONS = (
    "scale", "initial_state", "output_final_state", "cu_seqlens", "threads", "snapshot_every", "out",
    "states",
)

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


class Input(NamedTuple):
    """One input of the kernel, as the manifest has it."""

    name: str
    role: str
    """``query``, ``operand``, ``gate`` (a row a token and head) or ``parameter`` (a row a head)."""
    element: str
    row: Tuple[int, ...]
    """The last axes: (K,), (V,), (K, V), (features,), or none for a scalar."""
    summary: str

    @property
    def heads(self) -> str:
        return "query heads" if self.role == "query" else "heads"

    @property
    def leading(self) -> Tuple[str, ...]:
        """Names of the axes before the row's."""
        return (self.heads,) if self.role == "parameter" else ("B", "T", self.heads)


def read_manifest(path: Path) -> Dict[str, Any]:
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
    if manifest.get("abi") != ABI:
        raise ImportError(
            f"{path} is of another version: its abi is {manifest.get('abi')!r}, "
            f"and this module knows {ABI}."
        )
    return manifest


def field(holder: Any, name: str, kind: type) -> Any:
    """A field of the manifest, of the type that it must have."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ImportError(
            f"manifest.json in {FOLDER} is damaged: {name!r} is {value!r}, "
            f"and must be of type {kind.__name__}."
        )
    return value


def read_input(entry: Any, key: int, value: int, taken: Sequence[str]) -> Input:
    name, role = field(entry, "name", str), field(entry, "role", str)
    element, axes = field(entry, "type", str), field(entry, "axes", int)
    # The keys are the monomials of d features to degree 2, (d + 1)(d + 2) / 2.
    features = (math.isqrt(8 * key + 1) - 3) // 2
    row = {0: (), 1: (key,), 2: (value,), 3: (key, value), 4: (features,)}.get(axes)
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name in taken:
        problem = f"{name!r} cannot name an input"
    elif role not in ("query", "operand", "gate", "parameter"):
        problem = f"input {name} has the unknown role {role!r}"
    elif element not in ELEMENTS:
        problem = f"input {name} has the unknown type {element!r}"
    elif row is None or field(entry, "size", int) != math.prod(row):
        problem = f"input {name} has sizes that do not agree"
    else:
        return Input(name, role, element, row, field(entry, "summary", str))
    raise ImportError(f"manifest.json in {FOLDER} is damaged: {problem}.")


def check_library(path: Path, digest: str, target: str) -> None:
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
