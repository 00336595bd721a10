"""Calls timed in turns, and the machine's own limits."""

from __future__ import annotations

import statistics
import time
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np

Call = Callable[[], Tuple[np.ndarray, np.ndarray]]

# Idle workers of all sides are told to sleep; this many seconds before a turn let them.
PAUSE = 0.1


class Timing(NamedTuple):
    """Milliseconds of one call."""

    times: List[float]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles over the median."""
        first, _, third = statistics.quantiles(self.times, n=4)
        return (third - first) / 2 / self.median


def in_turns(calls: Dict[str, Call], rounds: int, repeats: int) -> Dict[str, Timing]:
    """`rounds` turns each, in alternating order: a pause, a call that is not counted, `repeats` that
    are."""
    times: Dict[str, List[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            time.sleep(PAUSE)
            calls[name]()
            for _ in range(repeats):
                start = time.perf_counter()
                calls[name]()
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: Timing(found) for name, found in times.items()}


class Limits(NamedTuple):
    """What the machine can do with a number of threads: FLOP/s of the best square product, bytes/s
    of a copy, counted both ways."""

    products: Dict[str, float]
    bandwidth: float

    def floor(self, flops: float, moved: float, element: str) -> float:
        """Milliseconds below which no kernel can be."""
        return max(flops / self.products[element], moved / self.bandwidth) * 1e3


def _best(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def limits(threads: int, repeats: int) -> Limits:
    """Measured with PyTorch: its products are MKL's in f32 and oneDNN's in bf16."""
    import torch

    torch.set_num_threads(threads)
    products = {}
    for element, kind in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        rates = []
        for size in (1024, 2048, 4096):
            a, b = (torch.randn(size, size).to(kind) for _ in range(2))
            out = torch.empty(size, size, dtype=kind)
            rates.append(2 * size**3 / _best(lambda: torch.matmul(a, b, out=out), repeats))
        products[element] = max(rates)
    source, target = (torch.zeros(32 << 20) for _ in range(2))
    seconds = _best(lambda: target.copy_(source), repeats)
    return Limits(products, 2 * source.nbytes / seconds)
