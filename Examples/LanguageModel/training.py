"""Training and evaluation, the same for every model."""

from __future__ import annotations

import math
import time
from typing import Callable, List, NamedTuple, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from chronicle import Text
from model import LanguageModel


class Budget(NamedTuple):
    """What every model gets: `steps` of `batch` windows of `length` characters under AdamW."""

    steps: int
    batch: int = 8
    length: int = 256
    rate: float = 2e-3
    warm_up: int = 40
    decay: float = 0.1
    seed: int = 2

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a tenth."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.55 + 0.45 * math.cos(math.pi * done))


class Run(NamedTuple):
    """What training left behind."""

    losses: List[float]
    """Of each step, in nats a character."""
    tokens_per_second: float
    """Over the median step."""


def train(
    model: LanguageModel, text: np.ndarray, budget: Budget, steps: int, say: Callable[[str], None]
) -> Run:
    """Trains for `steps` of the budget's schedule; the windows depend on the budget's seed alone."""
    windows = np.random.default_rng(budget.seed)
    decayed = {id(weight) for weight in model.matrices}
    groups = [
        {"params": [p for p in model.parameters() if id(p) in decayed], "weight_decay": budget.decay},
        {"params": [p for p in model.parameters() if id(p) not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses, seconds = [], []
    for step in range(steps):
        starts = windows.integers(0, len(text) - budget.length - 1, budget.batch)
        rows = np.stack([text[start : start + budget.length + 1] for start in starts])
        codes = torch.from_numpy(rows.astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = budget.rate_at(step)
        began = time.perf_counter()
        loss = cross_entropy(model(codes[:, :-1]).flatten(0, 1), codes[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - began)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"The loss of step {step} is {losses[-1]}: training went wrong.")
        if step % 25 == 24 or step == steps - 1:
            say(f"step {step + 1}: {np.mean(losses[-50:]):.3f} nats a character")
    return Run(losses, budget.batch * budget.length / float(np.median(seconds)))


@torch.no_grad()
def losses_of(model: LanguageModel, documents: Sequence[Text], length: int) -> np.ndarray:
    """The loss of each character after the first, in nats: [documents, length - 1]."""
    rows = []
    for document in documents:
        codes = torch.from_numpy(document.codes[:length].astype(np.int64)).unsqueeze(0)
        rows.append(cross_entropy(model(codes)[0, :-1], codes[0, 1:], reduction="none").numpy())
    return np.stack(rows)
