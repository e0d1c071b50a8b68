"""The fitted curve on new rows, and how sure it is, a block of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import one_of
from sgdfit.data.readers import open_table
from sgdfit.data.rows import aligned, fits_budget, float_batches, prefetch
from sgdfit.data.table import RowGroup, Table, check_policy, clean_names
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.options import Resources, as_resources
from sgdfit.fitting.weights import Weighting, checked_weights, columns_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.reading import as_formula
from sgdfit.inference.intervals import Band, around, curve_variance
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model, build
from sgdfit.result.result import Result
from sgdfit.result.table_file import writing_table

Array = NDArray[np.float64]
AnyArray = NDArray[Any]
Numbers = NDArray[np.int64]

PREDICTION = "prediction"
INTERVALS = ("confidence", PREDICTION)
# Rows looked at together, so that the derivatives of millions never stand side by side.
STRIDE = 16_384
# Blocks begin at multiples of so many rows, however the data are stored.
BLOCK_ROWS = 131_072
# Rows that are named one by one.
NAMED = 10


def predict(
    result: Result, data: Any, interval: str | None = None, level: float | None = None
) -> Array | Band:
    """Return the right side of the formula at the estimates, one value a row of ``data``.

    Parameters
    ----------
    data : dict of arrays, data frame, file, …
        See `sgdfit.fit`; it holds the formula's variables.
    interval : str, optional
        ``"confidence"``: where the curve may lie, given how sure the estimates are.
        ``"prediction"``: where a new observation may fall, whose noise has the variance that the
        fit found for a row of weight 1, over the row's own weight where ``data`` hold its columns.
    level : float, optional
        The confidence of the interval in each single row, between 0 and 1; default that of the
        fit.

    Returns
    -------
    float64[n], or Band
        A `Band` of prediction, stderr, low and high where an ``interval`` was asked for, by the
        delta method and Student's t, or the normal distribution where ``absolute_sigma`` was set
        (Bates & Watts 1988, Nonlinear Regression Analysis and Its Applications, section 2.3.2). A
        parameter on a bound counts as fixed.

    Raises
    ------
    DataError, UsageError
        When a variable is missing or cannot be read; when the fit does not tell such an interval.

    Examples
    --------
    >>> import sgdfit
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2, 4, 6]}, learning_rate=0.1)
    >>> fit.predict({"x": [10]}).round(6)
    array([20.])
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 1, 1], "y": [1, 2, 3]}, learning_rate=0.5)
    >>> band = fit.predict({"x": [0, 2]}, interval="confidence")
    >>> band.low.round(3).tolist(), band.high.round(3).tolist()
    ([0.0, -0.968], [0.0, 8.968])
    """
    blocks = predicted(result, open_table(data), interval, level)
    columns = [np.concatenate(parts) for parts in zip(*(b.fitted for b in blocks), strict=True)]
    return columns[0] if interval is None else Band(*columns)


class Written(NamedTuple):
    """What stands in a file of predictions."""

    path: str
    rows: int  # how many it holds
    dropped: Dropped  # those that ``missing="drop"`` left out


class Dropped(NamedTuple):
    """Rows that were left out: how many, and the numbers of the first, counted from 1."""

    rows: int = 0
    first: tuple[int, ...] = ()

    def also(self, numbers: Numbers) -> Dropped:
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
        named = ", ".join(map(str, self.first)) + (", …" if self.rows > len(self.first) else "")
        noun, were = ("row", "was") if self.rows == 1 else ("rows", "were")
        return f"{self.rows:,} {noun} without finite numbers {were} left out: row {named}"


def write_predictions(
    result: Result,
    data: Any,
    path: str | os.PathLike[str],
    interval: str | None = None,
    level: float | None = None,
    *,
    missing: str = "error",
    where: str | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
) -> Written:
    r"""Predict rows in their order and write them to a file, of which no more than a few are held.

    Parameters
    ----------
    result, data, interval, level
        See `predict`; files are read in pieces, once.
    path : path
        Ends in ``.csv``, ``.tsv`` or ``.parquet``. It holds the variables, ``prediction`` and, with
        an ``interval``, ``stderr``, ``low`` and ``high``; a name that a variable has already begins
        with ``fitted_``. The file is put there whole or not at all.
    missing : "error" or "drop"
        With ``"drop"`` a first column ``row`` has the number that each row has in the data, from 1,
        or among those of ``where``.
    where, memory, threads
        As in `sgdfit.fit`.

    Returns
    -------
    Written

    Raises
    ------
    DataError, UsageError
        When a column cannot be read, or there is no row; when the fit does not tell the interval,
        or the file cannot be written.

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
    resources, rows, dropped = as_resources(memory, threads), 0, Dropped()
    with writing_table(path) as write:
        table = open_table(data, where)
        for some in predicted(result, table, interval, level, missing=missing, resources=resources):
            write(some.columns)
            rows += len(some.fitted[0])
            dropped = dropped.also(some.dropped)
    return Written(os.fspath(path), rows, dropped)


