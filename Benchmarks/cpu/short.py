"""Short runs of tokens: the plan that the planner's model picks, beside every other schedule.

B 1, H 16, K = V = 128, a decay per key, f32; 1, 4, 16 and 64 tokens with a final state, arguments bound
before the clock starts. At every length all kernels are timed in turns: what the model picks for
each of the lengths, the best of each schedule by the model, and `step` as often as there are tokens.
Every answer is held to the recurrence in float64 first.

Run through `Benchmarks/cpu/run --short`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np

from problem import BOUNDS, Problem, aligned, draw, recurrence, relative_error
from timing import in_turns

HEADS, SIZE = 16, 128
LENGTHS = (1, 4, 16, 64)
SCHEDULES = ("token-recurrent", "register-recurrent", "chunk-fused", "segmented")


def planned(options: argparse.Namespace, length: int, *pins: str) -> str:
    """The name of the kernel that the planner picks."""
    done = subprocess.run(
        [*arguments(options, "plan", length), *pins, "--json"], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"short: `sluice plan` failed:\n{done.stderr}")
    return str(json.loads(done.stdout)["kernel"])


def arguments(options: argparse.Namespace, verb: str, length: int) -> List[str]:
    command = [str(options.sluice), verb, "gla", "--heads", str(HEADS), "--length", str(length)]
    return [*command, "--threads", str(options.threads), "--records", str(options.build / "none")]


def package(options: argparse.Namespace, name: str, length: int, *pins: str):
    """The kernel, built and imported."""
    folder = options.build / "packages" / f"short_{name}"
    done = subprocess.run(
        [*arguments(options, "build", length), *pins, "-o", str(folder)],
        capture_output=True, text=True,
    )
    if done.returncode:
        raise SystemExit(f"short: `sluice build` failed:\n{done.stderr}")
    sys.path.insert(0, str(folder.parent))
    return importlib.import_module(folder.name)


def bound(module, x, length: int, threads: int):
    """A call of `forward` whose arguments are made once, and what it gives."""
    checks = importlib.import_module(f"{module.__name__}._checks")
    kernel = module._kernel
    given = {**x._asdict(), "scale": None, "threads": threads, "cu_seqlens": None}
    call = checks.Call({**given, "initial_state": None})
    o = aligned(np.zeros((1, length, HEADS, SIZE), np.float32))
    state = aligned(np.zeros((1, HEADS, SIZE, SIZE), np.float32))
    block = call.arguments(kernel.Arguments, final_state=state, o=o)

    def run():
        kernel.run_forward(block)
        return o, state

    return run


def steps(module, x, length: int, threads: int):
    """As many steps, each bound to its token's rows, from a state of zeros."""
    o = aligned(np.zeros((1, length, HEADS, SIZE), np.float32))
    state = aligned(np.zeros((1, HEADS, SIZE, SIZE), np.float32))
    calls = [
        module.Stepper(*(a[:, t] for a in x), state, out=o[:, t], threads=threads)
        for t in range(length)
    ]

    def run():
        state[...] = 0
        for call in calls:
            call()
        return o, state

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="Benchmarks/cpu/run --short", description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--sluice", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()

    picked = {length: planned(options, length) for length in LENGTHS}
    modules: Dict[str, object] = {}
    for length in LENGTHS:
        for name, *pins in [(picked[length],)] + [
            (planned(options, length, "--schedule", s), "--schedule", s) for s in SCHEDULES
        ]:
            if name not in modules:
                modules[name] = package(options, name, length, *pins)
    print(f"H {HEADS}, K = V = {SIZE}, f32, {options.threads} threads; us, medians; *: the model's pick")
    rows: Dict[str, List[str]] = {name: [] for name in ["step, token by token", *modules]}
    worst = []
    for length in LENGTHS:
        x = draw(Problem("short", 1, HEADS, length, SIZE, SIZE))
        wanted = recurrence(x)
        calls = {n: bound(m, x, length, options.threads) for n, m in modules.items()}
        any_module = next(iter(modules.values()))
        calls["step, token by token"] = steps(any_module, x, length, options.threads)
        for name, call in calls.items():
            errors = [relative_error(a, b) for a, b in zip(call(), wanted)]
            if not all(e <= bound for e, bound in zip(errors, BOUNDS["f32"])):
                raise SystemExit(f"short: {name} at T = {length} is off by {max(errors):.2e}.")
        timings = in_turns(calls, options.rounds, options.repeats)
        times = {name: timing.median * 1e3 for name, timing in timings.items()}
        for name, found in times.items():
            rows[name].append(f"{found:8.1f}{'*' if name == picked[length] else ' '}")
        own = min(t for n, t in times.items() if n in modules)
        worst.append(f"T {length}: {times[picked[length]] / own:.2f}")
    width = max(map(len, rows))
    print(f"{'T':{width}} " + " ".join(f"{length:8} " for length in LENGTHS))
    for name, cells in rows.items():
        print(f"{name:{width}} " + " ".join(cells))
    print("the model's pick over the fastest kernel: " + ", ".join(worst))


if __name__ == "__main__":
    main()
