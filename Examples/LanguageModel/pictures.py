"""The pictures, as SVG that is legible on white and on black pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

_INK = "#7d8590"  # Between the two backgrounds; so are the colours of the curves.
_COLOURS = {"gla": "#2f81f7", "retnet": "#d29922", "mamba2": "#2da44e", "llama": "#e5534b"}
plt.rcParams.update(
    {
        "svg.hashsalt": "sluice",  # The same picture is the same bytes.
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **{
            key: _INK
            for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
        },
    }
)


def smooth(losses: Sequence[float], steps: int = 20) -> np.ndarray:
    """The mean of each loss and up to `steps - 1` before it."""
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    ends = np.arange(1, len(losses) + 1)
    starts = np.maximum(0, ends - steps)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _numbers(values: Sequence[Optional[float]]) -> np.ndarray:
    return np.array(values, dtype=float)  # None, where there was nothing to average, is not drawn.


def _axes(x: str, y: str) -> Any:
    axes = plt.figure(figsize=(7.2, 4.2)).gca()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=_INK, alpha=0.25, linewidth=0.6)
    return axes


def _save(axes: Any, path: Path) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=_INK)
    axes.figure.tight_layout()
    axes.figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(axes.figure)


def draw_losses(models: Dict[str, Dict[str, Any]], path: Path) -> None:
    axes = _axes("training characters", "loss, nats a character")
    for name, model in models.items():
        characters = (1 + np.arange(len(model["losses"]))) * model["tokens_per_step"]
        axes.plot(
            characters,
            smooth(model["losses"]),
            color=_COLOURS[name],
            label=model["title"],
            linewidth=1.6,
        )
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
    _save(axes, path)


def draw_parity(kernel: List[float], plain: List[float], path: Path) -> None:
    axes = _axes("step", "loss of the step, nats a character")
    axes.plot(
        range(1, len(kernel) + 1),
        kernel,
        color="#2f81f7",
        linewidth=1.2,
        label="GLA on our kernels, float32",
    )
    axes.plot(
        range(1, len(plain) + 1),
        plain,
        color="#e5534b",
        linewidth=3,
        alpha=0.55,
        label="the same, plain PyTorch recurrence, float64",
    )
    _save(axes, path)


def draw_lengths(
    models: Dict[str, Dict[str, Any]], trained: int, edges: Sequence[int], path: Path
) -> None:
    axes = _axes("position in the document, characters", "loss, nats a character")
    centres = np.sqrt(np.multiply(edges[:-1], edges[1:]))
    for name, model in models.items():
        axes.plot(
            centres,
            _numbers(model["by_position"]),
            color=_COLOURS[name],
            label=model["title"],
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )
        if "windowed" in model:
            axes.plot(
                centres,
                _numbers(model["windowed"]),
                color=_COLOURS[name],
                linestyle="--",
                linewidth=1.4,
                label=f"{model['title']}, attending {trained} back",
            )
    axes.axvline(trained, color=_INK, linewidth=1, linestyle=":")
    axes.annotate(
        "trained to here",
        (trained, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
    _save(axes, path)


def draw_recall(
    models: Dict[str, Dict[str, Any]], trained: int, edges: Sequence[int], path: Path
) -> None:
    axes = _axes("characters since the fact was last told", "loss of its characters, nats")
    centres = np.sqrt(np.multiply(edges[:-1], edges[1:]))
    for name, model in models.items():
        axes.plot(
            centres,
            _numbers(model["by_distance"]),
            color=_COLOURS[name],
            label=model["title"],
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )
    axes.axvline(trained, color=_INK, linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
    _save(axes, path)
