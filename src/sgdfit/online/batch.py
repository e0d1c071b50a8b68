"""Rows that arrive together, brought to the columns and weights that a model needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.floats import Place, as_floats
from sgdfit.data.table import Columns, Table, levelled, settle
from sgdfit.errors import DataError
from sgdfit.fitting.weights import Weighting, checked_weights, columns_of, relative_weights
from sgdfit.model.model import Model

Array = np.ndarray[Any, Any]


class Batch(NamedTuple):
    """Rows that have a say.

    Attributes
    ----------
    columns : tuple of float64[n]
        Those of the model, in order.
    weights : float64[n]
        As they were given, forgetting left aside; 1 where none were. None is 0.
    rows, dropped : int
        Rows that were read and could be used, be their weight 0 or not; and those left out.
    places : int64[n] or None
        The place of each in the batch as it was given, counted from 0; None: as they stand.
    line : callable
        Such a place -> words that say where it stands in a file, or an empty string.
    """

    columns: tuple[np.ndarray, ...]
    weights: np.ndarray
    rows: int
    dropped: int
    places: np.ndarray | None = None
    line: Callable[[int], str] = lambda row: ""

    def called(self, row: int, before: int) -> str:
        """Return how the user counts a row: in its batch, and since the beginning.

        Examples
        --------
        >>> Batch((), np.ones(2), 2, 1, np.array([0, 2])).called(1, before=60)
        'row 3 of this batch, row 63 since the beginning,'
        """
        place = row if self.places is None else int(self.places[row])
        batch = f"row {place + 1:,}{self.line(place)} of this batch"
        return f"{batch}, row {before + place + 1:,} since the beginning,"


def plain(data: object, names: tuple[str, ...], columns: Sequence[str]) -> Batch | None:
    """Read float64 columns of equal length and finite, of a dict as the first one was; else None.

    Single rows come often, and what holds for any data is ten times the work.
    """
    if type(data) is not dict or tuple(data) != names:
        return None
    found = []
    rows = -1
    for name in columns:
        value = data[name]
        if type(value) is float:
            value = np.array([value])
        elif type(value) is not np.ndarray or value.dtype != np.float64 or value.ndim != 1:
            return None
        if rows not in (-1, len(value)) or not math.isfinite(value.sum()):
            return None
        rows = len(value)
        found.append(value.copy())
    return Batch(tuple(found), np.ones(rows), rows, 0) if rows > 0 else None


def read(table: Table, model: Model, weighting: Weighting, missing: str) -> Batch:
    """Read the columns of a batch that a model and its weights need.

    Raises
    ------
    DataError
        When a column is missing or cannot be read, a number is not finite and ``missing`` is
        ``"error"``, or a weight cannot be one.
    """
    names = list(dict.fromkeys([*model.columns, *columns_of(weighting.given)]))
    table.check(names)
    taken = [name for name in model.parameters if name in table.names]
    if taken:
        raise DataError(
            f"{table.label} has a column {taken[0]!r}, which is a parameter of this fit, since the"
            " first batch had no such column; rename the column, or begin a new fit"
        )
    source, good = _source(table, names, missing)
    if not source.rows:
        columns = tuple(np.empty(0) for _ in model.columns)
        return Batch(columns, np.empty(0), 0, source.dropped)
    weights = np.ones(source.rows)
    if weighting.sigma is not None:
        relative, mean = relative_weights(weighting, source)
        weights = relative * mean
    elif weighting.weights is not None:
        weights = np.array(checked_weights(weighting, source.columns, source.label))
    kept = weights > 0
    columns = tuple(
        source.columns[name][kept].astype(np.float64, copy=False) for name in model.columns
    )
    places = None if good.all() and kept.all() else np.flatnonzero(good)[kept]
    return Batch(columns, weights[kept], source.rows, source.dropped, places, table.line)


def _source(table: Table, names: list[str], missing: str) -> tuple[Columns, Array]:
    """Read the columns, and which rows are finite; none that can be used are no error here."""
    raw = table.fetch([table.names.index(name) for name in names])
    arrays = {
        name: as_floats(value, Place(name, table.label, table.line, table.decimal))
        for name, value in zip(names, raw, strict=True)
    }
    columns = levelled(arrays, table.label)
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
    if missing == "drop" and not good.any():
        return Columns({name: np.empty(0) for name in names}, table.label, int(good.size)), good
    return settle(columns, table.label, missing, table.line), good
