"""Data opened for a fit: columns held in memory, or read anew for each pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sgdfit.data.rows import ChunkedRows, Keep, RowCounts, count_rows, float_blocks
from sgdfit.data.table import Columns, Dataset, RowGroup, Table, check_policy, clean_names
from sgdfit.errors import DataError

Array = np.ndarray[Any, Any]

THREADS = 2


def gathered_table(dataset: Dataset, narrow: Callable[[str], bool]) -> Table:
    """Return a table over ``dataset``, all of whose pieces know how many rows they have.

    Its columns are filled piece by piece, so that no more than they and a few batches are held.

    Parameters
    ----------
    dataset : Dataset
    narrow : function of a column name
        Whether all of its numbers are float32.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"x": [1, 2], "y": [3, 4]})
    >>> piece = RowGroup("a.parquet", 0, 2, lambda names: iter([batch.select(list(names))]))
    >>> dataset = Dataset(("x", "y"), "a.parquet", (piece, piece))
    >>> table = gathered_table(dataset, narrow=lambda name: False)
    >>> table.load(["y"]).columns["y"]
    array([3., 4., 3., 4.])
    """
    counts = [piece.rows or 0 for piece in dataset.row_groups]
    starts = [0, *itertools.accumulate(counts)]
    several = len({piece.label for piece in dataset.row_groups}) > 1

    def fetch(positions: Sequence[int]) -> list[Array]:
        names = [dataset.names[place] for place in positions]
        return _filled(dataset, names, narrow, starts) if names else []

    def line(row: int) -> str:
        for piece, start, rows in zip(dataset.row_groups, starts, counts, strict=False):
            if several and start <= row < start + rows:
                return f" (row {piece.first + row - start + 1} of {piece.label})"
        return ""

    return Table(dataset.names, dataset.label, fetch, line, dataset.decimal, dataset)


def _filled(
    dataset: Dataset, names: Sequence[str], narrow: Callable[[str], bool], starts: Sequence[int]
) -> list[Array]:
    columns = [np.empty(starts[-1], np.float32 if narrow(name) else np.float64) for name in names]

    def fill(piece: RowGroup, start: int) -> None:
        for _, blocks in float_blocks(dataset._replace(row_groups=(piece,)), names):
            end = start + len(blocks[0])
            for column, block in zip(columns, blocks, strict=True):
                column[start:end] = block
            start = end

    with ThreadPoolExecutor(THREADS, "sgdfit-load") as pool:
        try:
            list(pool.map(fill, dataset.row_groups, starts))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return columns


BYTES = 8


def open_rows(
    table: Table,
    names: Sequence[str],
    *,
    missing: str,
    budget: int,
    threads: int = 1,
    announce: Callable[[str], object] | None = None,
) -> Columns | ChunkedRows:
    """Load the columns ``names`` where they fit into ``budget`` bytes; else return a `ChunkedRows`.

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
    dataset = table.dataset
    if dataset is None:
        return table.load(names, missing=missing)
    table.check(names)
    wanted = tuple(dict.fromkeys(clean_names(names)))
    from sgdfit.data.spill import spilled

    if not dataset.again or (dataset.slow and _rows(dataset) is None):
        dataset = spilled(dataset, wanted, budget, announce=announce)
    rows = _rows(dataset)
    if rows is None:
        return _loaded(dataset, wanted, missing, budget, threads, budget)
    if rows * len(wanted) * BYTES > budget:
        if missing == "drop":
            return _loaded(dataset, wanted, missing, 0, threads, budget)
        return ChunkedRows(
            dataset, wanted, RowCounts(_counts(dataset), 0, rows), missing, threads, budget
        )
    if dataset is table.dataset:
        return table.load(names, missing=missing)
    return _loaded(dataset, wanted, missing, 2 * budget, threads, budget)


def _rows(dataset: Dataset) -> int | None:
    """Return how many rows there are, if that is known."""
    if any(piece.rows is None for piece in dataset.row_groups):
        return None
    return sum(_counts(dataset))


def _counts(dataset: Dataset) -> tuple[int, ...]:
    return tuple(piece.rows or 0 for piece in dataset.row_groups)


def _loaded(
    dataset: Dataset, names: tuple[str, ...], missing: str, budget: int, threads: int, reading: int
) -> Columns | ChunkedRows:
    """Read all rows, and keep them as long as they fit; else what is read ahead may take some."""
    held: list[tuple[Array, ...]] | None = []
    room = budget

    def hold(piece: RowGroup, offset: int, columns: tuple[Array, ...]) -> None:
        nonlocal held, room
        room -= sum(column.nbytes for column in columns)
        if room < 0:
            held = None
        elif held is not None:
            held.append(columns)

    counted = count_rows(dataset, names, missing, None, hold, threads=threads, budget=reading)
    if not counted.rows:
        raise DataError(_no_rows(dataset, counted))
    if held is None:
        return ChunkedRows(dataset, names, counted, missing, threads, reading)
    columns = {
        name: _joined(parts) for name, parts in zip(names, zip(*held, strict=True), strict=True)
    }
    return Columns(columns, dataset.label, counted.dropped)


def _joined(parts: tuple[Array, ...]) -> Array:
    column = np.concatenate(parts)
    column.flags.writeable = False
    return column


def _no_rows(dataset: Dataset, counted: RowCounts) -> str:
    if counted.dropped:
        return (
            f"no row of {dataset.label} remains: each of its {counted.dropped:,} rows lacks a"
            " finite number; check its columns"
        )
    if any(piece.rows is None for piece in dataset.row_groups):
        return f"no row of {dataset.label} is left; check what chooses them"
    return f"{dataset.label} has no rows; give at least one"


def without_weightless(
    stream: ChunkedRows, keep: Keep, visit: Callable[..., object]
) -> ChunkedRows:
    """Return the stream without the rows that have no say, which takes a look at all of them."""
    counted = count_rows(
        stream.dataset,
        stream.names,
        stream.missing,
        keep,
        visit,
        threads=stream.threads,
        budget=stream.budget,
    )
    return ChunkedRows(
        stream.dataset, stream.names, counted, stream.missing, stream.threads, stream.budget, keep
    )
