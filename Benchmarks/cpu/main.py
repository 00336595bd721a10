"""Ours beside its peers on this machine's processor; README.md says how."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from peers import ours
from problem import Problem
from table import Row, lines

SHAPES = {
    "s1": (1, 4, 2048, 64, 64),
    "s2": (1, 4, 2048, 128, 128),
    "s3": (4, 8, 1024, 64, 64),
    "s4": (1, 16, 2048, 128, 128),
    "s5": (1, 4, 8192, 128, 256),
}

# Idle workers sleep, so that one side's do not take the other's cores.
QUIET = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
# As a careful user of PyTorch would have it: huge pages, memory kept between calls, AVX-512 in MKL.
TUNED = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MKL_ENABLE_INSTRUCTIONS": "AVX512",
}


def problems(options: argparse.Namespace) -> List[Problem]:
    found = []
    for element in options.dtypes:
        for name in options.shapes:
            if "mild" in options.gates:
                found.append(Problem(name, *SHAPES[name], element))
    further = [gate for gate in ("strong", "scalar") if gate in options.gates]
    for element in options.dtypes:
        found += [Problem("s4", *SHAPES["s4"], element, gate) for gate in further]
    return found


def linear(options: argparse.Namespace) -> List[Problem]:
    """The same heads at ever longer sequences."""
    lengths = [256, 4096, 16384] if options.quick else [256, 1024, 4096, 16384, 65536]
    return [Problem("T", 1, 4, length, 128, 128, e) for e in options.dtypes for length in lengths]


def measure(
    options: argparse.Namespace, peers: str, what: List[Problem], environment: Dict[str, str]
) -> Dict[str, Any]:
    """Runs measure.py and prints a note for every problem as it comes in."""
    command = [sys.executable, str(Path(__file__).with_name("measure.py"))]
    command += ["--build", str(options.build), "--peers", peers, "--problems", json.dumps(what)]
    command += ["--rounds", str(options.rounds), "--repeats", str(options.repeats)]
    command += ["--threads", *map(str, options.threads)]
    environment = {
        **os.environ,
        **QUIET,
        "TORCHINDUCTOR_CACHE_DIR": str(options.build / "inductor"),
        **({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"} if options.no_amx else {}),
        **environment,
    }
    found: Dict[str, Any] = dict(rows=[], limits={})
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            answer = json.loads(line)
            found["limits"].update(answer.get("limits", {}))
            for row in answer.get("rows", []):
                found["rows"].append(row)
                took = f"{row['median']:.3f} ms" if "median" in row else row.get("note", "")
                print(f"  {row['problem']}, {row['threads']} threads: {row['who']} {took}", file=sys.stderr)
    if process.returncode:
        raise SystemExit(1)
    return found


def summary(rows: List[Row], options: argparse.Namespace) -> List[str]:
    """What more threads bring, and whether the time stays proportional to the length."""
    mine = [row for row in rows if row["who"] == ours.NAME and "median" in row]
    text = []
    few, many = min(options.threads), max(options.threads)
    if few != many:
        text += ["", f"Threads {few} to {many}, sluice:"]
        by_key = {(row["problem"], row["threads"]): row["median"] for row in mine}
        for (problem, threads), median in by_key.items():
            if threads == few and (problem, many) in by_key:
                text.append(f"  {problem}: {median / by_key[problem, many]:.2f}x")
    text += ["", "Microseconds a token, sluice:"]
    series: Dict[Tuple[str, int], List[Tuple[int, float]]] = {}
    for row in mine:
        if row["problem"].startswith("T "):
            length = int(row["problem"].split(" T")[1].split()[0])
            each = row["median"] * 1e3 / length
            text.append(f"  {row['problem']}, {row['threads']} threads: {each:.3f}")
            series.setdefault((row["problem"].split()[-2], row["threads"]), []).append(
                (length, row["median"] * 1e3)
            )
    for (dtype, threads), points in series.items():
        if len(points) > 2:
            base, slope, worst = line(points)
            text.append(
                f"  {dtype}, {threads} threads: {base:.0f} us and {slope:.3f} a token, "
                f"at most {worst:.1%} off"
            )
    return text


def line(points: List[Tuple[int, float]]) -> Tuple[float, float, float]:
    """The straight line through (tokens, microseconds) with the least squares of relative errors.

    Returns its start (what the states cost), its slope, and the greatest relative error.
    """
    length, time = (np.array(column, float) for column in zip(*points))
    terms = np.stack([np.ones_like(length), length], 1) / time[:, None]
    (base, slope), *_ = np.linalg.lstsq(terms, np.ones_like(time), rcond=None)
    return base, slope, float(np.max(np.abs((base + slope * length) / time - 1)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="Benchmarks/cpu/run", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--sluice", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="few calls, no further gates")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument(
        "--gates",
        nargs="+",
        choices=["mild", "strong", "scalar"],
        help="strong and scalar ones at s4 (default: all, with --quick mild)",
    )
    parser.add_argument("--skip", nargs="+", choices=["tuned", "stock", "lengths"], default=[])
    parser.add_argument(
        "--no-amx",
        action="store_true",
        help="as on a processor without the matrix unit: ours built for avx512bf16, PyTorch's oneDNN held to it",
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    options.target = "avx512bf16" if options.no_amx else "native"
    options.gates = options.gates or (["mild"] if options.quick else ["mild", "strong", "scalar"])
    options.rounds, options.repeats = (2, 2) if options.quick else (6, 4)
    return options


def main() -> int:
    options = parse()
    what, lengths = problems(options), linear(options)
    for problem in {ours.package_name(p): p for p in what + lengths}.values():
        folder = ours.package(problem, options.sluice, options.build, options.target)
        name = json.loads((folder / "manifest.json").read_text())["name"]
        print(f"  built {name}", file=sys.stderr)
    parts = [
        ("tuned", "tuned", what, TUNED, "In an environment with huge pages and kept memory"),
        ("stock", "plain", what, {}, "In a plain environment"),
        ("lengths", "none", lengths, TUNED, "The same heads, longer and longer"),
    ]
    figures: Dict[str, Any] = {}
    for name, peers, chosen, environment, title in parts:
        if name in options.skip:
            continue
        found = figures[name] = measure(options, peers, chosen, environment)
        print(f"\n{title}:")
        for threads, limit in found["limits"].items():
            rates = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in limit["products"].items())
            print(f"  {threads} threads: best product {rates} GFLOP/s; copy {limit['bandwidth'] / 1e9:.1f} GB/s")
        print("\n" + "\n".join(lines(found["rows"])))
    rows = [row for found in figures.values() for row in found["rows"]]
    print("\n".join(summary(rows, options)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
