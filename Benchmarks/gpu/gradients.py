"""Times forward and backward of a gla package for a card beside fla, FlashAttention-2 and cuDNN attention.

    sluice build gla --target sm_90a --dtype bf16 --batch 8 --heads 16 --backward -o out/gla
    python3 Benchmarks/gpu/gradients.py out/gla [out/gla_long]

Every side goes through PyTorch's autograd on leaves that keep no gradient between calls, in one
process and in turns, as run.py says. Before, adjoints are held to those of the recurrence in double,
for mild decays, strong ones and resets. PEAK is the memory that a call takes beside its inputs.
"""

import importlib.util
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from run import GATES, K, SCALE, SHAPES, V, copy_rate, draw, error, median


def package(folder):
    path = pathlib.Path(folder).resolve() / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        path.parent.name, path, submodule_search_locations=[str(path.parent)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def wanted(tensors, initial, d_o, d_final):
    """The adjoints of q, k, v, g and the initial state, in double."""
    leaves = [x.double().requires_grad_() for x in (*tensors, initial)]
    q, k, v, g, state = leaves
    outputs = []
    for t in range(q.shape[1]):
        state = g[:, t, :, :, None].exp() * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(SCALE * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    results = (torch.stack(outputs, 1), state)
    return torch.autograd.grad(results, leaves, (d_o.double(), d_final.double()))


def check(module):
    """Raises unless adjoints are within bf16's bound, and the same from call to call."""
    for gates in GATES:
        for length in (1, 15, 64, 257):
            tensors = draw(2, length, 4, length, gates)
            initial, d_final = (torch.randn(2, 4, K, V, device="cuda") for _ in range(2))
            d_o = torch.randn_like(tensors[2])
            given = dict(initial_state=initial, d_o=d_o, d_final_state=d_final)
            found = module.backward(*tensors, **given)
            again = module.backward(*tensors, **given)
            errors = [
                error(mine, right)
                for mine, right in zip(found.values(), wanted(tensors, initial, d_o, d_final))
            ]
            print(f"{gates:8}T {length:4}: " + ", ".join(
                f"d{name} {value:.1e}" for name, value in zip(("q", "k", "v", "g", "S"), errors)))
            same = all(torch.equal(found[name], again[name]) for name in found)
            if not (same and all(value <= 3e-3 for value in errors)):
                raise SystemExit("The package's adjoints are wrong; nothing was timed.")


def both_ways(call, sets, d_o):
    """A forward and a backward call on a set of leaves."""

    def run(index):
        leaves = sets[index % len(sets)]
        torch.autograd.grad(call(leaves), leaves, d_o)

    return run


def peak(run):
    run(0)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(0)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def main(folders):
    modules = [package(folder) for folder in folders]
    for module in modules:
        check(module)
    try:
        from fla.ops.gla import chunk_gla
    except ImportError:
        chunk_gla = None
    rate = copy_rate()
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {rate / 1e9:.2f} TB/s")
    print("B   T      H   OURS ms PEAK MiB  BACKWARD  FLOOR  FLA     PEAK  FA2     CUDNN")
    for batch, length, heads in SHAPES:
        drawn = [draw(batch, length, heads, seed) for seed in range(3)]
        sets = [[x.requires_grad_() for x in tensors] for tensors in drawn]
        d_o = torch.randn_like(drawn[0][2])
        ours, backward, memory = min(
            (
                median(run := both_ways(lambda x: module.forward(*x)[0], sets, d_o), 3, 20),
                median(lambda i: module.backward(*drawn[i], d_o=d_o), 3, 20),
                peak(run),
            )
            for module in modules
        )
        # Inputs are read twice, the output and its adjoint once, adjoints written once.
        moved = sum(x.numel() * x.element_size() for x in (*drawn[0], *drawn[0], *drawn[0]))
        moved += 2 * d_o.numel() * d_o.element_size()
        line = [f"{batch:<4}{length:<7}{heads:<4}{ours:.3f}   {memory:7.0f}   {backward:.3f}"]
        line.append(f"    {moved / rate:.3f}  ")
        if chunk_gla is None:
            line.append("absent        ")
        else:
            run = both_ways(lambda x: chunk_gla(*x, scale=SCALE)[0], sets, d_o)
            line.append(f"{median(run, 3, 20):.3f}   {peak(run):5.0f} ")
        heads_first = [
            [x.detach().transpose(1, 2).requires_grad_() for x in tensors[:3]] for tensors in drawn
        ]
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            with sdpa_kernel(backend):
                run = both_ways(
                    lambda x: F.scaled_dot_product_attention(*x, is_causal=True), heads_first,
                    d_o.transpose(1, 2))
                line.append(f"{median(run, 3, 20):.3f} ")
        print(" ".join(line), flush=True)
    for gates in GATES:
        drawn = [draw(8, 2048, 16, seed, gates) for seed in range(3)]
        d_o = torch.randn_like(drawn[0][2])
        time = median(lambda i: modules[0].backward(*drawn[i], d_o=d_o), 3, 20)
        print(f"B 8, T 2048, H 16, backward alone, {gates}: {time:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
