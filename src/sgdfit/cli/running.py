"""The lines of a fit that goes on, in columns that stay where they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sgdfit.cli.streams import width
from sgdfit.result.rounding import number, plus_minus

if TYPE_CHECKING:
    from sgdfit.online.update import Update

__all__ = ["Running"]

WIDE = {"rows": 13, "time": 9, "loss": 10, "parameter": 19}
NARROW = {"rows": 9, "time": 8, "loss": 9, "parameter": 15}
FIRST = ("rows", "time", "loss")
GAP = "  "
# On a terminal the heads come again before they have scrolled away.
AGAIN = 20
DIGITS = 4


class Running:
    """Rows, parameters with their errors, loss and time; of these, as many as there is room for."""

    def __init__(self) -> None:
        self.begun = False
        self._columns: dict[str, int] = {}
        self._count = 0
        self._named = False

    def lines(self, update: Update, seconds: float) -> Iterator[str]:
        """Yield the line of an update, the heads before it where they are due."""
        cells = _cells(update, seconds)
        again = sys.stdout.isatty() and self._count % AGAIN == 0
        if not self.begun or again or self._named != bool(update.estimates):
            self._columns = _fitting(cells, _room())
            self._named = bool(update.estimates)
            yield self._heads()
        self.begun, self._count = True, self._count + 1
        yield GAP.join(cells[name].rjust(size) for name, size in self._columns.items()).rstrip()

    def _heads(self) -> str:
        return GAP.join(_bare(name).rjust(size) for name, size in self._columns.items())


def _cells(update: Update, seconds: float) -> dict[str, str]:
    """Return every cell by its column; blanks keep parameters apart from the others."""
    cells = {"rows": f"{update.rows:,}"}
    for name, value in update.estimates.items():
        cells[f" {name}"] = plus_minus(value, update.errors[name])
    if not update.estimates:
        cells["status"] = "waiting for more rows"
    if update.loss is not None:
        cells["loss"] = number(update.loss, DIGITS)
    cells["time"] = f"{seconds:,.1f} s"
    return cells


def _bare(name: str) -> str:
    return name.strip()


def _fitting(cells: dict[str, str], room: int | None) -> dict[str, int]:
    """Return the columns that there is room for, and their widths; parameters come first."""
    wide = _widths(cells, WIDE)
    if room is None or _length(wide) <= room:
        return wide
    narrow, kept = _widths(cells, NARROW), ["rows"]
    for name in sorted(narrow, key=lambda name: name in ("loss", "time")):
        if name not in kept and _length({n: narrow[n] for n in (*kept, name)}) <= room:
            kept.append(name)
    return {name: size for name, size in narrow.items() if name in kept}


def _widths(cells: dict[str, str], usual: dict[str, int]) -> dict[str, int]:
    order = [name for name in FIRST if name in cells]
    order += [name for name in cells if name not in FIRST]
    least = usual["parameter"]
    return {name: max(usual.get(name, least), len(_bare(name)), len(cells[name])) for name in order}


def _length(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _room() -> int | None:
    """Return the width of the terminal; None where lines go elsewhere and nobody set one."""
    return width() if sys.stdout.isatty() or "COLUMNS" in os.environ else None
