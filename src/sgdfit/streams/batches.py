"""Rows that arrive together, brought to the columns and weights that a model needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.columns import as_floats
from sgdfit.data.missing import settle
from sgdfit.data.numeric import Place
from sgdfit.data.source import Source
from sgdfit.data.table import Table
from sgdfit.errors import DataError
from sgdfit.fits.row_weights import columns_of, relative_weights, weights_of
from sgdfit.fits.weighting import Weighting
from sgdfit.models.model import Model

__all__ = ["Batch", "arrived"]

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
    """

    columns: tuple[np.ndarray, ...]
    weights: np.ndarray
    rows: int
    dropped: int

    def slice(self, first: int, last: int) -> Batch:
        """Return some of the rows."""
        some = slice(first, last)
        columns = tuple(column[some] for column in self.columns)
        return Batch(columns, self.weights[some], len(self.weights[some]), 0)


def arrived(table: Table, model: Model, weighting: Weighting, missing: str) -> Batch:
    """Read the columns of a batch that a model and its weights need.

    Raises
    ------
    DataError
        When a column is missing or cannot be read, a number is not finite and ``missing`` is
        ``"error"``, or a weight cannot be one.
    """
    names = list(dict.fromkeys([*model.columns, *columns_of(weighting.given)]))
    _refuse_strangers(table, model, names)
    source = _source(table, names, missing)
    if not source.rows:
        columns = tuple(np.empty(0) for _ in model.columns)
        return Batch(columns, np.empty(0), 0, source.dropped)
    weights = _weights(weighting, source)
    kept = weights > 0
    columns = tuple(
        source.columns[name][kept].astype(np.float64, copy=False) for name in model.columns
    )
    return Batch(columns, weights[kept], source.rows, source.dropped)


def _refuse_strangers(table: Table, model: Model, names: Sequence[str]) -> None:
    """Refuse a batch whose columns make another model of the formula than the first one's did."""
    for name in names:
        if table.names.count(name) != 1:
            table.load([name])  # refuses it in its own words
    taken = [name for name in model.parameters if name in table.names]
    if taken:
        raise DataError(
            f"{table.label} has a column {taken[0]!r}, which is a parameter of this fit, since the"
            " first batch had no such column; rename the column, or begin a new fit"
        )


def _source(table: Table, names: list[str], missing: str) -> Source:
    """Read the columns; no rows, or none that can be used, are no error here."""
    raw = table.fetch([table.names.index(name) for name in names])
    arrays = {
        name: as_floats(value, Place(name, table.label, table.line, table.decimal))
        for name, value in zip(names, raw, strict=True)
    }
    columns = _level(arrays, table.label)
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
    if missing == "drop" and not good.any():
        return Source({name: np.empty(0) for name in names}, table.label, int(good.size))
    return settle(columns, table.label, missing, table.line)


def _level(arrays: dict[str, Array], label: str) -> dict[str, Array]:
    """Spread single numbers over the rows and check that lengths agree."""
    sizes = {name: array.size for name, array in arrays.items() if array.ndim}
    rows = next(iter(sizes.values()), 1)
    for name, size in sizes.items():
        if size != rows:
            first = next(iter(sizes))
            raise DataError(
                f"columns {first!r} and {name!r} of {label} have {rows} and {size} rows; give all"
                " columns the same length"
            )
    return {n: a if a.ndim else np.full(rows, a) for n, a in arrays.items()}


def _weights(weighting: Weighting, source: Source) -> np.ndarray:
    if weighting.sigma is not None:
        relative, mean = relative_weights(weighting, source)
        return relative * mean
    if weighting.weights is not None:
        return np.array(weights_of(weighting.weights, source))
    return np.ones(source.rows)
