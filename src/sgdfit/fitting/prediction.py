"""The fitted curve on new rows, and how sure it is: in memory, or a block of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.readers import open_table
from sgdfit.data.rows import ahead, aligned, batch_floats
from sgdfit.data.table import (
    Columns,
    Dataset,
    RowGroup,
    Table,
    check_policy,
    clean_names,
    keep_finite,
)
from sgdfit.errors import DataError, UsageError, did_you_mean
from sgdfit.fitting.options import Resources, as_means
from sgdfit.fitting.weights import columns_of, weights_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula, as_formula
from sgdfit.inference.intervals import Band, around, curve_variance
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model, build
from sgdfit.result.result import Result
from sgdfit.result.table_file import TableFile

Array = NDArray[np.float64]
AnyArray = NDArray[Any]

CONFIDENCE, PREDICTION = INTERVALS = ("confidence", "prediction")
# Rows looked at together, so that the derivatives of millions never stand side by side.
STRIDE = 16_384
# Blocks begin at multiples of so many rows, however the data are stored.
BLOCK_ROWS = 131_072
BYTES = 8
ROW = "row"
# Rows that are named one by one.
NAMED = 10


@overload
def predict(result: Result, data: Any, interval: None = None, level: float = 0.95) -> Array: ...
@overload
def predict(
    result: Result, data: Any, interval: Literal["confidence", "prediction"], level: float = 0.95
) -> Band: ...
@overload
def predict(
    result: Result, data: Any, interval: str | None = None, level: float = 0.95
) -> Array | Band: ...
def predict(
    result: Result, data: Any, interval: str | None = None, level: float = 0.95
) -> Array | Band:
    """Return the right side of the formula at the estimates, one value a row of ``data``.

    Parameters
    ----------
    result : Result
        Of a fit; where the formula's left side is an expression, as in ``log(y) = …``, that
        expression is what is predicted.
    data : dict of arrays, data frame, file, …
        See `sgdfit.fit`; it holds the formula's variables.
    interval : str, optional
        ``"confidence"``: where the curve may lie, given how sure the estimates are.
        ``"prediction"``: where a new observation may fall. Its noise has the variance that the
        fit found for a row of weight 1, divided by the row's own weight where ``data`` hold the
        columns of the fit's weights.
    level : float
        The confidence of the interval in each single row, between 0 and 1.

    Returns
    -------
    float64[n], or Band
        A `Band` of prediction, stderr, low and high where an ``interval`` was asked for, by the
        delta method and Student's t (the normal distribution where the fit took the standard
        deviations of its rows as absolute): Bates & Watts 1988, Nonlinear Regression Analysis and
        Its Applications, section 2.3.2. A parameter on a bound counts as fixed.

    Raises
    ------
    DataError
        When a variable is missing or cannot be read.
    UsageError
        When the fit has no covariance, or for a prediction interval no variance of the noise, as
        with losses other than ``mse``.

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
    table = open_table(data)
    curve = curve_for(result, table, interval, level)
    source = table.load(curve.needed)
    return curve.on(source.columns, source.label)


class Curve(NamedTuple):
    """What predicts rows, a block of them at a time.

    Attributes
    ----------
    result : Result
    formula : Formula
    variables : tuple of str
        The columns that enter the formula.
    needed : tuple of str
        The columns to read: also those of the weights of new observations.
    model : Model or None
        For a band.
    weights : str or None
        Of new observations.
    interval : str or None
    level : float
    """

    result: Result
    formula: Formula
    variables: tuple[str, ...]
    needed: tuple[str, ...]
    model: Model | None
    weights: str | None
    interval: str | None
    level: float

    def on(self, columns: Mapping[str, Array], label: str) -> Array | Band:
        """Return the curve on some rows, or its band.

        Parameters
        ----------
        columns : mapping of str to array of shape (n,)
            Those that are needed.
        label : str
            How messages name the rows.
        """
        rows = len(next(iter(columns.values())))
        wide = {name: columns[name].astype(np.float64, copy=False) for name in self.variables}
        predicted = evaluate(self.formula.expression, wide | self.result.values)
        curve = np.broadcast_to(np.asarray(predicted, dtype=np.float64), rows).copy()
        if self.interval is None:
            return curve
        assert self.model is not None  # there is one for a band
        noise = _noise(self.result, self.interval, self.weights, Columns(dict(columns), label))
        return band_on(self.model, self.result, curve, wide, noise, self.level)


