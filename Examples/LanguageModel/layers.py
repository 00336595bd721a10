"""The four token mixers, each as its paper has it but for sizes; the recurrences come from outside."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad, rms_norm, scaled_dot_product_attention, silu

from kernels import Core


class Cores(Protocol):
    """Where the recurrences come from: `Kernels` or `Plain`."""

    def core(self, recurrence: str, heads: int, key: int, value: int) -> Core: ...


def linear(inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


def split(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads * D] as [B, T, heads, D]."""
    return x.unflatten(-1, (heads, -1))


def rotate(x: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of [B, T, heads, D], base 10,000."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float64), rates).unsqueeze(1)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat((left * cosine - right * sine, left * sine + right * cosine), dim=-1)


class GLA(nn.Module):
    """Gated linear attention (Yang et al. 2024): keys of half the width, a gate of rank 16."""

    heads = 2

    def __init__(self, width: int, cores: Cores) -> None:
        super().__init__()
        self.q, self.k = linear(width, width // 2), linear(width, width // 2)
        self.v, self.og = linear(width, width), linear(width, width)
        self.gate = nn.Sequential(linear(width, 16), linear(16, width // 2, bias=True))
        self.weight = nn.Parameter(torch.ones(self.heads, width // self.heads))
        self.out = linear(width, width)
        key, value = width // 2 // self.heads, width // self.heads
        self.state = self.heads * key * value
        self.core = cores.core("gla-layer", self.heads, key, value)

    def forward(self, x: Tensor) -> Tensor:
        q, k, g, v, og = (split(f(x), self.heads) for f in (self.q, self.k, self.gate, self.v, self.og))
        return self.out(self.core(q=q, k=k, v=v, g=g, og=og, weight=self.weight).flatten(2))


class RetNet(nn.Module):
    """Multi-scale retention (Sun et al. 2023): rotated keys, values of twice the width.

    Decays are 1 - 2^-5 to 1 - 2^-12, spread over the heads: the range of the paper's eight.
    """

    heads = 4

    def __init__(self, width: int, cores: Cores) -> None:
        super().__init__()
        self.q, self.k = linear(width, width), linear(width, width)
        self.v, self.og = linear(width, 2 * width), linear(width, 2 * width)
        self.out = linear(2 * width, width)
        decays = torch.log1p(-(2.0 ** -torch.linspace(5, 12, self.heads)))
        self.register_buffer("g_gamma", decays)
        key, value = width // self.heads, 2 * width // self.heads
        self.state = self.heads * key * value
        self.core = cores.core("retnet-layer", self.heads, key, value)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, og = (split(f(x), self.heads) for f in (self.q, self.k, self.v, self.og))
        o = self.core(q=rotate(q), k=rotate(k), v=v, og=og, g_gamma=self.g_gamma)
        return self.out(o.flatten(2))


class Mamba2(nn.Module):
    """Mamba-2's block (Dao and Gu 2024): expansion by two, heads of 64, a state of 64 a channel, one
    group of B and C, a causal convolution over four tokens, RMS norm after the gate."""

    key = value = 64
    taps = 4

    def __init__(self, width: int, cores: Cores) -> None:
        super().__init__()
        self.inner = 2 * width
        self.heads = self.inner // self.value
        mixed = self.inner + 2 * self.key
        self.sizes = (self.inner, mixed, self.heads)
        self.into = linear(width, sum(self.sizes))
        self.convolution = nn.Parameter(torch.empty(mixed, 1, self.taps).uniform_(-0.5, 0.5))
        self.convolution_bias = nn.Parameter(torch.zeros(mixed))
        step = torch.exp(torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus of it is step
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.weight = nn.Parameter(torch.ones(self.inner))
        self.out = linear(self.inner, width)
        self.state = self.heads * self.key * self.value
        self.core = cores.core("mamba2", self.heads, self.key, self.value)

    def forward(self, x: Tensor) -> Tensor:
        z, mixed, dt = self.into(x).split(self.sizes, dim=-1)
        mixed = pad(mixed.transpose(1, 2), (self.taps - 1, 0))
        mixed = conv1d(mixed, self.convolution, self.convolution_bias, groups=mixed.shape[1])
        v, k, q = silu(mixed).transpose(1, 2).split((self.inner, self.key, self.key), dim=-1)
        k, q = (y.unsqueeze(2).expand(-1, -1, self.heads, -1) for y in (k, q))
        y = self.core(
            q=q, k=k, v=split(v, self.heads), dt=dt, A_log=self.A_log, dt_bias=self.dt_bias, D=self.D
        )
        return self.out(rms_norm(y.flatten(2) * silu(z), (self.inner,), self.weight, 1e-5))


class Attention(nn.Module):
    """LLaMA's causal softmax attention with rotary positions (Touvron et al. 2023).

    `window`, when set, lets a token see that many, itself included.
    """

    heads = 4
    state = None

    def __init__(self, width: int, cores: Cores) -> None:
        super().__init__()
        self.q, self.k, self.v = (linear(width, width) for _ in range(3))
        self.out = linear(width, width)
        self.window: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split(f(x), self.heads) for f in (self.q, self.k, self.v))
        q, k, v = (y.transpose(1, 2) for y in (rotate(q), rotate(k), v))
        if self.window is None:
            o = scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            pieces = [_piece(q, k, v, start, self.window) for start in range(0, x.shape[1], _PIECE)]
            o = torch.cat(pieces, dim=2)
        return self.out(o.transpose(1, 2).flatten(2))


_PIECE = 256


def _piece(q: Tensor, k: Tensor, v: Tensor, start: int, window: int) -> Tensor:
    """The attention of some tokens from `start` on, each of which sees a window: [B, heads, T, D]."""
    end, first = min(start + _PIECE, q.shape[2]), max(0, start - window + 1)
    ages = torch.arange(start, end).unsqueeze(1) - torch.arange(first, end)
    return scaled_dot_product_attention(
        q[:, :, start:end],
        k[:, :, first:end],
        v[:, :, first:end],
        attn_mask=(ages >= 0) & (ages < window),
    )