class Predicted(NamedTuple):
    """Some rows with their prediction."""

    # The number of each row where some may have been left out, the variables, and what is fitted.
    columns: dict[str, AnyArray]
    fitted: tuple[Array, ...]  # the prediction; in a `Band` where one was asked for
    dropped: Numbers  # the numbers of the rows that were left out, counted from 1


def predicted(
    result: Result,
    table: Table,
    interval: str | None = None,
    level: float | None = None,
    *,
    missing: str = "error",
    resources: Resources | None = None,
) -> Iterator[Predicted]:
    """Yield all rows of a table in their order with their prediction, some at a time.

    Raises
    ------
    DataError, UsageError
        As `write_predictions` does.
    """
    curve = _Curve(result, table, interval, level)
    check_policy(missing)
    names, rows, seen = dict.fromkeys(curve.variables), 0, 0
    for held, numbers, dropped in _blocks_of(
        table, curve.needed, missing, resources or as_resources()
    ):
        columns = {name: column.astype(np.float64, copy=False) for name, column in held.items()}
        with np.errstate(all="ignore"):
            fitted = curve.on(columns, numbers)
        made: dict[str, AnyArray] = {"row": numbers} if missing == "drop" else {}
        made = {_free(name, names): column for name, column in made.items()}
        made |= {name: columns[name] for name in names}
        made |= {_free(n, names): c for n, c in zip(Band._fields, fitted, strict=False)}
        yield Predicted(made, fitted, dropped)
        rows, seen = rows + len(numbers), seen + len(numbers) + len(dropped)
    if not rows and seen:
        raise DataError(
            f"no row of {table.label} remains: each of its {seen:,} rows lacks a finite number;"
            " check its columns"
        )
    if not rows:
        raise DataError(
            f"{table.label} has no rows to predict; give at least one, or check what chooses them"
        )


def _free(name: str, taken: Mapping[str, object]) -> str:
    """Return a name that no variable has."""
    while name in taken:
        name = f"fitted_{name}"
    return name


def _blocks_of(
    table: Table, names: Sequence[str], missing: str, resources: Resources
) -> Iterator[tuple[dict[str, AnyArray], Numbers, Numbers]]:
    """Yield all finite rows, their numbers, and the numbers of those that were left out.

    Of files no more than a few blocks are held at once.
    """
    if table.dataset is None:
        source = table.load(names, missing=missing)
        keep = np.ones(source.rows, bool) if source.keep is None else source.keep
        numbers, dropped = np.flatnonzero(keep) + 1, np.flatnonzero(~keep) + 1
        for first in range(0, max(1, source.rows), BLOCK_ROWS):
            some = slice(first, first + BLOCK_ROWS)
            columns = {name: column[some] for name, column in source.columns.items()}
            yield columns, numbers[some], dropped[:0] if first else dropped
        return
    table.positions(names)
    dataset, names, begin = table.dataset, clean_names(names), 1

    def read(group: RowGroup) -> Iterator[tuple[AnyArray, ...]]:
        for batch in float_batches(dataset, group, names, missing):
            keep = np.ones(len(batch.columns[0]), bool) if batch.keep is None else batch.keep
            yield (keep, *batch.columns)

    counts = [group.rows for group in dataset.row_groups]
    # Beside the columns it is told which rows to keep.
    whole = fits_budget(counts, len(names) + 1, resources.threads, resources.budget)
    reads = [partial(read, group) for group in dataset.row_groups]
    with closing(prefetch(reads, resources.threads, whole)) as blocks:
        for keep, *held in aligned(blocks, BLOCK_ROWS):
            chosen = held if keep.all() else [column[keep] for column in held]
            numbers, dropped = np.flatnonzero(keep) + begin, np.flatnonzero(~keep) + begin
            yield dict(zip(names, chosen, strict=True)), numbers, dropped
            begin += len(keep)