def curve_for(result: Result, table: Table, interval: str | None, level: float) -> Curve:
    """Return what predicts the rows of a table.

    Raises
    ------
    UsageError
        When the fit does not tell the interval.
    """
    formula = as_formula(result.formula)
    variables = tuple(name for name in formula.names if name not in result.estimates)
    model = None
    if interval is not None:
        _check_interval(result, interval)
        model = rebuild(result, (*variables, *formula.response_names))
    weights = result.weights if interval == PREDICTION and weighs(result, table) else None
    # A formula without variables still has a value in each row.
    needed = tuple(dict.fromkeys((*variables, *columns_of(weights)))) or table.names[:1]
    return Curve(result, formula, variables, needed, model, weights, interval, level)


def rebuild(result: Result, columns: Sequence[str]) -> Model:
    """Return the model of a fit, its free parameters starting where they started.

    Parameters
    ----------
    result : Result
    columns : sequence of str
        The names of the data's columns: the variables, and those of the left side.
    """
    known = result.estimates.values()
    return build(
        result.formula,
        columns,
        loss=result.loss_name,
        start={e.name: e.start for e in known if e.role == "free"},
        fixed={e.name: e.value for e in known if e.role == "fixed"},
        tied={e.name: e.tie for e in known if e.role == "tied"},
    )


def band_on(
    model: Model,
    result: Result,
    curve: Array,
    columns: dict[str, Array],
    noise: Array | float = 0.0,
    level: float = 0.95,
) -> Band:
    """Return the band around a curve that was computed on these columns.

    Parameters
    ----------
    model, result
        Of a fit that has a covariance.
    curve : array, shape (n,)
        The prediction on the rows.
    columns : dict of str to array of shape (n,)
        The variables.
    noise : array of shape (n,), or float
        Variance that a new observation adds to that of the curve.
    level : float

    Raises
    ------
    UsageError
        When the fit has no covariance, or ``level`` is not between 0 and 1.
    """
    if result.covariance is None:
        raise UsageError(
            f"this fit gives no band, since it has no covariance ({result.covariance_method})"
        )
    end = {name: result.values[name] for name in model.free}
    held = _held(result)
    covariance = result.covariance[np.ix_(~held, ~held)]
    slopes = [slope for slope, h in zip(model.gradient, held, strict=True) if not h]
    variance = np.empty(len(curve))
    for first in range(0, len(curve), STRIDE):
        some = slice(first, first + STRIDE)
        values = {name: column[some] for name, column in columns.items()} | end
        jacobian = np.empty((len(slopes), len(variance[some])))
        for row, slope in zip(jacobian, slopes, strict=True):
            row[:] = evaluate(slope, values)
        variance[some] = curve_variance(jacobian, covariance)
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    band = around(curve, variance + noise, dof, level)
    if band is None:
        raise UsageError("this fit gives no band, since its rows leave no degree of freedom")
    return band


def _held(result: Result) -> NDArray[np.bool_]:
    """Return bool[p]: which parameters stand on a bound and have no variance of their own."""
    assert result.covariance is not None
    bound = np.array([result.estimates[name].at_bound for name in result.free])
    return bound & np.isnan(np.diag(result.covariance))


def _check_interval(result: Result, interval: str) -> None:
    if interval not in INTERVALS:
        raise UsageError(
            f"interval is {interval!r}; it is one of {', '.join(map(repr, INTERVALS))}."
            + did_you_mean(str(interval), INTERVALS)
        )
    if interval == PREDICTION and result.loss_name != SQUARED:
        raise UsageError(
            f"the loss {result.loss_name} does not take the noise for normal, so where a new"
            " observation may fall is not known; ask for interval='confidence', the band of the"
            " curve, or fit with the loss mse"
        )


def weighs(result: Result, table: Table) -> bool:
    """Whether ``table`` holds the columns that weighted the fit."""
    return result.weights is not None and set(columns_of(result.weights)) <= set(table.names)


def _noise(result: Result, interval: str, weights: str | None, source: Columns) -> Array | float:
    """Return the variance that each new observation adds to that of the curve."""
    if interval == CONFIDENCE:
        return 0.0
    unit = noise_variance(result)
    if unit is None:
        raise UsageError(
            "this fit does not know how much its rows scatter, since they leave no degree of"
            " freedom; ask for interval='confidence'"
        )
    with np.errstate(all="ignore"):
        return unit if weights is None else unit / weights_of(weights, source)


def noise_variance(result: Result) -> float | None:
    """Return the variance of a row of weight one; from the residuals where it was not saved."""
    if result.noise_variance is not None or result.loss_name != SQUARED:
        return result.noise_variance
    left = result.degrees_of_freedom
    return result.residual_sum_of_squares / left if left > 0 else None


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

    columns: dict[str, AnyArray]
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
    means: Resources | None = None,
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
    columns: dict[str, AnyArray] = {}
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


