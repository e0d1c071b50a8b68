"""Tables of times: each beside the physical limit, beside sgdfit, and with what was aimed at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Line",
    "Table",
    "Target",
    "as_dict",
    "as_page",
    "digits_shared",
    "lined",
    "short",
    "written",
]

NAME, NUMBER = 38, 11


class Line(NamedTuple):
    """A line of a table.

    Attributes
    ----------
    name : str
        Whose work it is.
    value : float or None
        In the unit of the table; None for one that is not there, and the note says why.
    runs : int
        How many runs the value is the median of.
    note : str
        What else is to be said of it.
    """

    name: str
    value: float | None
    runs: int = 0
    note: str = ""


class Target(NamedTuple):
    """What was aimed at, what was measured, and whether that is enough."""

    words: str
    measured: float
    aim: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it was reached; what could not be measured was not."""
        return self.measured >= self.aim if self.at_least else self.measured <= self.aim


class Table(NamedTuple):
    """Lines in one unit.

    Attributes
    ----------
    title, unit : str
        What was done, and what the values are in.
    lines : sequence of Line
    limit, ours : str
        The names of the lines that the ratios are taken to: the physical limit, and sgdfit's.
    targets : sequence of Target
    notes : sequence of str
    """

    title: str
    unit: str
    lines: Sequence[Line]
    limit: str = ""
    ours: str = ""
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()


def lined(table: Table, name: str) -> float:
    """Return the value of the line ``name``, NaN where there is none."""
    return _value(table.lines, name)


def _value(lines: Iterable[Line], name: str) -> float:
    found = next((line.value for line in lines if line.name == name), None)
    return math.nan if found is None else found


def short(number: float | None) -> str:
    """Write a number with three digits that mean something, or a dash.

    Examples
    --------
    >>> [short(x) for x in (0.0123, 1.234, 12.34, 123.4, 472_000.0, math.nan)]
    ['0.0123', '1.23', '12.3', '123', '472,000', '–']
    """
    if number is None or not math.isfinite(number):
        return "–"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if abs(number) >= 1 or number == 0 else f"{number:.3g}"


def digits_shared(one: Iterable[float], other: Iterable[float]) -> float:
    """Return to how many digits the worst pair of numbers agrees, at most 16.

    Examples
    --------
    >>> round(digits_shared([2.0, 1.0], [2.0, 1.001]), 3)
    3.0
    """
    worst = max(_relative(a, b) for a, b in zip(one, other, strict=True))
    return 16.0 if worst == 0 else min(16.0, -math.log10(worst))


def _relative(one: float, other: float) -> float:
    return 0.0 if one == other else abs(one - other) / abs(other) if other else math.inf


def written(table: Table) -> list[str]:
    """Return a table as lines of text."""
    limit, ours = lined(table, table.limit), lined(table, table.ours)
    heading = f"{table.unit:>{NUMBER}}"
    heading += f"{'/ limit':>{NUMBER}}" if table.limit else ""
    heading += f"{'/ sgdfit':>{NUMBER}}" if table.ours else ""
    told = ["", table.title, f"{'':{NAME}}{heading}{'runs':>6}"]
    for line in table.lines:
        cells = f"{short(line.value):>{NUMBER}}"
        cells += f"{_ratio(line, limit):>{NUMBER}}" if table.limit else ""
        cells += f"{_ratio(line, ours):>{NUMBER}}" if table.ours else ""
        told.append(f"{line.name:{NAME}}{cells}{line.runs or '':>6}  {line.note}".rstrip())
    told += [_told(target) for target in table.targets]
    return [*told, *table.notes]


def as_page(tables: Iterable[Table]) -> list[str]:
    """Return tables in Markdown, each below its title."""
    told = []
    for table in tables:
        limit, ours = lined(table, table.limit), lined(table, table.ours)
        head = [table.unit, *["/ limit"] * bool(table.limit), *["/ sgdfit"] * bool(table.ours)]
        told += [
            f"**{table.title}**",
            "",
            _row("", *head, "runs", ""),
            "|---" * (len(head) + 3) + "|",
        ]
        for line in table.lines:
            cells = [short(line.value)]
            cells += [_ratio(line, limit)] * bool(table.limit) + [_ratio(line, ours)] * bool(
                table.ours
            )
            told.append(_row(line.name, *cells, str(line.runs or ""), line.note))
        notes = " ".join([*map(_told, table.targets), *table.notes]).split()
        told += ["", " ".join(notes), ""] if notes else [""]
    return told


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _ratio(line: Line, to: float) -> str:
    return short(None if line.value is None or to == 0 else line.value / to)


def _told(target: Target) -> str:
    sign = "≥" if target.at_least else "≤"
    word = "reached" if target.holds else "MISSED"
    return f"  {word}: {target.words}: {short(target.measured)} (aim {sign} {short(target.aim)})"


def as_dict(table: Table) -> dict[str, Any]:
    """Return a table as JSON holds it."""
    return {
        "title": table.title,
        "unit": table.unit,
        "limit": table.limit,
        "ours": table.ours,
        "lines": [line._asdict() for line in table.lines],
        "targets": [target._asdict() | {"holds": target.holds} for target in table.targets],
        "notes": list(table.notes),
    }
