"""Forward and backward: ours beside chunked PyTorch with autograd, stock and tuned, in one run.

Every side's output and gradients are first held to float64. Times are of sides in turns in one
process, tuned in the tuned environment and stock in a plain one, ours in both; peak memory is that of
one call beyond what the process had, of a process of its own for each side.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from main import QUIET, TUNED
from package import build
from problem import Problem, draw, relative_error
from timing import in_turns

NAME = "gla_gradient"
# RMS error over RMS of the answer: of o, dq, dk, dv, and of the gate's gradient.
BOUNDS = [1e-5, 1e-5, 1e-5, 1e-5, 1e-4]


def ours(torch, options: argparse.Namespace):
    sys.path.insert(0, str(options.build / "packages"))
    forward = __import__(f"{NAME}.autograd", fromlist=["forward"]).forward

    def step(inputs, d_o, scale):
        leaves = [x.detach().requires_grad_() for x in inputs]
        o, _ = forward(*leaves, scale=scale, threads=options.threads)
        o.backward(d_o)
        return o.detach(), [x.grad for x in leaves]

    return step, "the package's operator", {}


def wanted(torch, inputs, d_o, scale) -> List[np.ndarray]:
    """The output and the gradients in float64, head by head."""
    from peers.pytorch_gradient import _step, stock

    step = _step(torch, lambda *x: stock(torch, *x), 1)
    o, gradients = step([x.double() for x in inputs], d_o.double(), scale)
    return [o.numpy()] + [x.numpy() for x in gradients]


def status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    raise SystemExit(f"/proc/self/status has no {field}.")


def peak(step, arguments) -> int:
    """Bytes that one call takes beyond what the process has, after one that prepared everything."""
    step(*arguments)
    gc.collect()
    if NAME in sys.modules:
        sys.modules[NAME]._kernel.release()  # What ours keeps for later calls is of the call, too.
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak so far.
    step(*arguments)
    return status("VmHWM") - before


def child(options: argparse.Namespace) -> int:
    import torch

    from peers import pytorch_gradient

    torch.set_num_threads(options.threads)
    problem = Problem(*json.loads(options.child))
    rng = np.random.default_rng(1)
    inputs = [torch.from_numpy(array) for array in draw(problem)]
    d_o = torch.from_numpy(
        rng.standard_normal((problem.batch, problem.length, problem.heads, problem.value), np.float32)
    )
    arguments = (inputs, d_o, 1 / math.sqrt(problem.key))
    makers = {
        "sluice": lambda: ours(torch, options),
        "torch tuned": lambda: pytorch_gradient.tuned(torch, *arguments),
        "torch stock": lambda: pytorch_gradient.plain(torch, *arguments),
    }
    exact = None if options.memory else wanted(torch, *arguments)
    steps, rows = {}, []
    for who in options.sides:
        step, form, notes = makers[who]()
        row: Dict[str, Any] = dict(who=who, form=form, notes=notes)
        rows.append(row)
        if options.memory:
            row["peak"] = peak(step, arguments)
            continue
        o, gradients = step(*arguments)
        row["errors"] = [
            relative_error(got.numpy(), want) for got, want in zip([o, *gradients], exact)
        ]
        wrong = any(error > bound for error, bound in zip(row["errors"], BOUNDS))
        if wrong and who == "sluice":
            raise SystemExit(f"sluice is wrong: errors {row['errors']}. Nothing is timed.")
        if not wrong:
            steps[who] = lambda step=step: step(*arguments)
    for who, timing in in_turns(steps, options.rounds, 2).items() if steps else ():
        row = next(row for row in rows if row["who"] == who)
        row["median"], row["spread"] = timing.median, timing.spread
    print(json.dumps(rows))
    return 0


def run(options, problem: Problem, sides: List[str], environment, memory: bool) -> List[Dict[str, Any]]:
    command = [sys.executable, __file__, "--build", str(options.build), "--sluice", str(options.sluice)]
    command += ["--child", json.dumps(list(problem)), "--threads", str(options.threads), "--rounds"]
    command += [str(options.rounds), "--sides", *sides] + (["--memory"] if memory else [])
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(options.build / "inductor")}
    done = subprocess.run(
        command, env={**os.environ, **QUIET, **cache, **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{', '.join(sides)}: the process ended with {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="Benchmarks/cpu/run gradients", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--sluice", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sides", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--peers", nargs="+", choices=["tuned", "stock"], default=["tuned", "stock"])
    parser.add_argument("--skip-memory", action="store_true", help="times alone")
    options = parser.parse_args()
    if options.child:
        return child(options)
    problem = Problem("gradient", 1, options.heads, options.length, 128, 128)
    words = ["gla", "--backward", "--key-dim", str(problem.key), "--value-dim", str(problem.value)]
    build(options, NAME, *words, "--heads", str(problem.heads))
    print(f"{problem}, {options.threads} threads, forward and backward\n")
    print(f"{'WHO':12} {'MEDIAN ms':>10} {'SPREAD':>7} {'x OURS':>7} {'PEAK MiB':>9}  ERRORS o dq dk dv dg")
    for peer in options.peers:
        environment = TUNED if peer == "tuned" else {}
        rows = run(options, problem, ["sluice", f"torch {peer}"], environment, False)
        for row in [] if options.skip_memory else rows:
            row["peak"] = run(options, problem, [row["who"]], {}, True)[0]["peak"]
        for row in rows:
            errors = " ".join(f"{error:.1e}" for error in row["errors"])
            if "median" not in row:
                print(f"{row['who']:12} WRONG: {errors}")
                continue
            ratio = row["median"] / rows[0]["median"]
            peak = f"{row['peak'] / 2**20:.0f}" if "peak" in row else ""
            print(
                f"{row['who']:12} {row['median']:10.1f} {row['spread']:7.1%} {ratio:7.2f} "
                f"{peak:>9}  {errors}  {row['form']}"
            )
            for name, note in row["notes"].items():
                print(f"{'':12}   {name}: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
