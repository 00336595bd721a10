"""Trains the four models on one text under one budget, tries them at greater lengths, draws.

Run by `run`, which makes the command for the kernels. Everything follows from the seeds below but the
times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch

import pictures
from chronicle import Text, documents
from kernels import Kernels, Plain
from layers import Attention
from model import KINDS, LanguageModel
from training import Budget, losses_of, train

TRAINING_TEXT, TEST_TEXT, WEIGHTS = 1, 1001, 3  # Seeds; the budget holds that of the windows.


class Size(NamedTuple):
    """How much is done; the whole, or a smoke of it."""

    budget: Budget
    plain_steps: int
    training_documents: int
    test_documents: int
    longest: int
    """Characters of each test document that are read."""
    timed_steps: int


WHOLE = Size(
    Budget(400),
    plain_steps=40,
    training_documents=400,
    test_documents=12,
    longest=10_240,
    timed_steps=5,
)
QUICK = Size(
    Budget(6, batch=2, length=64, warm_up=2),
    plain_steps=3,
    training_documents=4,
    test_documents=2,
    longest=512,
    timed_steps=1,
)


def say(text: str) -> None:
    print(f"Examples/LanguageModel: {text}", file=sys.stderr, flush=True)


def training_text(size: Size) -> np.ndarray:
    return np.concatenate(
        [d.codes for d in documents(size.training_documents, 4_000, 12_000, TRAINING_TEXT)]
    )


def test_text(size: Size) -> List[Text]:
    return documents(size.test_documents, size.longest, size.longest, TEST_TEXT)


def edges(size: Size) -> List[int]:
    """Limits of the pieces of a document, or of distances, over which losses are averaged."""
    limits = [16]
    while limits[-1] * 2 < size.longest:
        limits.append(limits[-1] * 2)
    return [*limits, size.longest]


def means(losses: np.ndarray, at: np.ndarray, limits: List[int]) -> List[Optional[float]]:
    """The mean loss of the characters for which `at` lies between each two limits; None of none."""
    pieces = [losses[(at >= low) & (at < high)] for low, high in zip(limits, limits[1:])]
    return [float(piece.mean()) if piece.size else None for piece in pieces]


def study(name: str, size: Size, kernels: Kernels) -> Dict[str, Any]:
    """Trains one model on our kernels and reads the test documents with it; on one thread."""
    torch.set_num_threads(1)
    kind = KINDS[name]
    model = LanguageModel(kind, kernels, WEIGHTS)
    run = train(
        model, training_text(size), size.budget, size.budget.steps, lambda t: say(f"{kind.title}: {t}")
    )
    torch.save(model.state_dict(), kernels.folder / f"{name}.pt")
    tests, limits = test_text(size), edges(size)
    losses = losses_of(model, tests, size.longest)
    positions = np.broadcast_to(np.arange(1, size.longest), losses.shape)
    distances = np.stack([test.distances[1 : size.longest] for test in tests])
    result = {
        "title": kind.title,
        "parameters": model.parameter_count,
        "state": model.state_size,
        "tokens_per_step": size.budget.batch * size.budget.length,
        "losses": run.losses,
        "by_position": means(losses, positions, limits),
        "by_distance": means(losses, distances, limits),
    }
    mixers = [module for module in model.modules() if isinstance(module, Attention)]
    for mixer in mixers:
        mixer.window = size.budget.length
    if mixers:
        result["windowed"] = means(losses_of(model, tests, size.longest), positions, limits)
    return result


def plain_losses(size: Size) -> List[float]:
    """The first losses of the GLA model in float64 on the plain recurrence: same weights, same data."""
    torch.set_num_threads(1)
    model = LanguageModel(KINDS["gla"], Plain(), WEIGHTS).double()
    return train(
        model, training_text(size), size.budget, size.plain_steps, lambda t: say(f"plain, float64: {t}")
    ).losses


def speeds(size: Size, kernels: Kernels) -> Dict[str, float]:
    """Tokens a second of GLA's training, forward, backward and optimizer, by who computes."""
    text, result = training_text(size), {}
    for who, cores, dtype in (
        ("kernels, float32", kernels, torch.float32),
        ("plain, float32", Plain(), torch.float32),
        ("plain, float64", Plain(), torch.float64),
    ):
        model = LanguageModel(KINDS["gla"], cores, WEIGHTS).to(dtype)
        steps = size.timed_steps if isinstance(cores, Plain) else 4 * size.timed_steps
        result[who] = train(model, text, size.budget, steps, lambda _: None).tokens_per_second
        say(f"GLA, {who}: {result[who]:,.0f} tokens a second in training")
    return result


