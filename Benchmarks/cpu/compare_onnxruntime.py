"""ONNX Runtime's com.microsoft LinearAttention against a package, in turns in one process.

    sluice build gla --key-dim 128 --value-dim 128 --dtype f32 --target native -o build/gla
    python Benchmarks/cpu/compare_onnxruntime.py build/gla

Both outputs and final states are first held to the recurrence in float64; with a wrong answer
nothing is timed. README.md beside this file says how the times are taken.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

BOUND = 1e-5

# An idle worker that spins would take a core from the other side's. Both sides are told to sleep when
# idle, or, with --spin, to spin; this many seconds before each turn let them come to rest.
PAUSE = 0.3


class Inputs(NamedTuple):
    """Arrays [B, T, heads, D] in float32; `g` is the log decay."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray


class Timing(NamedTuple):
    """Milliseconds of one call."""

    times: List[float]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def quartiles(self) -> Tuple[float, float]:
        first, _, third = statistics.quantiles(self.times, n=4)
        return first, third

    def __str__(self) -> str:
        first, third = self.quartiles
        return (
            f"{self.median:8.2f} ms   quartiles {first:.2f} to {third:.2f}, "
            f"least {min(self.times):.2f}, {len(self.times)} calls"
        )


Call = Callable[[], Tuple[np.ndarray, np.ndarray]]


def aligned(values: np.ndarray) -> np.ndarray:
    """A float32 copy at a multiple of 64 bytes: elsewhere vector loads straddle cache lines, which
    costs an operator that keeps its state in the output a third of its speed."""
    memory = np.zeros(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(np.float32).reshape(values.shape)
    copy[...] = values
    return copy


def draw(shape: argparse.Namespace) -> Inputs:
    """Normal q, k and v; the gate is log(sigmoid(x)) / 16 of a normal x, as in the GLA layer."""
    rng = np.random.default_rng(0)
    leading = (shape.batch, shape.length, shape.heads)

    def normal(size: int) -> np.ndarray:
        return rng.standard_normal((*leading, size), np.float32)

    q, k, v, x = (normal(d) for d in (shape.key, shape.key, shape.value, shape.key))
    g = (-np.logaddexp(0, -x.astype(np.float64)) / 16).astype(np.float32)
    return Inputs(*(aligned(array) for array in (q, k, v, g)))


def recurrence(x: Inputs) -> Tuple[np.ndarray, np.ndarray]:
    """The output and the final state, token by token in float64."""
    q, k, v, g = (array.astype(np.float64) for array in x)
    batch, length, heads, key = q.shape
    state = np.zeros((batch, heads, key, v.shape[-1]))
    o = np.empty((batch, length, heads, v.shape[-1]))
    scale = 1 / math.sqrt(key)
    for t in range(length):
        state *= np.exp(g[:, t])[..., None]
        state += k[:, t, :, :, None] * v[:, t, :, None, :]
        o[:, t] = scale * (q[:, t, :, None, :] @ state)[..., 0, :]
    return o, state


def onnxruntime_call(x: Inputs, threads: int, spin: bool) -> Call:
    """A session of one node; inputs and outputs are bound, so that a call copies nothing."""
    import onnxruntime
    from onnx import TensorProto, helper

    batch, length, heads, key = x.q.shape
    value = x.v.shape[-1]
    packed = {name: array.reshape(batch, length, -1) for name, array in x._asdict().items()}
    node = helper.make_node(
        "LinearAttention",
        ["q", "k", "v", "", "g"],
        ["o", "state"],
        domain="com.microsoft",
        update_rule="gated",
        q_num_heads=heads,
        kv_num_heads=heads,
    )
    o = aligned(np.zeros((batch, length, heads * value), np.float32))
    state = aligned(np.zeros((batch, heads, key, value), np.float32))

    def describe(arrays: Dict[str, np.ndarray]) -> List[Any]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in arrays.items()
        ]

    outputs = {"o": o, "state": state}
    graph = helper.make_graph([node], "linear_attention", describe(packed), describe(outputs))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for name, array in packed.items():
        binding.bind_cpu_input(name, array)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def call() -> Tuple[np.ndarray, np.ndarray]:
        session.run_with_iobinding(binding)
        return o.reshape(batch, length, heads, value), state

    return call


def package_call(package: ModuleType, x: Inputs, threads: int) -> Call:
    out = aligned(np.zeros((*x.q.shape[:3], x.v.shape[-1]), np.float32))

    def call() -> Tuple[np.ndarray, np.ndarray]:
        o, state = package.forward(*x, output_final_state=True, threads=threads, out=out)
        return o, state

    return call


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """RMS of the difference over RMS of what is wanted."""
    difference = got.astype(np.float64) - wanted
    return float(np.sqrt(np.mean(np.square(difference)) / np.mean(np.square(wanted))))


def time_in_turns(calls: Dict[str, Call], rounds: int, repeats: int) -> Dict[str, Timing]:
    """`rounds` turns each: a pause, a call that is not counted, and `repeats` that are."""
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


def import_package(folder: Path) -> ModuleType:
    folder = folder.resolve()
    sys.path.insert(0, str(folder.parent))
    importlib.invalidate_caches()
    return importlib.import_module(folder.name)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "package", type=Path, nargs="?", help="a package of gla; none times the peer"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--key", type=int, default=128)
    parser.add_argument("--value", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side")
    parser.add_argument("--repeats", type=int, default=5, help="counted calls a turn")
    parser.add_argument("--spin", action="store_true", help="idle workers of both sides spin")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def main() -> int:
    options = parse()
    os.environ.setdefault("OMP_WAIT_POLICY", "active" if options.spin else "passive")
    if not options.spin:
        os.environ.setdefault("KMP_BLOCKTIME", "0")
    import onnxruntime

    package = import_package(options.package) if options.package else None
    x = draw(options)
    print(
        f"B {options.batch}, H {options.heads}, T {options.length}, K {options.key}, "
        f"V {options.value}, f32, gate per key; ONNX Runtime {onnxruntime.__version__}"
        + (f"; {package.manifest['name']}" if package else "")
    )
    wanted = recurrence(x)
    failed = False
    figures: List[Dict[str, Any]] = []
    for threads in options.threads:
        calls = {"onnxruntime": onnxruntime_call(x, threads, options.spin)}
        if package:
            calls["sluice"] = package_call(package, x, threads)
        for name, call in calls.items():
            errors = [relative_error(got, want) for got, want in zip(call(), wanted)]
            right = all(error <= BOUND for error in errors)  # NaN is not right.
            failed = failed or not right
            print(
                f"{threads} threads  {name:12} error of o {errors[0]:.1e}, of the state "
                f"{errors[1]:.1e} (bound {BOUND:.0e}): {'right' if right else 'WRONG'}"
            )
        if failed:
            print("An answer is wrong: nothing is timed.", file=sys.stderr)
            return 1
        timings = time_in_turns(calls, options.rounds, options.repeats)
        for name, timing in timings.items():
            print(f"{threads} threads  {name:12} {timing}")
            first, third = timing.quartiles
            figures.append(
                dict(threads=threads, name=name, median=timing.median, quartiles=[first, third])
            )
        if package:
            ratio = timings["onnxruntime"].median / timings["sluice"].median
            print(f"{threads} threads  ONNX Runtime takes {ratio:.2f} times as long")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
