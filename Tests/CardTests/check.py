"""What only a card can show of packages: run on a machine with a card, its driver and PyTorch.

    Tests/CardTests/build out/card                      the packages, on any machine with the command
    python3 Tests/CardTests/check.py out/card           every check; --only NAME,NAME for some of them
    python3 Tests/CardTests/check.py out/card --sanitize   under compute-sanitizer's tools instead

A line a check: `ok` or `FAIL`, its name and package, what it found, seconds. Each one has a process and a
time limit of its own; one that fails does not stop the others. The exit code is 1 if one failed. What a
failed one wrote besides goes to --log FILE.
Checks that time something or take the whole card's memory go first, one by one, then the others side by
side. Those of two cards are left out where there is one.
"""

import argparse
import concurrent.futures
import functools
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent


class Check(NamedTuple):
    """A function of a module here, the packages that it tries, and whether it has the card for itself."""

    module: str
    name: str
    packages: tuple
    alone: bool = False
    limit: int = 60
    cards: int = 1


EVERY = ("gla", "gla_64", "gla_segments", "gla_wide", "rwkv6", "rwkv6_segments", "simple_gla",
         "simple_gla_wide", "simple_gla_segments", "linear_attention", "gla_sm80", "gla_f16", "gla_f32")
CHECKS = (
    Check("calls", "first_call", ("gla", "gla_wide", "rwkv6", "gla_sm80"), alone=True),
    Check("calls", "dispatch", ("gla", "gla_wide", "rwkv6", "simple_gla", "gla_sm80"), alone=True),
    Check("calls", "leak", ("gla", "gla_wide"), alone=True),
    Check("refusals", "full_at_first", ("gla", "gla_sm80"), alone=True),
    Check("refusals", "full", ("gla", "gla_wide"), alone=True),
    Check("sizes", "tokens_4g", ("gla",), alone=True),
    Check("sizes", "tokens", ("gla_64", "gla_segments", "gla_wide", "gla_sm80"), alone=True),
    Check("sizes", "tokens_backward", ("gla", "gla_segments", "gla_wide"), alone=True),
    Check("sizes", "packed", ("gla", "gla_64", "rwkv6", "rwkv6_segments", "gla_sm80"), alone=True),
    Check("sizes", "packed_backward", ("gla", "rwkv6", "simple_gla", "gla_sm80"), alone=True),
    Check("calls", "stream", ("gla", "gla_wide")),
    Check("calls", "first_thread", ("gla",)),
    Check("calls", "threads", ("gla", "rwkv6")),
    Check("calls", "graph", ("gla", "gla_segments", "gla_wide", "rwkv6", "simple_gla")),
    Check("graphs", "queued", ("gla", "gla_wide", "rwkv6", "simple_gla")),
    Check("graphs", "beside", ("gla", "simple_gla")),
    Check("graphs", "shared", ("gla", "simple_gla")),
    Check("graphs", "capture_beside", ("gla",)),
    Check("graphs", "many_streams", ("gla",), alone=True),
    Check("graphs", "contexts", ("gla", "simple_gla")),
    Check("calls", "compiled", ("gla",), limit=120),
    Check("refusals", "misaligned", ("gla", "gla_wide", "rwkv6", "gla_sm80")),
    Check("refusals", "misaligned_c", ("gla", "gla_wide", "rwkv6", "gla_sm80", "gla_f32")),
    Check("refusals", "sentences", ("gla", "gla_64")),
    Check("variants", "answers", EVERY, limit=120),
    Check("variants", "deterministic",
          ("gla", "gla_segments", "gla_wide", "rwkv6", "rwkv6_segments", "simple_gla",
           "simple_gla_segments", "linear_attention", "gla_f32")),
    Check("cards", "other_card", ("gla", "rwkv6"), cards=2),
    Check("cards", "other_stream", ("gla",), cards=2),
    Check("cards", "two_cards", ("gla",), cards=2),
)
# Kernels that the tools look at, each package in a process for each tool.
WATCHED = ("gla_64", "gla_segments", "gla", "gla_wide", "rwkv6", "rwkv6_segments", "simple_gla",
           "simple_gla_wide", "simple_gla_segments", "linear_attention", "gla_f32")


