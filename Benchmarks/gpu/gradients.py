"""Times forward and backward of a gla package for a card beside fla, FlashAttention-2 and cuDNN attention.

    sluice build gla --target sm_90a --dtype bf16 --batch 8 --heads 16 --backward -o out/gla
    python3 Benchmarks/gpu/gradients.py out/gla [out/gla_long]

Every side goes through PyTorch's autograd on leaves that keep no gradient between calls, in one
process and in turns, as run.py says. Before, adjoints are held to those of the recurrence in double,
for all patterns of gates. PEAK is the memory that a call takes beside its inputs.
"""

import sys

import torch

from card import (
    SHAPES, SIZE, attentions, both_ways, by_gates, check_backward, copy_rate, draw, median, package, peak,
    peer, size_of,
)


def main(folders):
    modules = [package(folder) for folder in folders]
    for module in modules:
        check_backward(module)
    chunk_gla = peer("gla")
    rate = copy_rate()
    print("B   T      H   OURS ms PEAK MiB  BACKWARD  FLOOR  FLA     PEAK  FA2     CUDNN")
    for batch, length, heads in SHAPES:
        drawn = [draw("gla", batch, length, heads, SIZE, SIZE, seed) for seed in range(3)]
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
        moved = 3 * size_of(*drawn[0]) + 2 * size_of(d_o)
        line = [f"{batch:<4}{length:<7}{heads:<4}{ours:.3f}   {memory:7.0f}   {backward:.3f}"]
        line.append(f"    {moved / rate:.3f}  ")
        if chunk_gla is None:
            line.append("absent        ")
        else:
            run = both_ways(lambda x: chunk_gla(*x, scale=SIZE**-0.5)[0], sets, d_o)
            line.append(f"{median(run, 3, 20):.3f}   {peak(run):5.0f} ")
        heads_first = [
            [x.detach().transpose(1, 2).requires_grad_() for x in tensors[:3]] for tensors in drawn
        ]
        line += [f"{time:.3f} " for time in attentions(heads_first, d_o.transpose(1, 2))]
        print(" ".join(line), flush=True)
    d_o = torch.randn(8, 2048, 16, SIZE, device="cuda").bfloat16()
    print("B 8, T 2048, H 16, backward alone, by gates:")
    by_gates(
        lambda gates: [draw("gla", 8, 2048, 16, SIZE, SIZE, seed, gates) for seed in range(3)],
        lambda sets: median(lambda i: modules[0].backward(*sets[i], d_o=d_o), 3, 20),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
