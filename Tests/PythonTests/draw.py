"""Random inputs for a package, as its manifest describes them."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Dict, List, NamedTuple

import numpy as np


class Shape(NamedTuple):
    """The sizes of one call."""

    batch: int = 2
    length: int = 37
    heads: int = 2
    query_heads: int = 2


def element_type(dtype: str) -> Any:
    """The NumPy type of a manifest's element type; bfloat16 is that of ml_dtypes."""
    if dtype == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": np.float32, "f16": np.float16, "f64": np.float64}[dtype])


def draw(package: ModuleType, shape: Shape = Shape(), seed: int = 0) -> Dict[str, np.ndarray]:
    """One array an input: normal where any number is legal, mild decays where not."""
    rng = np.random.default_rng(seed)
    return {
        entry["name"]: _draw_one(entry, package.manifest, shape, rng)
        for entry in package.manifest["inputs"]
    }


def _draw_one(
    entry: Dict[str, Any], manifest: Dict[str, Any], shape: Shape, rng: np.random.Generator
) -> np.ndarray:
    key, value = manifest["key"], manifest["value"]
    # Features, whose monomials the keys are, only the entry itself tells.
    row: List[int] = {0: [], 1: [key], 2: [value], 3: [key, value], 4: [entry["size"]]}[entry["axes"]]
    leading = [shape.batch, shape.length, shape.heads]
    if entry["role"] == "query":
        leading[2] = shape.query_heads
    elif entry["role"] == "parameter":
        leading = [shape.heads]
    size = (*leading, *row)
    lower, upper = (float(bound) for bound in entry["domain"])
    if (lower, upper) == (0.0, 1.0):
        values = rng.uniform(0.5, 1.0, size)
    elif upper == 0.0:
        values = -np.abs(rng.standard_normal(size)) * 0.3
    elif lower == 0.0:
        values = np.abs(rng.standard_normal(size)) * 0.5
    else:
        values = rng.standard_normal(size)
    return values.astype(element_type(entry["type"]))
