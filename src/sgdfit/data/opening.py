"""The rows of a table: loaded where they fit into memory, else streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgdfit.data.census import Census, Keep, count_rows
from sgdfit.data.missing import check_policy
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.source import Source
from sgdfit.data.stream import Stream
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError

__all__ = ["open_rows", "without_weightless"]

Array = np.ndarray[Any, Any]

BYTES = 8


def open_rows(
    table: Table,
    names: Sequence[str],
    *,
    missing: str,
    budget: int,
    threads: int = 1,
    announce: Callable[[str], object] | None = None,
) -> Source | Stream:
    """Load the columns ``names`` where they fit into ``budget`` bytes; else return a `Stream`.

    Where it is not known how many rows there are, they are read once: sources that can be read
    only once, or slowly, into memory and beyond that onto a disk; others to count them.

    Raises
    ------
    DataError
        When a column is unknown or not numeric, numbers are not finite and ``missing="error"``,
        or there is no row.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> open_rows(open_table({"x": [1.0, 2.0]}), ["x"], missing="error", budget=0).rows
    2
    """
    check_policy(missing)
    scan = table.scan
    if scan is None:
        return table.load(names, missing=missing)
    table.check(names)
    wanted = tuple(dict.fromkeys(clean_names(names)))
    from sgdfit.data.spill import spilled

    if not scan.again or (scan.slow and _rows(scan) is None):
        scan = spilled(scan, wanted, budget, announce=announce)
    rows = _rows(scan)
    if rows is None:
        return _loaded(scan, wanted, missing, budget, threads, budget)
    if rows * len(wanted) * BYTES > budget:
        if missing == "drop":
            return _loaded(scan, wanted, missing, 0, threads, budget)
        return Stream(scan, wanted, Census(_counts(scan), 0, rows), missing, threads, budget)
    if scan is table.scan:
        return table.load(names, missing=missing)
    return _loaded(scan, wanted, missing, 2 * budget, threads, budget)


def _rows(scan: Scan) -> int | None:
    """Return how many rows there are, if that is known."""
    if any(piece.rows is None for piece in scan.pieces):
        return None
    return sum(_counts(scan))


def _counts(scan: Scan) -> tuple[int, ...]:
    return tuple(piece.rows or 0 for piece in scan.pieces)


def _loaded(
    scan: Scan, names: tuple[str, ...], missing: str, budget: int, threads: int, reading: int
) -> Source | Stream:
    """Read all rows, and keep them as long as they fit; else what is read ahead may take some."""
    held: list[tuple[Array, ...]] | None = []
    room = budget

    def hold(piece: Piece, offset: int, columns: tuple[Array, ...]) -> None:
        nonlocal held, room
        room -= sum(column.nbytes for column in columns)
        if room < 0:
            held = None
        elif held is not None:
            held.append(columns)

    counted = count_rows(scan, names, missing, None, hold, threads=threads, budget=reading)
    if not counted.rows:
        raise DataError(_no_rows(scan, counted))
    if held is None:
        return Stream(scan, names, counted, missing, threads, reading)
    columns = {
        name: _joined(parts) for name, parts in zip(names, zip(*held, strict=True), strict=True)
    }
    return Source(columns, scan.label, counted.dropped)


def _joined(parts: tuple[Array, ...]) -> Array:
    column = np.concatenate(parts)
    column.flags.writeable = False
    return column


def _no_rows(scan: Scan, counted: Census) -> str:
    if counted.dropped:
        return (
            f"no row of {scan.label} remains: each of its {counted.dropped:,} rows lacks a finite"
            " number; check its columns"
        )
    if any(piece.rows is None for piece in scan.pieces):
        return f"no row of {scan.label} is left; check what chooses them"
    return f"{scan.label} has no rows; give at least one"


def without_weightless(stream: Stream, keep: Keep, visit: Callable[..., object]) -> Stream:
    """Return the stream without the rows that have no say, which takes a look at all of them."""
    counted = count_rows(
        stream.scan,
        stream.names,
        stream.missing,
        keep,
        visit,
        threads=stream.threads,
        budget=stream.budget,
    )
    return Stream(
        stream.scan, stream.names, counted, stream.missing, stream.threads, stream.budget, keep
    )
