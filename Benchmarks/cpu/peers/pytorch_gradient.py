"""Chunked PyTorch with autograd: stock, as one writes it, and tuned as well as its user could.

The mathematics is that of pytorch.py. The tuned one forms all chunks' products at once, walks over
the states with a gradient of its own (as autograd through the walk keeps every step), and is
tried eager and compiled, all heads together and four at a time, of which the fastest is kept.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, Tuple

from .pytorch import CHUNK, _finish, _prepare, _scores

Loss = Callable[..., Tuple]


def stock(torch, q, k, v, g, scale):
    """The output and the final state, one chunk after the other."""
    state = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    outputs = []
    for start in range(0, q.shape[1], CHUNK):
        here = slice(start, start + CHUNK)
        qc, kc, vc, gc = (a[:, here].transpose(1, 2) for a in (q, k, v, g))
        sums = gc.cumsum(-2)
        total = sums[..., -1:, :]
        qc = qc * scale
        o = _scores(torch, qc, kc, sums, q.dtype) @ vc + (qc * torch.exp(sums)) @ state
        added = (kc * torch.exp(total - sums)).transpose(-1, -2) @ vc
        state = state * torch.exp(total).transpose(-1, -2) + added
        outputs.append(o.transpose(1, 2))
    return torch.cat(outputs, 1), state


def _walk(torch):
    """States before every chunk and after the last, of what chunks add and their decays."""

    class Walk(torch.autograd.Function):
        @staticmethod
        def forward(ctx, added, decay):
            shape = added.shape
            states = added.new_empty(*shape[:2], shape[2] + 1, *shape[3:])
            states[:, :, 0] = 0
            for n in range(shape[2]):
                torch.addcmul(
                    added[:, :, n], states[:, :, n], decay[:, :, n], out=states[:, :, n + 1]
                )
            ctx.save_for_backward(states, decay)
            return states[:, :, :-1], states[:, :, -1]

        @staticmethod
        def backward(ctx, d_states, d_last):
            states, decay = ctx.saved_tensors
            d_added = torch.empty_like(d_states)
            carried = d_last
            for n in reversed(range(d_states.shape[2])):
                d_added[:, :, n] = carried
                carried = torch.addcmul(d_states[:, :, n], carried, decay[:, :, n])
            d_decay = (d_added * states[:, :, :-1]).sum(-1, keepdim=True)
            return d_added, d_decay

    return Walk.apply


def _all_at_once(torch, prepare, finish):
    walk = _walk(torch)

    def forward(q, k, v, g, scale):
        added, decay, read, inner = prepare(torch, q, k, v, g, scale)
        states, last = walk(added, decay)
        return finish(torch, read, states, inner), last

    return forward


def _step(torch, forward: Loss, heads: int):
    """A call that gives the outputs and the gradients, some heads at a time."""

    def step(inputs, d_o, scale):
        leaves = [x.detach().requires_grad_() for x in inputs]
        outputs = []
        for first in range(0, leaves[0].shape[2], heads):
            part = slice(first, first + heads)
            o, _ = forward(*(x[:, :, part] for x in leaves), scale)
            o.backward(d_o[:, :, part])
            outputs.append(o.detach())
        return torch.cat(outputs, 2), [x.grad for x in leaves]

    return step


def tuned(torch, inputs, d_o, scale):
    """The fastest step of those that a careful user would try, its name, and what others took."""
    heads = inputs[0].shape[2]
    found: Dict[str, Tuple[float, Callable]] = {}
    refused: Dict[str, str] = {}
    for kind in ("eager", "compiled"):
        for many in (heads, 4):
            name = f"{kind}, {many} heads at a time"
            torch._dynamo.reset()
            wrap = torch.compile if kind == "compiled" else lambda function: function
            step = _step(torch, _all_at_once(torch, wrap(_prepare), wrap(_finish)), many)
            try:
                step(inputs, d_o, scale)
                step(inputs, d_o, scale)
                start = time.perf_counter()
                step(inputs, d_o, scale)
                found[name] = (time.perf_counter() - start, step)
            except Exception as error:  # The compiler's exceptions have no common type.
                refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    best = min(found, key=lambda name: found[name][0])
    others = {name: f"{seconds * 1e3:.0f} ms" for name, (seconds, _) in found.items()}
    return found[best][1], best, {**others, **refused}


def plain(torch, inputs, d_o, scale):
    """The stock step."""
    def forward(q, k, v, g, factor):
        return stock(torch, q, k, v, g, factor)

    return _step(torch, forward, inputs[0].shape[2]), "eager, chunk by chunk", {}
