"""The layers' recurrences in plain PyTorch, token by token, in whatever type their inputs have.

The models run on them in float64 to show what the kernels should compute; autograd does the gradient.
Inputs are as the packages take them: [B, T, heads, K or V], parameters [heads] or [heads, V].
"""

from __future__ import annotations

from typing import Callable, Dict

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, silu, softplus


def _walk(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
    """S_t = decay_t S_{t-1} + k_t v_t^T, o_t = S_t^T q_t; decay is [B, T, heads, K or 1]."""
    state = q.new_zeros(*q.shape[:1], *q.shape[2:], v.shape[-1])
    outputs = []
    # `unbind` and not `[:, t]`, whose gradient is a tensor of all tokens for each of them.
    for q_t, k_t, v_t, decay_t in zip(*(x.unbind(1) for x in (q, k, v, decay))):
        state = torch.addcmul(decay_t.unsqueeze(-1) * state, k_t.unsqueeze(-1), v_t.unsqueeze(-2))
        outputs.append((q_t.unsqueeze(-2) @ state).squeeze(-2))
    return torch.stack(outputs, dim=1)


def _norm(o: Tensor) -> Tensor:
    return o * torch.rsqrt(o.square().mean(-1, keepdim=True) + 1e-5)


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, og: Tensor, weight: Tensor) -> Tensor:
    o = _walk(q, k, v, torch.exp(logsigmoid(g) / 16)) * q.shape[-1] ** -0.5
    return _norm(o) * weight * silu(og)


def retnet(q: Tensor, k: Tensor, v: Tensor, og: Tensor, g_gamma: Tensor) -> Tensor:
    decay = torch.exp(g_gamma).unsqueeze(-1).expand(*q.shape[:3], 1)
    return _norm(_walk(q, k, v, decay) * q.shape[-1] ** -0.5) * silu(og)


def mamba2(
    q: Tensor, k: Tensor, v: Tensor, dt: Tensor, A_log: Tensor, dt_bias: Tensor, D: Tensor
) -> Tensor:
    step = softplus(dt + dt_bias).unsqueeze(-1)
    decay = torch.exp(-torch.exp(A_log).unsqueeze(-1) * step)
    return _walk(q, step * k, v, decay) + D.unsqueeze(-1) * v


PLAIN: Dict[str, Callable[..., Tensor]] = {
    "gla-layer": gla,
    "retnet-layer": retnet,
    "mamba2": mamba2,
}