class _Curve:
    """What predicts rows, a block of them at a time; refused where the fit tells no such band."""

    def __init__(
        self, result: Result, table: Table, interval: str | None, level: float | None
    ) -> None:
        self.result, self.label = result, table.label
        self.level = result.level if level is None else level
        self.formula = as_formula(result.formula)
        self.variables = [name for name in self.formula.names if name not in result.estimates]
        self.model, self.unit, self.weights = None, 0.0, None
        if interval is not None:
            one_of(interval, "interval", INTERVALS)
            self.model = rebuild(result, (*self.variables, *self.formula.response_names))
        if interval == PREDICTION:
            self.unit = _noise_variance(result)
            self.weights = result.weights if weighs(result, table) else None
        if self.model is not None and result.covariance is None:
            raise UsageError(
                f"this fit gives no band, since it has no covariance ({result.covariance_method})"
            )
        # A formula without variables still has a value in each row.
        needed = dict.fromkeys((*self.variables, *columns_of(self.weights)))
        self.needed = tuple(needed) or table.names[:1]

    def on(self, columns: Mapping[str, Array], numbers: Numbers) -> tuple[Array, ...]:
        """Return the curve on some rows, or its band; errors name rows by their numbers."""
        result, variables = self.result, {name: columns[name] for name in self.variables}
        value = evaluate(self.formula.expression, variables | result.values)
        curve = np.broadcast_to(np.asarray(value, dtype=np.float64), len(numbers)).copy()
        if self.model is None:
            return (curve,)
        noise: Array | float = self.unit
        if self.weights is not None:
            noise = self.unit / checked_weights(
                Weighting(self.weights), columns, self.label, lambda row: int(numbers[row])
            )
        assert result.covariance is not None  # it was looked at
        # Parameters on a bound that have no variance of their own count as fixed.
        bound = np.array([result.estimates[name].at_bound for name in result.free])
        moves = ~(bound & np.isnan(np.diag(result.covariance)))
        covariance = result.covariance[np.ix_(moves, moves)]
        slopes = [self.model.gradient[k] for k in np.flatnonzero(moves)]
        end = {name: result.values[name] for name in self.model.free}
        variance = np.empty(len(curve))
        for first in range(0, len(curve), STRIDE):
            some = slice(first, first + STRIDE)
            values = {name: column[some] for name, column in variables.items()} | end
            jacobian = np.empty((len(slopes), len(variance[some])))
            for row, slope in zip(jacobian, slopes, strict=True):
                row[:] = evaluate(slope, values)
            variance[some] = curve_variance(jacobian, covariance)
        dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
        band = around(curve, variance + noise, dof, self.level)
        if band is None:
            raise UsageError("this fit gives no band, since its rows leave no degree of freedom")
        return band


def weighs(result: Result, table: Table) -> bool:
    """Whether ``table`` holds the columns that weighted the fit."""
    return result.weights is not None and set(columns_of(result.weights)) <= set(table.names)


def _noise_variance(result: Result) -> float:
    """Return the variance of a row of weight one; from the residuals where it was not saved."""
    if result.loss_name != SQUARED:
        raise UsageError(
            f"the loss {result.loss_name} does not take the noise for normal, so where a new"
            " observation may fall is not known; ask for interval='confidence', the band of the"
            " curve, or fit with the loss mse"
        )
    if result.noise_variance is not None:
        return result.noise_variance
    if result.degrees_of_freedom <= 0:
        raise UsageError(
            "this fit does not know how much its rows scatter, since they leave no degree of"
            " freedom; ask for interval='confidence'"
        )
    return result.residual_sum_of_squares / result.degrees_of_freedom


def rebuild(result: Result, columns: Sequence[str]) -> Model:
    """Return the model of a fit on these columns, its free parameters at their starts."""
    known = result.estimates.values()
    return build(
        result.formula,
        columns,
        loss=result.loss_name,
        start={e.name: e.start for e in known if e.role == "free"},
        fixed={e.name: e.value for e in known if e.role == "fixed"},
        tied={e.name: e.tie for e in known if e.role == "tied"},
    )
