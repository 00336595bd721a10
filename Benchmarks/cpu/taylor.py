"""Taylor-2 attention with its normalizer (Based's): ours beside PyTorch, forward, and forward and backward.

Every side's output and gradients are first held to float64. Sides take turns in one process, in the
tuned environment. PyTorch is in chunks, as a careful user writes it: scores of a chunk are 1 + s + s^2 / 2 of
a product over the features themselves, what lies before it is read of states of monomials, packed or all
pairs. Chunks, forms and compilation are tried, and the fastest is kept.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

from main import QUIET, TUNED
from package import build
from problem import relative_error
from timing import in_turns

NAME = "taylor_attention"


def monomials(torch, x, form: str):
    """1, x and its products of two, the packed ones once with their weight, of rows scaled before."""
    ones = torch.ones_like(x[..., :1])
    if form == "packed":
        first, second = torch.triu_indices(x.shape[-1], x.shape[-1])
        weight = torch.where(first == second, math.sqrt(0.5), 1.0).to(x.dtype)
        return torch.cat([ones, x, x[..., first] * x[..., second] * weight], -1)
    pairs = (x[..., :, None] * x[..., None, :]).flatten(-2) * math.sqrt(0.5)
    return torch.cat([ones, x, pairs], -1)


def chunked(torch, chunk: int, form: str) -> Callable:
    """The output, all chunks at once."""

    def forward(q, k, v):
        shape, scale = v.shape, q.shape[-1] ** -0.25
        v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        q, k, v = (
            x.transpose(1, 2).unflatten(2, (shape[1] // chunk, chunk)) for x in (q * scale, k * scale, v)
        )
        s = q @ k.transpose(-1, -2)
        o = (1 + s + 0.5 * s * s).tril() @ v
        if shape[1] > chunk:
            added = monomials(torch, k, form).transpose(-1, -2) @ v
            o = o + monomials(torch, q, form) @ (added.cumsum(2) - added)
        o = o[..., :-1] / o[..., -1:]
        return o.flatten(2, 3).transpose(1, 2)

    return forward


def both(forward: Callable) -> Callable:
    """The output and the gradients."""

    def step(inputs, d_o):
        leaves = [x.detach().requires_grad_() for x in inputs]
        o = forward(*leaves)
        o.backward(d_o)
        return [o.detach(), *(x.grad for x in leaves)]

    return step


def fastest(torch, make: Callable[[Callable], Callable[[], Any]], length: int):
    """The fastest of the forms and chunks, the two fastest also compiled; its name, and all times."""
    times: Dict[str, float] = {}
    calls: Dict[str, Callable] = {}

    def attempt(name: str, forward: Callable) -> None:
        call = make(forward)
        for _ in range(2):
            call()
        spent = []
        for _ in range(2):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        times[name], calls[name] = min(spent), call

    forms: Dict[str, Callable] = {"quadratic": chunked(torch, length, "")}
    for chunk in (64, 128, 256, 512):
        for form in ("packed", "all pairs"):
            if length % chunk == 0 and chunk < length:
                forms[f"chunks of {chunk}, {form}"] = chunked(torch, chunk, form)
    for name, forward in forms.items():
        attempt(name, forward)
    for name in sorted(times, key=lambda name: times[name])[:2]:
        torch._dynamo.reset()
        attempt(f"{name}, compiled", torch.compile(forms[name]))
    best = min(times, key=lambda name: times[name])
    return calls[best], best, times


def measure(options: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(options.threads)
    sys.path.insert(0, str(options.build / "packages"))
    operator = __import__(f"{NAME}.autograd", fromlist=["forward"]).forward
    rng = np.random.default_rng(0)
    leading = (1, options.length, options.heads)
    sizes = (options.features, options.features, options.value, options.value)
    *inputs, d_o = (torch.from_numpy(rng.standard_normal((*leading, d), np.float32)) for d in sizes)
    exact = both(chunked(torch, options.length, ""))
    heads = [
        exact([x[:, :, [head]].double() for x in inputs], d_o[:, :, [head]].double())
        for head in range(options.heads)
    ]
    wanted = [torch.cat(parts, 2) for parts in zip(*heads)]

    def ours(q, k, v):
        return operator(q, k, v, threads=options.threads)[0]

    def forward(function: Callable) -> Callable[[], Any]:
        return lambda: [function(*inputs)]

    def backward(function: Callable) -> Callable[[], Any]:
        return lambda: both(function)(inputs, d_o)

    for what, make in (("forward", forward), ("forward and backward", backward)):
        peer, name, others = fastest(torch, make, options.length)
        calls = {"sluice": make(ours), "torch tuned": peer}
        errors: Dict[str, List[float]] = {
            who: [relative_error(x.numpy(), y.numpy()) for x, y in zip(call(), wanted)]
            for who, call in calls.items()
        }
        if max(errors["sluice"]) > 1e-5:
            raise SystemExit(f"sluice is wrong: errors {errors['sluice']}. Nothing is timed.")
        timings = in_turns(calls, options.rounds, 3)
        print(f"\n{what}")
        for who, timing in timings.items():
            form = "planned without tuning" if who == "sluice" else name
            ratio = timing.median / timings["sluice"].median
            worst = max(errors[who])
            mark = "" if worst <= 1e-5 else "  WRONG"
            print(
                f"  {who:12} {timing.median:8.2f} ms  spread {timing.spread:5.1%}  {ratio:5.2f} x ours  "
                f"error {worst:.1e}{mark}  {form}"
            )
        tried = ", ".join(f"{form} {seconds * 1e3:.1f}" for form, seconds in others.items())
        print(f"  tried of torch, ms: {tried}", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="Benchmarks/cpu/run taylor", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--sluice", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--value", type=int, default=64)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    if options.child:
        return measure(options)
    words = ["linear-attention-normalized", "--key-map", "taylor2", "--backward", "--feature-dim"]
    words += [str(options.features), "--value-dim", str(options.value), "--heads", str(options.heads)]
    build(options, NAME, *words, "--length", str(options.length))
    sizes = f"T{options.length} d{options.features} V{options.value}"
    print(f"taylor2, normalized, B1 H{options.heads} {sizes}, f32, {options.threads} threads", flush=True)
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(options.build / "inductor")}
    command = [sys.executable, __file__, *sys.argv[1:], "--child"]
    return subprocess.run(command, env={**os.environ, **QUIET, **TUNED, **cache}).returncode


if __name__ == "__main__":
    sys.exit(main())
