"""Compiles what fla chooses its kernels from, on all cores, before layers.py times them.

    export TRITON_CACHE_DIR=out/triton
    python3 Benchmarks/gpu/warm.py --forms gla,linear-attention
    python3 Benchmarks/gpu/layers.py --forms gla,linear-attention out/gla_wide ...

At its first call at a size fla has Triton compile each of its kernels in up to 48 ways, one after the
other, and takes the fastest: minutes, and for gla's gradient over four of them a size. Here each of
some processes compiles its share of the ways, without timing any, into the cache that
TRITON_CACHE_DIR names, without fla's word of which was the fastest; layers.py then finds all of them
there and fla chooses among all, as ever.
"""

import argparse
import os
import subprocess
import sys

import torch

from card import both_ways, draw, peer
from layers import BATCH, LENGTH, parse


def compile_share(share, shares, options):
    """Calls fla at every size with Triton's tuner compiling one way of `shares`, and no other."""
    from triton.runtime.autotuner import Autotuner

    tune = Autotuner._bench

    def bench(self, *args, config, **meta):
        if self.configs.index(config) % shares != share:
            return [float("inf")] * 3
        self.do_bench = lambda call, quantiles: (call(), [1.0] * 3)[1]
        return tune(self, *args, config=config, **meta)

    Autotuner._bench = bench
    for form in options.forms:
        fla = peer(form)
        if fla is None:
            continue
        for heads, key, value in options.sizes:
            leaves = [x.requires_grad_() for x in draw(form, BATCH, LENGTH, heads, key, value, 0)]
            call = lambda x: fla(*x, scale=key**-0.5, output_final_state=options.final_state)[0]
            try:
                if options.forward:
                    call(leaves)
                else:
                    both_ways(call, [leaves], torch.randn_like(leaves[2]))(0)
            except Exception as problem:  # layers.py says what fla refuses
                print(f"{form} K {key} V {value}: {type(problem).__name__}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many, one a core")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    options = parse(parser)
    if options.share is not None:
        return compile_share(options.share, options.processes, options)
    command = [sys.executable, *sys.argv, "--processes", str(options.processes), "--share"]
    # fla keeps on disk which way it took, and here no way was timed.
    environment = {**os.environ, "FLA_CACHE_RESULTS": "0"}
    running = [
        subprocess.Popen([*command, str(share)], env=environment) for share in range(options.processes)]
    failed = [process for process in running if process.wait() != 0]
    if failed:
        parser.exit(1, f"{len(failed)} of {len(running)} processes failed; what they said stands above.\n")


if __name__ == "__main__":
    main()
