"""One token at a time: ours beside ONNX Runtime, with its state bound in place, and PyTorch.

H 16, K = V = 128, a decay per key, f32; batch 1 and 16. States are hot (one set, again and again) or in
memory (sets in turns, several times what the last cache holds), the latter in turns with a copy of the
same memory whose stores go past the caches. Ours and ONNX Runtime's arrays are bound once (`Stepper`,
IOBinding); `step` is ours with every call's arrays new to it.
Every side's answer and state are held to the recurrence in double precision first.

Run through `Benchmarks/cpu/run --decode`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

HEADS, KEY, VALUE = 16, 128, 128
BOUND = 1e-5
PAUSE = 0.3
Call = Callable[[int], None]


class Side(NamedTuple):
    """One implementation: what it answers for set n, and where its states lie."""

    run: Call
    output: Callable[[], "np.ndarray"]
    states: List["np.ndarray"]


def aligned(shape, count=1):
    """`count` arrays of zeros side by side, each at a 64-byte boundary."""
    size = int(np.prod(shape))
    memory = np.zeros(size * count + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    rows = memory[start : start + size * count].reshape(count, *shape)
    return list(rows)


def unbound(package, x, first, sets):
    states = aligned(first.shape, sets)
    for state in states:
        state[:] = first
    out = {}

    def run(n):
        out["o"] = package.step(x["q"], x["k"], x["v"], x["g"], states[n])

    return Side(run, lambda: out["o"][:, 0], states)


def ours(package, x, first, sets):
    states = aligned(first.shape, sets)
    for state in states:
        state[:] = first
    o = np.empty_like(x["v"])
    steppers = [package.Stepper(*(x[n] for n in "qkvg"), state, out=o) for state in states]
    return Side(lambda n: steppers[n](), lambda: o[:, 0], states)


def onnxruntime(x, first, threads, sets):
    import onnxruntime as ort
    from onnx import TensorProto, helper

    batch = first.shape[0]
    packed = {name: np.ascontiguousarray(a.reshape(batch, 1, -1)) for name, a in x.items()}
    node = helper.make_node(
        "LinearAttention", ["q", "k", "v", "past", "g"], ["o", "state"], domain="com.microsoft",
        update_rule="gated", q_num_heads=HEADS, kv_num_heads=HEADS,
    )
    states = aligned(first.shape, sets)
    for state in states:
        state[:] = first
    o = np.zeros((batch, 1, HEADS * VALUE), np.float32)

    def describe(arrays):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in arrays.items()
        ]

    graph = helper.make_graph(
        [node], "decode", describe({**packed, "past": first}), describe({"o": o, "state": first})
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    bindings = []
    for state in states:
        binding = session.io_binding()
        for name, array in packed.items():
            binding.bind_cpu_input(name, array)
        binding.bind_input("past", "cpu", 0, np.float32, state.shape, state.ctypes.data)
        binding.bind_output("state", "cpu", 0, np.float32, state.shape, state.ctypes.data)
        binding.bind_output("o", "cpu", 0, np.float32, o.shape, o.ctypes.data)
        bindings.append(binding)
    return Side(
        lambda n: session.run_with_iobinding(bindings[n]),
        lambda: o.reshape(batch, HEADS, VALUE),
        states,
    )


def pytorch(x, first, threads, sets):
    import torch

    torch.set_num_threads(threads)
    q, k, v, g = (torch.from_numpy(x[name][:, 0]) for name in ("q", "k", "v", "g"))
    arrays = aligned(first.shape, sets)
    for state in arrays:
        state[:] = first
    states = [torch.from_numpy(state) for state in arrays]
    scale = KEY**-0.5
    out = {}

    def run(n):
        with torch.inference_mode():
            state = states[n]
            state.mul_(g.exp().unsqueeze(-1))
            state.addcmul_(k.unsqueeze(-1), v.unsqueeze(-2))
            out["o"] = torch.matmul((q * scale).unsqueeze(-2), state).squeeze(-2)

    return Side(run, lambda: out["o"].numpy(), arrays)


def check(name, side, x, first):
    """The first call's answer and state against the recurrence in double."""
    side.run(0)
    q, k, v, g = (x[key][:, 0].astype(np.float64) for key in ("q", "k", "v", "g"))
    state = np.exp(g)[..., None] * first + k[..., None] * v[..., None, :]
    o = np.einsum("bhk,bhkv->bhv", q, state) / np.sqrt(KEY)
    for what, found, wanted in (("o", side.output(), o), ("state", side.states[0], state)):
        error = np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))
        if not error < BOUND:
            raise SystemExit(f"decode: {name}: {what} is off by {error:.2e}.")


