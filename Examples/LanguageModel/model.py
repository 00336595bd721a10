"""The language models: the same but for their token mixers, and near one count of parameters."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Type

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from chronicle import ALPHABET
from layers import GLA, Attention, Cores, Mamba2, RetNet, linear


class Kind(NamedTuple):
    """What tells one model from another at width 128; hidden sizes make the counts meet."""

    title: str
    mixer: Type[nn.Module]
    layers: int
    hidden: Optional[int]
    """Of the SwiGLU after each mixer; Mamba-2 has none."""


KINDS: Dict[str, Kind] = {
    "gla": Kind("GLA", GLA, 4, 356),
    "retnet": Kind("RetNet", RetNet, 4, 192),
    "mamba2": Kind("Mamba-2", Mamba2, 7, None),
    "llama": Kind("LLaMA-style softmax", Attention, 4, 364),
}


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.shape, self.weight, 1e-5)


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up, self.down = (
            linear(width, hidden),
            linear(width, hidden),
            linear(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


class LanguageModel(nn.Module):
    """Codes [B, T] to the logits of the next ones [B, T, alphabet]: pre-norm residual layers.

    The same seed gives the same weights, whichever cores compute.
    """

    def __init__(self, kind: Kind, cores: Cores, seed: int, width: int = 128) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(len(ALPHABET), width)
        self.blocks = nn.ModuleList()
        for _ in range(kind.layers):
            self.blocks += [Norm(width), kind.mixer(width, cores)]
            if kind.hidden is not None:
                self.blocks += [Norm(width), SwiGLU(width, kind.hidden)]
        self.norm, self.head = Norm(width), linear(width, len(ALPHABET))
        for weight in self.matrices:
            nn.init.normal_(weight, std=0.02)

    @property
    def matrices(self) -> List[Tensor]:
        """The weights of projections and of the embedding: what weight decay is for."""
        return [m.weight for m in self.modules() if isinstance(m, (nn.Linear, nn.Embedding))]

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def state_size(self) -> Optional[int]:
        """Numbers that the recurrences carry from token to token; None for attention."""
        sizes = [block.state for block in self.blocks if hasattr(block, "state")]
        return None if None in sizes else sum(sizes)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.embedding(codes)
        for norm, layer in zip(self.blocks[::2], self.blocks[1::2]):
            x = x + layer(norm(x))
        return self.head(self.norm(x))
