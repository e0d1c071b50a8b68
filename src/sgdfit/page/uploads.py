"""What a view sends: numbers, checked, and data, kept in a folder, never under their own name."""

from __future__ import annotations

import math
import reprlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgdfit.data.readers import open_table
from sgdfit.data.rows import timed
from sgdfit.data.table import Table
from sgdfit.data.times import TimeScales
from sgdfit.errors import UsageError, listed
from sgdfit.formula.formula import symbol, to_text

# Of a file, and of the numbers that it unpacks to.
MOST_BYTES, MOST_NUMBERS = 50_000_000, 20_000_000
LARGEST = 1e150  # of numbers by hand: squares of theirs are finite
# As files of these kinds begin.
MAGIC = {b"PAR1": ".parquet", b"PK\x03\x04": ".xlsx"}


def uploaded(message: Mapping[str, Any]) -> object:
    """Return the table that a message holds as text or as the bytes of a file.

    Raises
    ------
    UsageError
        When there is nothing, or too much.
    DataError
        When it cannot be read.
    """
    content = message.get("content", message.get("text", ""))
    raw = content.encode() if isinstance(content, str) else bytes(content)
    if not raw.strip():
        raise UsageError("there are no data; paste a table with a header, or drop a file")
    if len(raw) > MOST_BYTES:
        raise UsageError(
            f"the data have {len(raw):,} bytes, and the view takes at most {MOST_BYTES:,}; fit"
            " larger files on the command line"
        )
    ending = next((end for magic, end in MAGIC.items() if raw.startswith(magic)), ".csv")
    with tempfile.TemporaryDirectory(prefix="sgdfit-") as folder:
        path = Path(folder) / f"data{ending}"
        path.write_bytes(raw)
        table = open_table(path)
        groups = () if table.dataset is None else table.dataset.row_groups
        numbers = sum(group.rows or 0 for group in groups) * len(table.names)
        if numbers > MOST_NUMBERS:
            raise UsageError(
                f"the file holds {numbers:,} numbers, and the view takes at most"
                f" {MOST_NUMBERS:,}; give its name to sgdfit page, or leave columns out"
            )
        return table.arrow(table.names)


def first_formula(names: Sequence[str]) -> str:
    """Return a formula to begin with: a line through the last column over the first."""
    if len(names) < 2:
        raise UsageError(
            f"a curve takes two columns, and the data have {listed(names)}; add one, such as x"
        )
    x, y = (to_text(symbol(name)) for name in (names[0], names[-1]))
    a, b, *_ = (name for name in "abcdefghklmnpqrsuvw" if name not in names)
    return f"{y} = {a}*{x} + {b}"


def kept_rows(source: Table, where: object) -> Table:
    """Return the rows that meet a condition, all where there is none."""
    return timed(open_table(source, str(where).strip() or None), TimeScales())


def number(value: Any, what: str) -> float:
    """Return a finite number of a message."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not abs(found) <= LARGEST:
        raise UsageError(
            f"{what} is {reprlib.repr(value)}; a finite number is needed, of at most {LARGEST:g}"
        )
    return found


def numbers(values: Any) -> dict[str, float]:
    """Return the finite numbers of a message by name."""
    known = values if isinstance(values, Mapping) else {}
    return {
        str(n): float(v)
        for n, v in known.items()
        if isinstance(v, int | float) and abs(v) <= LARGEST
    }
