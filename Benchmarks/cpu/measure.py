"""One process's share: ours beside some peers, every answer checked before any time is taken.

main.py starts it once in an environment as its user would tune it, once in a plain one.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path
from typing import Dict, List

from peers import NotMeasured, ggml, ort, ours, pytorch
from problem import BOUNDS, Inputs, Problem, draw, recurrence, relative_error
from table import Row
from timing import Call, in_turns, limits

PEERS = {"tuned": [ort, ggml, pytorch.tuned], "plain": [pytorch.stock], "none": []}

# A peer's rounding may exceed our bound by this factor before its answer is called wrong.
INEXACT = 3


def rows_of(problem: Problem, threads: int, x: Inputs, wanted, options) -> List[Row]:
    """A row for us and one for each peer. Ours wrong ends the run; a wrong peer is marked."""
    rows: List[Row] = []
    calls: Dict[str, Call] = {}
    for side in [ours, *PEERS[options.peers]]:
        row: Row = dict(problem=str(problem), threads=threads, who=side.NAME)
        rows.append(row)
        try:
            call = side.prepare(problem, x, threads, options.build)
        except NotMeasured as reason:
            row["note"] = f"not measured: {reason}"
            continue
        errors = [relative_error(got, want) for got, want in zip(call(), wanted)]
        row["error"] = max(errors)
        excess = max(error / bound for error, bound in zip(errors, BOUNDS[problem.element]))
        if excess > 1:
            row["note"] = "WRONG" if excess > INEXACT else "less exact than we must be"
            if side is ours:
                raise SystemExit(
                    f"sluice is wrong at {problem}, {threads} threads: errors {errors[0]:.1e} of o "
                    f"and {errors[1]:.1e} of the state. Nothing is timed."
                )
        calls[side.NAME] = call
    if ours.NAME not in calls:
        raise SystemExit(f"sluice: {rows[0]['note']}")
    timings = in_turns(calls, options.rounds, options.repeats)
    machine = options.limits[threads]
    floor = machine.floor(problem.flops, problem.bytes, problem.element)
    for row in rows:
        if row["who"] not in timings:
            continue
        timing = timings[row["who"]]
        row["median"], row["spread"] = timing.median, timing.spread
        row["ratio"] = timing.median / timings[ours.NAME].median
        row["floors"] = timing.median / floor
        row["share"] = problem.flops / (timing.median * 1e-3) / machine.products[problem.element]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--peers", choices=list(PEERS), required=True)
    parser.add_argument("--problems", required=True, help="JSON: a list of lists")
    parser.add_argument("--threads", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    options = parser.parse_args()
    options.limits = {threads: limits(threads, options.rounds) for threads in options.threads}
    machine = {
        str(threads): dict(products=found.products, bandwidth=found.bandwidth)
        for threads, found in options.limits.items()
    }
    print(json.dumps(dict(limits=machine)), flush=True)
    for entry in json.loads(options.problems):
        problem = Problem(*entry)
        x = draw(problem)
        wanted = recurrence(x)
        for threads in options.threads:
            print(json.dumps(dict(rows=rows_of(problem, threads, x, wanted, options))), flush=True)
            gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
