"""Data opened for a fit: columns held in memory, or read anew for each pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgdfit.data.rows import ChunkedRows, Keep, RowCounts, count_rows
from sgdfit.data.table import Columns, Dataset, RowGroup, Table, check_policy, clean_names
from sgdfit.errors import DataError

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
    checked: bool = True,
) -> Columns | ChunkedRows:
    """Load the columns ``names`` where they fit into ``budget`` bytes; else return a `ChunkedRows`.

    Where it is not known how many rows there are, they are read once: sources that can be read
    only once, or slowly, into memory and beyond that onto a disk; others to count them. Of
    ``checked`` see `Table.load`.

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
        return table.load(names, missing=missing, checked=checked)
    table.positions(names)
    wanted = tuple(dict.fromkeys(clean_names(names)))
    from sgdfit.data.spill import materialize

    if not dataset.again or (dataset.slow and _rows(dataset) is None):
        dataset = materialize(dataset, wanted, budget, announce=announce)
    rows = _rows(dataset)
    fits = rows is None or rows * len(wanted) * BYTES <= budget
    if rows is not None and not fits and missing == "error":
        counts = RowCounts(tuple(group.rows or 0 for group in dataset.row_groups), 0, rows)
        return ChunkedRows(dataset, wanted, counts, missing, threads, budget)
    if rows is not None and fits and dataset is table.dataset:
        return table.load(names, missing=missing, checked=checked)
    held: list[tuple[Array, ...]] | None = []
    room = budget if fits else 0

    def hold(piece: RowGroup, offset: int, columns: tuple[Array, ...]) -> None:
        nonlocal held, room
        room -= sum(column.nbytes for column in columns)
        if room < 0:
            held = None
        elif held is not None:
            held.append(columns)

    counts = count_rows(dataset, wanted, missing, None, hold, threads=threads, budget=budget)
    if not counts.rows:
        raise DataError(_no_rows(dataset, counts))
    if held is None:
        return ChunkedRows(dataset, wanted, counts, missing, threads, budget)
    joined = [np.concatenate(parts) for parts in zip(*held, strict=True)]
    for column in joined:
        column.flags.writeable = False
    return Columns(dict(zip(wanted, joined, strict=True)), dataset.label, counts.dropped)


def _rows(dataset: Dataset) -> int | None:
    """Return how many rows there are, if that is known."""
    counts = [group.rows for group in dataset.row_groups]
    return None if None in counts else sum(count or 0 for count in counts)


def _no_rows(dataset: Dataset, counts: RowCounts) -> str:
    if counts.dropped:
        return (
            f"no row of {dataset.label} remains: each of its {counts.dropped:,} rows lacks a"
            " finite number; check its columns"
        )
    if _rows(dataset) is None:
        return f"no row of {dataset.label} is left; check what chooses them"
    return f"{dataset.label} has no rows; give at least one"


def without_weightless(rows: ChunkedRows, keep: Keep, visit: Callable[..., object]) -> ChunkedRows:
    """Return the rows without those that have no say, which takes a look at all of them."""
    how = {"threads": rows.threads, "budget": rows.budget}
    counts = count_rows(rows.dataset, rows.names, rows.missing, keep, visit, **how)
    return replace(rows, counts=counts, keep=keep)
