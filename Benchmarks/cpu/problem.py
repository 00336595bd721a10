"""Problems: their sizes, drawn inputs, and the answer in float64."""

from __future__ import annotations

import math
from typing import NamedTuple, Tuple

import ml_dtypes
import numpy as np

# RMS error over RMS of the answer, of the output and of the final state.
BOUNDS = {"f32": (1e-5, 1e-5), "bf16": (3.4e-3, 3.4e-3)}
TYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}


class Problem(NamedTuple):
    """One line of the table but for the threads."""

    name: str
    batch: int
    heads: int
    length: int
    key: int
    value: int
    element: str = "f32"
    gate: str = "mild"
    """``mild`` as the GLA layer has it; ``strong``: mean -3 a token; ``scalar``: mild, one number a
    head and token."""

    @property
    def flops(self) -> float:
        """Useful ones: two products of a K x V state and a vector a token."""
        return 4.0 * self.batch * self.heads * self.length * self.key * self.value

    @property
    def bytes(self) -> float:
        """Every input read once, every output written once; gates are f32."""
        size = TYPES[self.element].itemsize
        gate = 1 if self.gate == "scalar" else self.key
        token = (2 * self.key + 2 * self.value) * size + gate * 4
        rows = self.batch * self.heads
        return float(rows * self.length * token + rows * self.key * self.value * 4)

    def __str__(self) -> str:
        sizes = f"B{self.batch} H{self.heads} T{self.length} K{self.key} V{self.value}"
        return f"{self.name} {sizes} {self.element} {self.gate}"


class Inputs(NamedTuple):
    """Arrays [B, T, heads, D]; q, k, v of the problem's type, `g` the log decay in float32
    ([B, T, heads] for a scalar gate)."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy at a multiple of 64 bytes: elsewhere vector loads straddle cache lines."""
    memory = np.zeros(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def draw(problem: Problem) -> Inputs:
    """Normal q, k and v. The mild gate is log(sigmoid(x)) / 16 of a normal x; the strong one is
    uniform between -6 and 0."""
    rng = np.random.default_rng(0)
    leading = (problem.batch, problem.length, problem.heads)
    element = TYPES[problem.element]
    sizes = (problem.key, problem.key, problem.value)
    q, k, v = (rng.standard_normal((*leading, d), np.float32).astype(element) for d in sizes)
    shape = leading if problem.gate == "scalar" else (*leading, problem.key)
    if problem.gate == "strong":
        g = rng.uniform(-6, 0, shape).astype(np.float32)
    else:
        x = rng.standard_normal(shape, np.float32).astype(np.float64)
        g = (-np.logaddexp(0, -x) / 16).astype(np.float32)
    return Inputs(*(aligned(array) for array in (q, k, v, g)))


def recurrence(x: Inputs) -> Tuple[np.ndarray, np.ndarray]:
    """The output and the final state, token by token in float64."""
    q, k, v = (array.astype(np.float64) for array in x[:3])
    g = x.g.astype(np.float64)
    decay = np.exp(g[..., None] if g.ndim == 3 else g)
    batch, length, heads, key = q.shape
    state = np.zeros((batch, heads, key, v.shape[-1]))
    o = np.empty((batch, length, heads, v.shape[-1]))
    scale = 1 / math.sqrt(key)
    for t in range(length):
        state *= decay[:, t, :, :, None]
        state += k[:, t, :, :, None] * v[:, t, :, None, :]
        o[:, t] = scale * (q[:, t, :, None, :] @ state)[..., 0, :]
    return o, state


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """RMS of the difference over RMS of what is wanted; infinite when anything is not a number."""
    difference = got.astype(np.float64) - wanted
    error = float(np.sqrt(np.mean(np.square(difference)) / np.mean(np.square(wanted))))
    return error if math.isfinite(error) else math.inf