def perform(part: str, size: Size, arguments: argparse.Namespace) -> Dict[str, Any]:
    """One part of the results; each may run in a process of its own."""
    cores = os.cpu_count() or 1
    kernels = Kernels(
        arguments.layers,
        arguments.build,
        size.budget.batch,
        size.budget.length,
        threads=cores if part == "speed" else 1,
    )
    if part == "speed":
        torch.set_num_threads(cores)
        return {"threads": cores, "tokens_per_second": speeds(size, kernels)}
    return {"losses": plain_losses(size)} if part == "plain" else study(part, size, kernels)


def table(results: Dict[str, Any]) -> str:
    """What the pictures do not say, as lines of text."""
    lines = [
        f"{'MODEL':22}{'PARAMETERS':>12}{'STATE':>10}{'LAST 50 STEPS':>15}{'LONGEST':>10}{'WINDOWED':>10}"
    ]
    for name in KINDS:
        if name in results:
            model = results[name]
            windowed = f"{model['windowed'][-1]:.3f}" if "windowed" in model else ""
            lines.append(
                f"{model['title']:22}{model['parameters']:12,}{model['state'] or 'grows':>10}"
                f"{np.mean(model['losses'][-50:]):15.3f}{model['by_position'][-1]:10.3f}{windowed:>10}"
            )
    if "speed" in results:
        rates = results["speed"]["tokens_per_second"]
        first = next(iter(rates.values()))
        lines += [
            f"GLA in training, {who}, {results['speed']['threads']} threads: {rate:,.0f} tokens a second"
            + ("" if rate == first else f"; the kernels do {first / rate:.1f} times that")
            for who, rate in rates.items()
        ]
    return "\n".join(lines)


def draw(results: Dict[str, Any], size: Size, folder: Path) -> None:
    models = {name: results[name] for name in KINDS if name in results}
    pictures.draw_losses(models, folder / "losses.svg")
    pictures.draw_lengths(models, size.budget.length, edges(size), folder / "lengths.svg")
    pictures.draw_recall(models, size.budget.length, edges(size), folder / "recall.svg")
    if "gla" in models and "plain" in results:
        pictures.draw_parity(
            models["gla"]["losses"], results["plain"]["losses"], folder / "float64.svg"
        )


def main() -> None:
    parts = [*KINDS, "plain", "speed"]
    parser = argparse.ArgumentParser(prog="run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke of every part, in under a minute")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=parts,
        default=parts,
        help="only these; the others are kept from before",
    )
    parser.add_argument("-o", "--output", type=Path, help="folder of the pictures and results.json")
    parser.add_argument("--layers", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else WHOLE
    folder = arguments.output or (
        arguments.build / "quick" if arguments.quick else Path(__file__).parent / "results"
    )
    folder.mkdir(parents=True, exist_ok=True)
    arguments.build.mkdir(parents=True, exist_ok=True)

    kept = folder / "results.json"
    results: Dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    # One model a core: small steps gain little from a second thread. Speed is last, and alone.
    together = [part for part in arguments.parts if part != "speed"]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        begun = {part: pool.submit(perform, part, size, arguments) for part in together}
        for part, running in begun.items():
            results[part] = running.result()
            kept.write_text(json.dumps(results) + "\n")
    if "speed" in arguments.parts:
        results["speed"] = perform("speed", size, arguments)
        kept.write_text(json.dumps(results) + "\n")
    draw(results, size, folder)
    print(table(results))
    say(f"pictures and results.json are in {folder}")


if __name__ == "__main__":
    main()
