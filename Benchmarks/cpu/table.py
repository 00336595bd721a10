"""Rows of figures, as text."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

Row = Dict[str, Any]

_HEADS = (
    "PROBLEM", "THREADS", "WHO", "ERROR", "MEDIAN ms", "SPREAD", "x OURS", "TIME/FLOOR", "OF GEMM"
)


def _number(value: Optional[float], form: str) -> str:
    return "" if value is None else format(value, form)


def lines(rows: List[Row]) -> List[str]:
    """A header and a line a row; what was not measured says why where its figures would stand."""
    cells = [list(_HEADS)]
    for row in rows:
        cells.append(
            [
                row["problem"],
                str(row["threads"]),
                row["who"],
                _number(row.get("error"), ".1e"),
                _number(row.get("median"), ".3f"),
                _number(row.get("spread"), ".1%"),
                _number(row.get("ratio"), ".2f"),
                _number(row.get("floors"), ".2f"),
                _number(row.get("share"), ".0%"),
            ]
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    text = []
    for index, line in enumerate(cells):
        padded = [
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ]
        note = rows[index - 1].get("note", "") if index else ""
        text.append(("  ".join(padded).rstrip() + ("  " + note if note else "")).rstrip())
    return text
