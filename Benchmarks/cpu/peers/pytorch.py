"""Chunked PyTorch: stock, as one writes it, and tuned as well as its user could.

Both take chunks of 64 tokens, sums of log decays, and batched products of sub-blocks of 16 that are
anchored so that no exponent is large: at the first row of the later one off the diagonal, in the
middle on it. The tuned one forms all chunks' products at once, compiles what stands around the walk
over the chunks, and runs in an environment with huge pages and memory that is kept.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from problem import Inputs, Problem
from timing import Call

from . import NotMeasured

CHUNK, BLOCK = 64, 16


def _tensors(problem: Problem, x: Inputs, threads: int):
    try:
        import torch
    except ImportError as error:
        raise NotMeasured(f"torch is missing: {error}.") from None
    if problem.length % CHUNK:
        raise NotMeasured(f"the length is no multiple of {CHUNK}.")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    arrays = []
    for array in x:
        if array.dtype.name == "bfloat16":
            arrays.append(torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16))
        else:
            arrays.append(torch.from_numpy(array))
    return torch, arrays


def _numpy(o, state):
    """As float32 arrays; a view where they are that already."""
    return (o if o.dtype == state.dtype else o.float()).numpy(), state.numpy()


def _scores(torch, q, k, sums, kind):
    """The decayed scores of all chunks, [..., C, C], in blocks: q, k and the sums of the log decays
    from the chunk's start, [..., C, K] in float32."""
    blocks = CHUNK // BLOCK
    rows = []
    lower = torch.ones(BLOCK, BLOCK, dtype=torch.bool).tril()
    for r in range(blocks):
        here = slice(r * BLOCK, (r + 1) * BLOCK)
        part, middle = sums[..., here, :], sums[..., r * BLOCK + BLOCK // 2 : r * BLOCK + BLOCK // 2 + 1, :]
        left = (q[..., here, :] * torch.exp(part - middle)).to(kind)
        right = (k[..., here, :] * torch.exp(middle - part)).to(kind)
        pieces = [(left @ right.transpose(-1, -2)).masked_fill(~lower, 0)]
        if r:
            anchor = sums[..., r * BLOCK : r * BLOCK + 1, :]
            left = (q[..., here, :] * torch.exp(part - anchor)).to(kind)
            before = slice(0, r * BLOCK)
            right = (k[..., before, :] * torch.exp(anchor - sums[..., before, :])).to(kind)
            pieces.insert(0, left @ right.transpose(-1, -2))
        if r + 1 < blocks:
            pieces.append(left.new_zeros(*left.shape[:-1], CHUNK - (r + 1) * BLOCK))
        rows.append(torch.cat(pieces, -1))
    return torch.cat(rows, -2)


def _prepare(torch, q, k, v, g, scale):
    """All chunks at once: what the state adds up, its decays, the queries under decay, and P v."""
    kind = q.dtype
    batch, length, heads, key = q.shape

    def chunked(array):
        return array.view(batch, length // CHUNK, CHUNK, heads, -1).permute(0, 3, 1, 2, 4)

    q, k, g = chunked(q).float() * scale, chunked(k).float(), chunked(g)
    v = chunked(v)
    sums = g.cumsum(-2).expand(*k.shape)
    total = sums[..., -1:, :]
    added = (k * torch.exp(total - sums)).to(kind).transpose(-1, -2) @ v
    inner = _scores(torch, q, k, sums, kind).to(kind) @ v
    return added, torch.exp(total).transpose(-1, -2), (q * torch.exp(sums)).to(kind), inner


def _finish(torch, q, states, inner):
    o = inner + q @ states.to(q.dtype)
    batch, heads, chunks, tokens, value = o.shape
    return o.permute(0, 2, 3, 1, 4).reshape(batch, chunks * tokens, heads, value)


class _Tuned:
    NAME = "torch tuned"

    def prepare(self, problem: Problem, x: Inputs, threads: int, build: Path) -> Call:
        torch, (q, k, v, g) = _tensors(problem, x, threads)
        scale = 1 / math.sqrt(problem.key)
        chunks = problem.length // CHUNK
        states = torch.empty(problem.batch, problem.heads, chunks + 1, problem.key, problem.value)

        def make(prepare, finish):
            def call():
                torch.set_num_threads(threads)
                added, decay, read, inner = prepare(torch, q, k, v, g, scale)
                states[:, :, 0] = 0
                for n in range(chunks):
                    torch.addcmul(
                        added[:, :, n].float(), states[:, :, n], decay[:, :, n],
                        out=states[:, :, n + 1],
                    )
                return _numpy(finish(torch, read, states[:, :, :-1], inner), states[:, :, -1])

            return call

        eager = make(_prepare, _finish)
        try:
            torch._dynamo.reset()
            compiled = make(torch.compile(_prepare), torch.compile(_finish))
            compiled()
        except Exception:  # The compiler's exceptions have no common type: eager it is.
            return eager
        return _faster(compiled, eager)


def _faster(first: Call, second: Call) -> Call:
    """What its user would keep after trying both."""
    import time

    def seconds(call):
        call()
        start = time.perf_counter()
        call()
        call()
        return time.perf_counter() - start

    return first if seconds(first) <= seconds(second) else second


class _Stock:
    NAME = "torch stock"

    def prepare(self, problem: Problem, x: Inputs, threads: int, build: Path) -> Call:
        torch, (q, k, v, g) = _tensors(problem, x, threads)
        scale = 1 / math.sqrt(problem.key)
        kind = q.dtype

        def call():
            torch.set_num_threads(threads)
            state = torch.zeros(problem.batch, problem.heads, problem.key, problem.value)
            outputs = []
            for start in range(0, problem.length, CHUNK):
                here = slice(start, start + CHUNK)
                qc, kc, vc = (a[:, here].transpose(1, 2) for a in (q, k, v))
                gc = g[:, here].view(problem.batch, CHUNK, problem.heads, -1).transpose(1, 2)
                sums = gc.cumsum(-2).expand(*kc.shape)
                total = sums[..., -1:, :]
                qc, kc = qc.float() * scale, kc.float()
                scores = _scores(torch, qc, kc, sums, kind).to(kind)
                o = scores @ vc + (qc * torch.exp(sums)).to(kind) @ state.to(kind)
                added = (kc * torch.exp(total - sums)).to(kind).transpose(-1, -2) @ vc
                state = state * torch.exp(total).transpose(-1, -2) + added.float()
                outputs.append(o.transpose(1, 2))
            return _numpy(torch.cat(outputs, 1), state)

        return call


tuned, stock = _Tuned(), _Stock()
