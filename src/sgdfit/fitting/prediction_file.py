"""The fitted curve on any number of rows: read, predicted and written a block at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.readers import open_table
from sgdfit.data.table import Table
from sgdfit.errors import DataError
from sgdfit.fitting.options import Means, as_means
from sgdfit.fitting.prediction import Curve, curve_for
from sgdfit.fitting.rows_in_order import Block, blocks_of
from sgdfit.inference.bands import Band
from sgdfit.result.result import Result
from sgdfit.result.table_file import TableFile

__all__ = ["Dropped", "Predicted", "Written", "predicted", "write_predictions"]

Array = NDArray[Any]

ROW = "row"
# Rows that are named one by one.
NAMED = 10


class Predicted(NamedTuple):
    """Some rows with their prediction.

    Attributes
    ----------
    columns : dict of str to array of shape (n,)
        The number of each row where some may have been left out, the variables, the prediction and
        its band.
    dropped : int64[k]
        The numbers of rows that were left out, counted from 1.
    """

    columns: dict[str, Array]
    dropped: NDArray[np.int64]


class Dropped(NamedTuple):
    """Rows that were left out.

    Attributes
    ----------
    rows : int
    first : tuple of int
        The numbers of the first of them, counted from 1.
    """

    rows: int = 0
    first: tuple[int, ...] = ()

    def also(self, numbers: NDArray[np.int64]) -> Dropped:
        """Return these and others that come after them."""
        more = numbers[: NAMED - len(self.first)].tolist()
        return Dropped(self.rows + len(numbers), (*self.first, *more))

    def __str__(self) -> str:
        """Say which they are.

        Examples
        --------
        >>> print(Dropped().also(np.array([3, 7])), Dropped(1200, (3, 7)), sep=chr(10))
        2 rows without finite numbers were left out: row 3, 7
        1,200 rows without finite numbers were left out: row 3, 7, …
        """
        named = ", ".join(f"{number}" for number in self.first)
        more = ", …" if self.rows > len(self.first) else ""
        noun = "row" if self.rows == 1 else "rows"
        were = "was" if self.rows == 1 else "were"
        return f"{self.rows:,} {noun} without finite numbers {were} left out: row {named}{more}"


class Written(NamedTuple):
    """What stands in a file of predictions.

    Attributes
    ----------
    path : str
    rows : int
        How many it holds.
    dropped : Dropped
        Those that ``missing="drop"`` left out.
    """

    path: str
    rows: int
    dropped: Dropped


def write_predictions(
    result: Result,
    data: Any,
    path: str | os.PathLike[str],
    interval: str | None = None,
    level: float = 0.95,
    *,
    missing: str = "error",
    where: str | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
) -> Written:
    r"""Predict rows in their order and write them to a file, of which no more than a few are held.

    Parameters
    ----------
    result : Result
    data : anything that `sgdfit.fit` takes
        Files are read in pieces, once.
    path : path
        Ends in ``.csv``, ``.tsv`` or ``.parquet``. It holds the variables, ``prediction`` and, with
        an ``interval``, ``stderr``, ``low`` and ``high``; a name that a variable has already begins
        with ``fitted_``. The file is put there whole or not at all.
    interval, level
        See `sgdfit.fitting.prediction.predict`.
    missing : "error" or "drop"
        What to do with rows that hold NaN, infinity or nothing. With ``"drop"`` a first column
        ``row`` has the number that each row has in the data, counted from 1.
    where : str, optional
        Which rows to predict, as in `sgdfit.fit`; rows are then numbered among these.
    memory, threads
        As in `sgdfit.fit`.

    Returns
    -------
    Written

    Raises
    ------
    DataError
        When a column is missing or cannot be read, or there is no row.
    UsageError
        When the fit does not tell the interval, or the file cannot be written.

    Examples
    --------
    >>> import sgdfit, tempfile, pathlib
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2, 4, 6]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "curve.csv")
    ...     done = fit.write_predictions({"x": [10.0, np.nan, 30.0]}, path, missing="drop")
    ...     done.rows, done.dropped, path.read_text()
    (2, Dropped(rows=1, first=(2,)), 'row,x,prediction\n1,10.0,20.0\n3,30.0,60.0\n')
    """
    means = as_means(memory, threads)
    rows, dropped = 0, Dropped()
    with TableFile(path) as file:
        table = open_table(data, where)
        for some in predicted(result, table, interval, level, missing=missing, means=means):
            file.write(some.columns)
            rows += len(some.columns[next(iter(some.columns))])
            dropped = dropped.also(some.dropped)
    return Written(os.fspath(path), rows, dropped)


def predicted(
    result: Result,
    table: Table,
    interval: str | None = None,
    level: float = 0.95,
    *,
    missing: str = "error",
    means: Means | None = None,
) -> Iterator[Predicted]:
    """Yield all rows of a table in their order with their prediction, some at a time.

    Raises
    ------
    DataError, UsageError
        As `write_predictions` does.
    """
    means = as_means() if means is None else means
    curve = curve_for(result, table, interval, level)
    seen, rows = 0, 0
    for block in blocks_of(table, curve.needed, missing, means):
        seen = block.first + block.seen
        count = len(next(iter(block.columns.values())))
        rows += count
        yield _predicted(curve, block, table, missing, count)
    if not rows:
        raise DataError(_no_rows(table, seen))


def _predicted(curve: Curve, block: Block, table: Table, missing: str, count: int) -> Predicted:
    label = table.label
    if block.first:
        label = f"{label} after the first {block.first:,}"
    with np.errstate(all="ignore"):
        found = curve.on(block.columns, label)
    made = found._asdict() if isinstance(found, Band) else {"prediction": found}
    columns: dict[str, Array] = {}
    names = set(curve.variables)
    if missing == "drop":
        columns[_free(ROW, names)] = block.numbers
    columns |= {name: block.columns[name] for name in curve.variables}
    for name, column in made.items():
        columns[_free(name, names)] = column
    return Predicted(columns, block.dropped)


def _free(name: str, taken: set[str]) -> str:
    """Return a name that no variable has."""
    while name in taken:
        name = f"fitted_{name}"
    return name


def _no_rows(table: Table, seen: int) -> str:
    if seen:
        return (
            f"no row of {table.label} remains: each of its {seen:,} rows lacks a finite number;"
            " check its columns"
        )
    return f"{table.label} has no rows to predict; give at least one, or check what chooses them"
