"""Examples/LanguageModel: its text, and its models on our kernels beside the plain recurrences."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packages import REPOSITORY

EXAMPLE = REPOSITORY / "Examples" / "LanguageModel"


@pytest.fixture(scope="module", autouse=True)
def _example_on_path() -> Any:
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


def test_text_can_be_foretold() -> None:
    """What stands at a distance is the beginning of the same fact; equal seeds give equal texts."""
    from chronicle import documents, read

    texts, again = (documents(3, 4_000, 6_000, seed=5) for _ in range(2))
    others = documents(3, 4_000, 6_000, seed=6)
    for text, same, other in zip(texts, again, others):
        assert np.array_equal(text.codes, same.codes)
        assert not np.array_equal(text.codes[:1_000], other.codes[:1_000])
        told = [0, *np.flatnonzero(np.diff(text.distances)) + 1]
        starts = [start for start in told if text.distances[start] > 0]
        assert len(starts) > 50
        for start in starts:
            end = start + int(np.argmax(text.distances[start:] != text.distances[start]))
            before = start - int(text.distances[start])
            assert read(text.codes[start:end]) == read(text.codes[before : before + end - start])


@pytest.mark.parametrize("name", ["gla", "retnet", "mamba2"])
def test_kernels_train_as_the_plain_recurrence(name: str, tmp_path: Path) -> None:
    """Three steps of training in float32 on kernels and in float64 in plain PyTorch: the same losses."""
    pytest.importorskip("torch")
    command = Path(os.environ.get("LAYERS", REPOSITORY / ".build" / "release" / "layers"))
    if not command.exists():
        pytest.skip(f"{command} is not there: `make example` builds it")
    from chronicle import documents
    from kernels import Kernels, Plain
    from model import KINDS, LanguageModel
    from training import Budget, train

    budget = Budget(3, batch=2, length=37, warm_up=1)
    text = documents(1, 2_000, 2_000, seed=7)[0].codes
    kernels = Kernels(command, tmp_path, budget.batch, budget.length, threads=1)
    kind = KINDS[name]._replace(layers=2)
    ours = LanguageModel(kind, kernels, seed=8, width=64)
    plain = LanguageModel(kind, Plain(), seed=8, width=64).double()
    losses = [train(model, text, budget, 3, print).losses for model in (ours, plain)]
    assert losses[0][2] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-5)
    for (where, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters()):
        error = float((a.detach().double() - b.detach()).norm() / b.detach().norm())
        assert error < 1e-4, f"{where}: {error}"