def one(module, name, folder):
    """Runs a check in this process; its last line says what it found."""
    import answers

    function = getattr(__import__(module), name)
    try:
        print(function(folder))
    except answers.Failed as failure:
        print(failure)
        return 1
    return 0


def run(title, folder, arguments, limit, log):
    """A check of the package in `folder`, in a process of its own. Whether it holds."""
    begin = time.monotonic()
    try:
        if not (folder / "manifest.json").exists():
            print(f"FAIL {title:34} there is no package {folder}; Tests/CardTests/build makes it", flush=True)
            return False
        done = subprocess.run(
            [sys.executable, str(HERE / "check.py"), *arguments], capture_output=True, text=True,
            timeout=limit)
        lines = (done.stdout if done.returncode in (0, 1) and done.stdout else done.stderr).splitlines()
        told, holds = lines[-1] if lines else "no word", done.returncode == 0
        if log is not None and not holds:
            with open(log, "a") as file:
                file.write(f"---- {title}\n{done.stdout}\n{done.stderr}\n")
    except subprocess.TimeoutExpired:
        told, holds = f"not done after {limit} s", False
    word = "ok  " if holds else "FAIL"
    print(f"{word} {title:34} {told} ({time.monotonic() - begin:.1f} s)", flush=True)
    return holds


def side_by_side(jobs, calls):
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda call: call(), calls))


def cards():
    import torch

    return torch.cuda.device_count()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="?", help="the folder that the script build has filled")
    parser.add_argument("--only", help="checks, or check:package, with commas between")
    parser.add_argument("--jobs", type=int, default=6, help="checks side by side")
    parser.add_argument("--sanitize", action="store_true", help="run compute-sanitizer's tools")
    parser.add_argument("--tools", default="memcheck,racecheck,synccheck", help="which of them")
    parser.add_argument("--log", help="a file for what failed checks wrote")
    parser.add_argument("--limit", type=int, default=240, help="seconds for each tool and package")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--watched", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--small", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    if options.one:
        return one(*options.one)
    if options.small:
        return one("small", "small", options.small)
    if options.watched:
        import answers
        import small

        try:
            print(small.watched(options.watched[0], options.watched[1], int(options.watched[2])))
        except (answers.Failed, subprocess.TimeoutExpired) as failure:
            print(str(failure).replace("\n", " "))
            return 1
        return 0
    if options.packages is None:
        parser.error("the folder of packages is missing; Tests/CardTests/build makes it.")
    folder = pathlib.Path(options.packages).resolve()
    chosen = options.only.split(",") if options.only else []

    def wants(name, package):
        return not chosen or not {name, package, f"{name}:{package}"}.isdisjoint(chosen)

    if options.sanitize:
        calls = [
            functools.partial(
                run, f"{tool} {package}", folder / package,
                ["--watched", tool, str(folder / package), str(options.limit)], options.limit + 10,
                options.log)
            for tool in options.tools.split(",") for package in WATCHED if wants(tool, package)
        ]
        holds = side_by_side(options.jobs, calls)
    else:
        count, groups = cards(), ([], [])
        for check in CHECKS:
            for package in check.packages:
                if wants(check.name, package) and count >= check.cards:
                    groups[not check.alone].append(
                        functools.partial(
                            run, f"{check.name} {package}", folder / package,
                            ["--one", check.module, check.name, str(folder / package)], check.limit,
                            options.log))
        holds = side_by_side(1, groups[0]) + side_by_side(options.jobs, groups[1])
    print(f"{sum(holds)} of {len(holds)} checks hold.")
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