class Block(NamedTuple):
    """Some rows that follow one another.

    Attributes
    ----------
    columns : dict of str to float64[n]
        By name; all finite.
    first : int
        How many rows of the data come before, also those that were left out.
    keep : bool[k] or None
        Which rows of the block these are; None: all of them.
    """

    columns: dict[str, AnyArray]
    first: int
    keep: NDArray[np.bool_] | None

    @property
    def seen(self) -> int:
        """How many rows were read, also those that were left out."""
        return len(next(iter(self.columns.values()))) if self.keep is None else len(self.keep)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each row in the data, counted from 1."""
        here = np.arange(self.seen) if self.keep is None else np.flatnonzero(self.keep)
        return np.asarray(here + (self.first + 1), dtype=np.int64)

    @property
    def dropped(self) -> NDArray[np.int64]:
        """The numbers of the rows that were left out."""
        here = np.arange(0) if self.keep is None else np.flatnonzero(~self.keep)
        return np.asarray(here + (self.first + 1), dtype=np.int64)


def blocks_of(
    table: Table, names: Sequence[str], missing: str, means: Resources
) -> Iterator[Block]:
    """Yield all rows; of files no more than a few blocks are held at once.

    Raises
    ------
    DataError
        When a column is unknown or not numeric, or numbers are not finite and ``missing="error"``.
    UsageError
        When ``missing`` is neither ``"error"`` nor ``"drop"``.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> from sgdfit.fitting.options import as_means
    >>> table = open_table({"x": [1.0, np.nan, 3.0]})
    >>> (block,) = blocks_of(table, ["x"], "drop", as_means())
    >>> block.columns["x"].tolist(), block.numbers.tolist(), block.dropped.tolist()
    ([1.0, 3.0], [1, 3], [2])
    """
    check_policy(missing)
    if table.dataset is None:
        return _loaded(table.load(names, missing=missing))
    table.check(names)
    return _streamed(table.dataset, tuple(dict.fromkeys(clean_names(names))), missing, means)


def _loaded(source: Columns) -> Iterator[Block]:
    rows = source.rows if source.keep is None else len(source.keep)
    begin = 0
    for first in range(0, rows, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, rows)
        keep = None if source.keep is None else source.keep[first:last]
        end = begin + (last - first if keep is None else int(np.count_nonzero(keep)))
        columns = {name: _wide(column[begin:end]) for name, column in source.columns.items()}
        yield Block(columns, first, keep)
        begin = end


def _streamed(
    dataset: Dataset, names: tuple[str, ...], missing: str, means: Resources
) -> Iterator[Block]:
    reads = [
        (lambda piece=piece: _read(dataset, piece, names, missing)) for piece in dataset.row_groups
    ]
    first = 0
    blocks = ahead(reads, means.threads, _is_fine_grained(dataset, names, means))
    try:
        for is_kept, *columns in aligned(blocks, BLOCK_ROWS):
            keep = None if is_kept.all() else is_kept
            chosen = columns if keep is None else [column[keep] for column in columns]
            named = {name: _wide(column) for name, column in zip(names, chosen, strict=True)}
            yield Block(named, first, keep)
            first += len(is_kept)
    finally:
        blocks.close()


def _is_fine_grained(dataset: Dataset, names: Sequence[str], means: Resources) -> bool:
    """Whether whole pieces may be read ahead, one on each thread."""
    counts = [piece.rows for piece in dataset.row_groups]
    known = [count for count in counts if count is not None]
    largest = max(known, default=0) * (len(names) + 1) * BYTES
    return len(known) == len(counts) and largest * (means.threads + 1) <= means.budget


def _read(
    dataset: Dataset, piece: RowGroup, names: Sequence[str], missing: str
) -> Iterator[tuple[AnyArray, ...]]:
    """Yield which rows are finite, and the columns, of each batch of a piece."""
    offset = 0
    for batch in piece.read(names):
        columns = batch_floats(dataset, piece, offset, names, batch)
        named = dict(zip(names, columns, strict=True))

        def line(row: int, offset: int = offset) -> str:
            return piece.line(offset + row)

        keep = keep_finite(named, piece.label, missing, line, piece.first + offset)
        yield (np.ones(batch.num_rows, dtype=bool) if keep is None else keep, *columns)
        offset += batch.num_rows


def _wide(column: AnyArray) -> Array:
    return column.astype(np.float64, copy=False)
