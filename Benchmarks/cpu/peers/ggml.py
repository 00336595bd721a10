"""ggml's `gated_linear_attn` through a small driver, built where its source was given."""

from __future__ import annotations

import ctypes
import math
import weakref
from pathlib import Path

import numpy as np

from problem import Inputs, Problem
from timing import Call

from . import NotMeasured

NAME = "ggml"


def prepare(problem: Problem, x: Inputs, threads: int, build: Path) -> Call:
    """The graph is made and its inputs are copied once; a call computes only. It reads decays, so
    their exponentials are left out of its time."""
    path = build / "ggml" / "driver.so"
    if not path.exists():
        raise NotMeasured("its source was not given: set GGML_SOURCE.")
    if problem.element != "f32":
        raise NotMeasured("its operator has no bf16.")
    if problem.key != problem.value:
        raise NotMeasured("its operator takes K = V only.")
    library = ctypes.CDLL(str(path))
    library.driver_make.restype = ctypes.c_void_p
    library.driver_make.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_float, ctypes.c_int]
    library.driver_set.argtypes = [ctypes.c_void_p] * 5
    library.driver_run.argtypes = library.driver_free.argtypes = [ctypes.c_void_p]
    library.driver_result.argtypes = [ctypes.c_void_p]
    library.driver_result.restype = ctypes.POINTER(ctypes.c_float)
    batch, length, heads, key = x.q.shape
    driver = library.driver_make(key, heads, length, batch, 1 / math.sqrt(key), threads)
    if not driver:
        raise NotMeasured("it had no memory for the problem.")
    decay = np.exp(np.broadcast_to(x.g[..., None] if x.g.ndim == 3 else x.g, x.k.shape))
    decay = np.ascontiguousarray(decay)
    library.driver_set(driver, *(array.ctypes.data for array in (x.q, x.k, x.v, decay)))
    tokens = batch * length * heads * key
    count = tokens + batch * heads * key * key
    result = np.ctypeslib.as_array(library.driver_result(driver), (count,))

    def call():
        library.driver_run(driver)
        return result[:tokens].reshape(x.v.shape), result[tokens:].reshape(batch, heads, key, key)

    weakref.finalize(call, library.driver_free, driver)
    return call
