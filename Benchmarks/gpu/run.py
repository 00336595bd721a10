"""Times a gla package for a card beside fla, FlashAttention-2 and cuDNN attention, in one process.

    sluice build gla --target sm_90a --dtype bf16 --batch 8 --heads 16 -o out/gla
    sluice build gla --target sm_90a --dtype bf16 --heads 16 --length 16384 -o out/gla_long
    python3 Benchmarks/gpu/run.py out/gla out/gla_long

Of several packages, each made for another length, OURS is the fastest one at a shape. Needs PyTorch
with CUDA, and flash-linear-attention for its column. The packages' answers are held to the recurrence
in double first. Times are medians of calls that the card's events bracket, on three
sets of inputs in turns, with the queue filled before; every side gets its turn at every shape. The
attention columns are SDPA, causal, on the same q, k and v: another function at the same shapes.
FLOOR is each input read once and each output written once at the rate of a large copy here.
"""

import sys

import torch

from card import (
    SHAPES, SIZE, attentions, by_gates, check_forward, copy_rate, draw, median, package, peer, size_of,
)


def time(module, sets, wants_state):
    return median(lambda i: module.forward(*sets[i], output_final_state=wants_state), len(sets))


def main(folders):
    modules = [package(folder) for folder in folders]
    for module in modules:
        print(module.manifest["name"])
        check_forward(module)
    chunk_gla = peer("gla")
    rate = copy_rate()
    print("B   T      H   OURS ms  FLOOR  TIME/FLOOR  FLA     FA2     CUDNN")
    for batch, length, heads in SHAPES:
        sets = [draw("gla", batch, length, heads, SIZE, SIZE, seed) for seed in range(3)]
        ours = min(time(module, sets, True) for module in modules)
        floor = (size_of(*sets[0], sets[0][2]) + 4 * batch * heads * SIZE * SIZE) / rate
        peers = ["absent "]
        if chunk_gla is not None:
            call = lambda i: chunk_gla(*sets[i], scale=SIZE**-0.5, output_final_state=True)
            peers = [f"{median(call, 3, 20):.4f} "]
        heads_first = [[x.transpose(1, 2) for x in tensors[:3]] for tensors in sets]
        peers += [f"{time:.4f} " for time in attentions(heads_first)]
        print(f"{batch:<4}{length:<7}{heads:<4}{ours:.4f}   {floor:.4f} {ours / floor:.2f}"
              f"        {' '.join(peers)}", flush=True)
    print("\nB 8, T 2048, H 16, by gates:")
    by_gates(
        lambda gates: [draw("gla", 8, 2048, 16, SIZE, SIZE, seed, gates) for seed in range(3)],
        lambda sets: time(modules[0], sets, False),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