def timed(call: Call, sets: int, seconds: float) -> float:
    """Microseconds of one call, over so many calls that the clock costs nothing; after a pause in which
    the idle workers of other sides go to sleep. While its turn lasts, each side's may spin."""
    time.sleep(PAUSE)
    for n in range(sets):
        call(n)
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for n in range(sets):
            call(n)
        calls += sets
    return (time.perf_counter() - begin) / calls * 1e6


def copied(
    states: List["np.ndarray"], pool: ThreadPoolExecutor, threads: int, seconds: float
) -> float:
    """Bytes a second of a copy, counted both ways: the first half of the states' own memory to the other
    half, a part for each thread. The C library stores so large a part past the caches, and so reads no
    line before it writes it."""
    begin, half = states[0].ctypes.data, len(states) // 2 * states[0].nbytes
    part = half // threads
    time.sleep(PAUSE)
    moved, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        wait([
            pool.submit(ctypes.memmove, begin + half + n * part, begin + n * part, part)
            for n in range(threads)
        ])
        moved += 2 * part * threads
    return moved / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(prog="Benchmarks/cpu/run --decode", description=__doc__)
    parser.add_argument("--package", type=Path, required=True, help="made by 'sluice build gla'")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="of one turn")
    parser.add_argument("--memory", type=int, default=1024, help="MB of states that are not hot")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    global np
    import numpy as np

    sys.path.insert(0, str(options.package.resolve().parent))
    package = importlib.import_module(options.package.name)
    rng = np.random.default_rng(0)
    threads = options.threads
    pool = ThreadPoolExecutor(threads)
    print(f"H {HEADS}, K {KEY}, V {VALUE}, f32, {threads} threads; medians of {options.rounds} turns")
    for batch in (1, 16):
        x = {n: rng.standard_normal((batch, 1, HEADS, KEY)).astype(np.float32) for n in "qkvg"}
        x["g"] = -np.logaddexp(0, -x["g"]).astype(np.float32) / 16
        first = rng.standard_normal((batch, HEADS, KEY, VALUE)).astype(np.float32)
        moved = 2 * first.nbytes
        for where, sets in (("hot", 1), ("memory", max(2, (options.memory << 20) // first.nbytes))):
            makers = {
                "sluice": lambda: ours(package, x, first, sets),
                "step": lambda: unbound(package, x, first, sets),
                "onnxruntime": lambda: onnxruntime(x, first, threads, sets),
                "pytorch": lambda: pytorch(x, first, threads, sets),
            }
            times: Dict[str, List[float]] = {name: [] for name in makers}
            rates: Dict[str, List[float]] = {name: [] for name in makers}
            sides = {}
            for name, make in makers.items():
                try:
                    sides[name] = make()
                except ImportError as error:
                    print(f"  {name} is left out: {error}.")
                    continue
                check(name, sides[name], x, first)
                if where == "memory":
                    # One side's sets at a time are in memory: it takes turns with copies of them.
                    side = sides.pop(name)
                    for _ in range(options.rounds):
                        rates[name].append(copied(side.states, pool, threads, options.seconds))
                        times[name].append(timed(side.run, sets, options.seconds))
                    del side
            for turn in range(options.rounds if where == "hot" else 0):
                for name in list(sides) if turn % 2 == 0 else list(reversed(sides)):
                    times[name].append(timed(sides[name].run, sets, options.seconds))
            mine = statistics.median(times["sluice"])
            for name, found in times.items():
                if not found:
                    continue
                median = statistics.median(found)
                text = f"  batch {batch:2}, {where:6} {name:12} {median:9.1f} us, {moved / median / 1e3:6.1f} GB/s"
                if where == "memory":
                    # Each turn beside the copy just before it: the memory is shared with other machines.
                    shares = [moved / own * 1e6 / rate for own, rate in zip(found, rates[name])]
                    text += f", {statistics.median(shares):5.0%} ({min(shares):.0%} to {max(shares):.0%})"
                    text += f" of a copy ({statistics.median(rates[name]) / 1e9:.1f} GB/s)"
                if name != "sluice":
                    text += f", {median / mine:.2f} x ours"
                print(text, flush=True)


if __name__ == "__main__":
    main()
