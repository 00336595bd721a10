"""Times packages at the sizes of the GLA paper's layers beside flash-linear-attention, in one process.

    sluice build simple-gla --target sm_90a --dtype bf16 --key-dim 128 --value-dim 256 \\
        --batch 8 --length 2048 --heads 4 --backward -o out/simple_256
    python3 Benchmarks/gpu/layers.py out/simple_256 ...

B 8, T 2048; with 4 heads K 128 V 256 (340M parameters) and K 256 V 512 (1.3B), and 16 heads of 128;
a gate along the key, one a token, none, both gates, and RWKV-6. Of several packages for a case the
fastest counts. OURS and FLA are milliseconds of calls as a layer in training makes them, or with
--final-state of calls that leave the final state too, as a prompt's; forward and backward go through
autograd. A package's answers, and adjoints, are held to the recurrence in double first. FLOOR reads
inputs once (with the gradient twice, and the adjoint of o once), and writes outputs and adjoints once,
at the rate of a large copy here. With both gates fla's is a walk token by token: it has no chunks for
them. fla's first calls at a size take minutes, which warm.py beside this spends on all cores, and
Triton's cache (TRITON_CACHE_DIR) keeps.
"""

import argparse

import torch

from card import (
    FORMS, both_ways, check_backward, check_forward, copy_rate, draw, for_package, form_of, median,
    package, peer, size_of,
)

BATCH, LENGTH = 8, 2048
SIZES = [(4, 128, 256), (4, 256, 512), (16, 128, 128)]


def timed(call, *, count=20):
    """Milliseconds, or None and why not: a peer may refuse."""
    try:
        return median(call, 3, count), None
    except Exception as problem:  # of any kind that a peer has
        return None, f"{type(problem).__name__}: {str(problem).splitlines()[0]}"


def cells(ours, floor, theirs):
    mine = "     -     -" if ours is None else f"{ours:8.3f} {ours / floor:5.2f}"
    other = "       -" if theirs is None else f"{theirs:8.3f}"
    ratio = "     -" if ours is None or theirs is None else f"{theirs / ours:6.2f}"
    return f"{mine} {floor:6.3f} {other} {ratio}"


def run(form, heads, key, value, modules, rate, options):
    """A line of the table; what fla said where it refused goes below it."""
    sets = [draw(form, BATCH, LENGTH, heads, key, value, seed) for seed in range(3)]
    inputs = [for_package(form, tensors) for tensors in sets]
    fla, refusals = peer(form), []
    scale = 1.0 if FORMS[form].bonus else key**-0.5
    o, has_state = torch.empty_like(sets[0][2]), options.final_state
    state = 4 * BATCH * heads * key * value if has_state else 0
    ours = lambda module, x: module.forward(*x, output_final_state=has_state)[0]
    theirs = lambda x: fla(*x, scale=scale, output_final_state=has_state)[0]

    def columns(floor, mine, other):
        own = min((median(mine(module), 3, 20) for module in modules), default=None)
        its, refusal = (None, None) if fla is None else timed(other)
        if refusal:
            refusals.append(refusal)
        return cells(own, floor, its)

    line = columns(
        (size_of(*sets[0], o) + state) / rate,
        lambda module: lambda i: ours(module, inputs[i]), lambda i: theirs(sets[i]))
    if not options.forward:
        modules = [module for module in modules if module.manifest.get("backward") is not None]
        mine, other = (
            [[x.detach().clone().requires_grad_() for x in tensors] for tensors in group]
            for group in (inputs, sets))
        d_o = torch.randn_like(o)
        line += " |" + columns(
            (3 * size_of(*sets[0]) + 2 * size_of(o)) / rate,
            lambda module: both_ways(lambda x: ours(module, x), mine, d_o),
            both_ways(theirs, other, d_o))
    print(f"{form:18}{heads:3}{key:5}{value:5} {line}", flush=True)
    for refusal in refusals:
        print(f"    fla: {refusal}")


def parse(parser):
    """What this and warm.py have in common: which forms and sizes, and what of a call."""
    parser.add_argument("--forms", default=",".join(FORMS), help="which, with commas between")
    parser.add_argument("--sizes", help="heads, keys and values of some, as 4x128x256,4x256x512")
    parser.add_argument("--forward", action="store_true", help="leave the gradient out")
    parser.add_argument("--final-state", action="store_true", help="calls leave it, too")
    options = parser.parse_args()
    options.forms = options.forms.split(",")
    unknown = [form for form in options.forms if form not in FORMS]
    if unknown:
        parser.error(f"{unknown[0]} is no form; there are {', '.join(FORMS)}.")
    cases = {"x".join(map(str, size)): size for size in SIZES}
    names = options.sizes.split(",") if options.sizes else list(cases)
    if not set(names) <= set(cases):
        parser.error(f"--sizes {options.sizes} names a size that is none of {', '.join(cases)}.")
    options.sizes = [cases[name] for name in names]
    return options


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", help="folders; with none, fla's columns alone")
    options = parse(parser)
    modules = {}
    for folder in options.packages:
        module = package(folder)
        sizes = module.manifest["key"], module.manifest["value"]
        if form_of(module) not in FORMS or not any(size[1:] == sizes for size in SIZES):
            parser.error(f"{folder} is of {form_of(module)}, K {sizes[0]}, V {sizes[1]}: no case here.")
        print(f"\n{folder}: {module.manifest['name']}")
        check_forward(module, lengths=(1, 65, 257), batch=1)
        if module.manifest.get("backward") is not None and not options.forward:
            check_backward(module, lengths=(1, 65, 130), batch=1)
        modules.setdefault((form_of(module), *sizes), []).append(module)
    rate = copy_rate()
    print("                                 FORWARD                             |FORWARD AND BACKWARD")
    columns = "    OURS /FLOOR FLOOR     FLA  RATIO"
    print(f"FORM                H    K    V {columns}" + ("" if options.forward else f" |{columns}"))
    for heads, key, value in options.sizes:
        for form in options.forms:
            run(form, heads, key, value, modules.get((form, key, value), []), rate, options)


if __name__ == "__main__":
    main()
