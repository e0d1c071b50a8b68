"""The fitted curve on new rows, and how sure it is, a block of rows at a time."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import one_of
from sgdfit.data.readers import open_table
from sgdfit.data.rows import aligned_batches, fits_budget, float_batches, read_ahead, timed
from sgdfit.data.table import Table, check_policy, clean_names
from sgdfit.data.times import CLOCK, DATE, TIME_UNITS, ZONED, TimeScale
from sgdfit.errors import DataError, UsageError, listed, require
from sgdfit.fitting.options import Resources, as_resources
from sgdfit.fitting.weights import Weighting, checked_weights, columns_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula, derivative
from sgdfit.formula.limits import evaluate_slope
from sgdfit.formula.reading import as_formula
from sgdfit.inference.intervals import Band, around, curve_variance, lost_to_rounding
from sgdfit.model.loss import SQUARED, as_loss
from sgdfit.model.model import Model, build
from sgdfit.result.derived import distribution
from sgdfit.result.result import Result

Array = NDArray[np.float64]
AnyArray = NDArray[Any]
Numbers = NDArray[np.int64]

PREDICTION = "prediction"
INTERVALS = ("confidence", PREDICTION)
# Rows looked at together, so that the derivatives of millions never stand side by side.
DERIVATIVE_ROWS = 16_384
# Blocks begin at multiples of so many rows, however the data are stored.
PREDICTION_ROWS = 131_072
# How dates and times of day are stated.
A_TIME, DAY = r"\d\d?:\d\d(?::\d\d(?:\.\d+)?)?", r"\d{4}-\d\d-\d\d"
A_DATE, A_ZONED = rf"{DAY}(?:[T ]{A_TIME})?", rf"{DAY}[T ]{A_TIME}(?:Z|[+-]\d\d:\d\d)"
A_NUMBER = r" *[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)? *"
FORMS = {DATE: A_DATE, ZONED: A_ZONED, CLOCK: A_TIME}
STATED = {
    DATE: "'{0}=2024-03-01', or '{0}=2024-03-01:2024-12-31:7d' for every week",
    ZONED: "'{0}=2024-03-01T00:00Z', since the dates of the fit have a zone",
    CLOCK: "'{0}=08:30', or '{0}=08:00:18:00:15min' for every quarter of an hour",
}
# The most rows that a text may state.
MOST_ROWS = 10_000_000
# Rows that are named one by one.
NAMED = 10


def predict(
    result: Result, data: Any, interval: str | None = None, level: float | None = None
) -> Any:
    """Return the fitted curve at rows of ``data``; see `Result.predict`."""
    blocks = predicted(
        result, open_table(as_grid(data, result.scales)), interval, level, keep=False
    )
    parts = zip(*(block.fitted for block in blocks), strict=True)
    columns = [_like(data, np.concatenate(part), result) for part in parts]
    return columns[0] if interval is None else Band(*columns)


def _like(data: Any, values: Array, result: Result) -> Any:
    """Return values of rows as what ``data`` are: with the index of pandas, or xarray's grid."""
    package = type(data).__module__.partition(".")[0]
    named = {"name": result.formula.partition("=")[0].strip()}
    if package == "pandas" and hasattr(data, "index"):
        return require("pandas", "a prediction with an index").Series(values, data.index, **named)
    if package == "xarray" and hasattr(data, "sizes"):
        grid = values.reshape([*data.sizes.values()])
        kind = require("xarray", "a prediction with coordinates").DataArray
        return kind(grid, coords=data.coords, dims=[*data.sizes], **named)
    return values


def as_grid(data: Any, scales: Mapping[str, TimeScale] | None = None) -> Any:
    """Return the rows that a text such as ``"t=0:30:0.5"`` states; all else as it is.

    Values are listed, ``t=0,5,10``, or run from a first to a last one in steps, both included.
    Several variables, parted by semicolons, stand for all their combinations. Those of ``scales``
    may be times: ``day=2024-03-01`` or, in steps of weeks, ``day=2024-03-01:2024-12-31:1w``,
    ``clock=08:30`` or ``clock=08:00:18:00:15min``.

    Raises
    ------
    DataError
        When a value is no number, a step leads nowhere, or the rows are more than ten million.

    Examples
    --------
    >>> {name: column.tolist() for name, column in as_grid("t=0:1:0.5; dose=10, 20").items()}
    {'t': [0.0, 0.0, 0.5, 0.5, 1.0, 1.0], 'dose': [10.0, 20.0, 10.0, 20.0, 10.0, 20.0]}
    >>> scales = {"day": TimeScale(DATE)}
    >>> print(as_grid("day=2024-03-01:2024-03-01T12:00:6h", scales)["day"].astype("M8[h]"))
    ['2024-03-01T00' '2024-03-01T06' '2024-03-01T12']
    """
    if not isinstance(data, str) or "=" not in data or os.path.exists(data):
        return data
    if any(sign in data for sign in "/*?["):  # a pattern of files
        return data
    axes: dict[str, AnyArray] = {}
    for text in data.split(";"):
        name, _, values = (part.strip() for part in text.partition("="))
        # As in a formula, where a name is no word.
        name = name[1:-1].strip() if name[:1] + name[-1:] in ("{}", "``") else name
        scale = (scales or {}).get(name)
        axis = None if scale is None else _times(values, scale.kind)
        if name in getattr(scales, "levels", ()):
            axis = np.array([value.strip() for value in values.split(",")], dtype=object)
        try:
            axis = _numbers(values) if axis is None else axis
        except (ValueError, ZeroDivisionError, OverflowError):
            axis = np.empty(0)
        if not name or not len(axis):
            how = "'t=0,5,10', or 't=0:30:0.5' for values from 0 to 30 in steps of 0.5"
            if scale is not None and scale.kind in STATED:
                how = STATED[scale.kind].format(name)
            elif re.fullmatch(rf"(?!\d\d:\d\d){A_NUMBER}:{A_NUMBER}(:{A_NUMBER})?", values):
                first, last, step = map(float, (values + ":1").split(":")[:3])
                step = math.copysign(step or 1.0, last - first)
                how = f"'{name}={first:g}:{last:g}:{step:g}', which ends with a step"
            elif re.search(f"{A_DATE}|{A_TIME}", values):
                timed_too = [n for n, known in (scales or {}).items() if known.kind in STATED]
                how = f"numbers: {listed(timed_too) or 'no column'} of this fit holds times"
            raise DataError(
                f"{text.strip()!r} states no rows, and no file is called {data!r}; write {how}"
            )
        axes[name] = axis
    rows = math.prod(map(len, axes.values()))
    if rows > MOST_ROWS:
        raise DataError(f"{data!r} states more than {MOST_ROWS:,} rows; take larger steps")
    grids = np.meshgrid(*axes.values(), indexing="ij")
    return {name: grid.ravel() for name, grid in zip(axes, grids, strict=True)}


def _numbers(values: str) -> Array:
    if ":" not in values:
        axis = np.array([float(value) for value in values.split(",")])
        return axis if np.isfinite(axis).all() else axis[:0]
    first, last, step = map(float, values.split(":"))
    count = int((last - first) / step + 1 + 1e-9)
    axis = first + step * np.arange(min(count, MOST_ROWS + 1), dtype=np.float64)
    size = max(abs(first), abs(last), abs(step))
    return axis.round(12 - math.floor(math.log10(size)))  # 0.9, not 0.8999999999999999


def _times(values: str, kind: str) -> AnyArray | None:
    """Return dates, or times of day, listed or in steps; None where other things are stated."""
    one, steps = FORMS.get(kind, A_DATE), "|".join(TIME_UNITS)
    stepped = re.fullmatch(rf"({one}) *: *({one}) *: *([\d.]+) *({steps})", values)
    found: AnyArray
    try:
        if stepped:
            first, last = (_moment(text, one) for text in stepped.groups()[:2])
            step = round(float(stepped[3]) * TIME_UNITS[stepped[4]][1] * 1e6)
            count = int((last - first).astype(np.int64)) // step + 1
            found = first + step * np.arange(min(count, MOST_ROWS + 1))
        else:
            found = np.array([_moment(value.strip(), one) for value in values.split(",")])
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    if kind == CLOCK:
        return np.array([moment.time() for moment in found.tolist()])
    if kind == ZONED:
        moments = found.astype("datetime64[us]").tolist()
        return np.array([moment.replace(tzinfo=UTC) for moment in moments])
    seconds = found.astype("datetime64[s]")
    return seconds if (seconds == found).all() else found


def _moment(text: str, form: str) -> Any:
    """Return a date and time of ISO 8601, in UTC as Arrow has it; a time of day as one of 1970."""
    if not re.fullmatch(form, text):
        raise ValueError(text)
    if form == A_TIME:
        text = "1970-01-01T" + "0" * (text[1] == ":") + text
    moment = datetime.fromisoformat(text)
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)


def at_rows(result: Result, table: Table) -> tuple[Array, Array]:
    """Return what was observed and what is predicted at the rows of the fit: float64[n] each.

    Raises
    ------
    UsageError
        When these are rows of files that would take more than the memory of a fit.
    """
    formula = formula_of(result)
    curve = _Curve(result, table, None, None, residuals=True)
    needed = (*curve.needed, *columns_of(result.weights))
    if table.dataset is not None and result.rows * len(needed) * 8 > as_resources().memory:
        raise UsageError(
            f"{result.rows:,} rows of {table.label} do not fit into memory; write them to a file:"
            " fit.write_predictions(data, 'fitted.parquet', residuals=True)"
        )
    columns = table.load(needed, missing="drop").columns
    with np.errstate(all="ignore"):
        observed = evaluate(formula.response, columns)
        (fitted,) = curve.on(columns, np.arange(len(next(iter(columns.values())))))
    return np.broadcast_to(np.asarray(observed, dtype=np.float64), fitted.shape), fitted


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


class Predicted(NamedTuple):
    """Some rows with their prediction."""

    # The number of each row where some may have been left out, the data's own columns, and what is
    # fitted; NumPy or Arrow arrays.
    columns: dict[str, Any]
    fitted: tuple[Array, ...]  # the prediction; in a `Band` where one was asked for
    dropped: Numbers  # the numbers of the rows that were left out, counted from 1


def predicted(
    result: Result,
    table: Table,
    interval: str | None = None,
    level: float | None = None,
    *,
    missing: str = "error",
    residuals: bool = False,
    keep: bool = True,
    resources: Resources | None = None,
    first: int = 1,
) -> Iterator[Predicted]:
    """Yield all rows of a table in their order with their prediction, some at a time.

    Unless ``keep`` is false, the data's own columns stand beside it, as they came. Rows are
    numbered from ``first`` on.

    Raises
    ------
    DataError, UsageError
        As `write_predictions` does.
    """
    table = timed(table, result.scales)
    curve = _Curve(result, table, interval, level, residuals)
    check_policy(missing)
    rows = seen = 0
    # A name that several columns have is of none of them.
    kept = [name for name in table.names if table.names.count(name) == 1] if keep else []
    blocks = _blocks_of(table, curve.needed, kept, missing, resources or as_resources(), first)
    for columns, raw, numbers, dropped in blocks:
        columns = {n: c.astype(np.float64, copy=False) for n, c in columns.items()}
        with np.errstate(all="ignore"):
            fitted = curve.on(columns, numbers)
            made = dict(zip(Band._fields, fitted, strict=False))
            if residuals:
                observed = evaluate(curve.formula.response, columns)
                made["residual"] = np.asarray(observed - fitted[0], dtype=np.float64)
        beside: dict[str, Any] = {_free("row", kept): numbers} if missing == "drop" else {}
        beside |= {name: raw[name] for name in kept}
        beside |= {_free(name, kept): column for name, column in made.items()}
        yield Predicted(beside, fitted, dropped)
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


def needed_columns(
    result: Result, table: Table, interval: str | None, residuals: bool
) -> tuple[str, ...]:
    """Return the columns that a prediction takes."""
    return _Curve(result, table, interval, None, residuals).needed


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that no column has."""
    while name in taken:
        name = f"fitted_{name}"
    return name


def _blocks_of(
    table: Table,
    names: Sequence[str],
    kept: Sequence[str],
    missing: str,
    resources: Resources,
    begin: int,
) -> Iterator[tuple[dict[str, AnyArray], Any, Numbers, Numbers]]:
    """Yield finite rows as numbers, an Arrow table of what is ``kept`` of them, and their numbers.

    Last come the numbers of those that were left out. Of files a few blocks are held at once.
    """
    if table.dataset is None:
        source = table.load(names, missing=missing)
        raw = table.arrow(kept) if kept else None
        keep = np.ones(source.rows, bool) if source.keep is None else source.keep
        if raw is not None and not keep.all():
            raw = raw.filter(keep)
        numbers, dropped = np.flatnonzero(keep) + begin, np.flatnonzero(~keep) + begin
        for first in range(0, max(1, source.rows), PREDICTION_ROWS):
            some = slice(first, first + PREDICTION_ROWS)
            columns = {name: column[some] for name, column in source.columns.items()}
            part = None if raw is None else raw.slice(first, PREDICTION_ROWS)
            yield columns, part, numbers[some], dropped[:0] if first else dropped
        return
    table.positions(names)
    dataset, names = table.dataset, clean_names(names)

    further = [name for name in kept if name not in names]
    counts = [group.rows for group in dataset.row_groups]
    # Beside the columns it is told which rows to keep.
    wide = len(names) + len(further) + 1
    whole = fits_budget(counts, wide, resources.threads, resources.budget)
    reads = [
        partial(float_batches, dataset, group, names, missing, further, bool(kept))
        for group in dataset.row_groups
    ]
    with closing(read_ahead(reads, resources.threads, whole)) as batches:
        for (keep, *held), raw in aligned_batches(batches, PREDICTION_ROWS, kept):
            chosen = held if keep.all() else [column[keep] for column in held]
            raw = raw if raw is None or keep.all() else raw.filter(keep)
            numbers, dropped = np.flatnonzero(keep) + begin, np.flatnonzero(~keep) + begin
            yield dict(zip(names, chosen, strict=True)), raw, numbers, dropped
            begin += len(keep)


class _Curve:
    """What predicts rows, a block of them at a time; refused where the fit tells no such band."""

    def __init__(
        self,
        result: Result,
        table: Table,
        interval: str | None,
        level: float | None,
        residuals: bool = False,
    ) -> None:
        self.result, self.label = result, table.label
        self.level = result.level if level is None else level
        self.formula = formula_of(result)
        self.variables = [name for name in self.formula.names if name not in result.estimates]
        self.model, self.unit, self.weights = None, 0.0, None
        if interval is not None:
            one_of(interval, "interval", INTERVALS)
            self.model = rebuild(result, (*self.variables, *self.formula.response_names))
        if interval == PREDICTION:
            self.unit = _noise_variance(result)
            self.weights = result.weights if weighs(result, table) else None
        if self.model is not None and not result.has_covariance:
            raise UsageError(
                f"this fit gives no band, since it has no covariance ({result.covariance_method})"
            )
        # A formula without variables still has a value in each row.
        observed = self.formula.response_names if residuals else ()
        needed = dict.fromkeys((*self.variables, *columns_of(self.weights), *observed))
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
        dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
        variance = np.empty(len(curve))
        for first in range(0, len(curve), DERIVATIVE_ROWS):
            some = slice(first, first + DERIVATIVE_ROWS)
            values = {name: column[some] for name, column in variables.items()}
            variance[some], terms = self.variance(self.model, values, len(variance[some]))
            own = noise if isinstance(noise, float) else noise[some]
            if lost_to_rounding(terms, variance[some] + own).any():
                raise UsageError(
                    "this fit gives no band: so far from 0 as its columns lie, rounding hides how"
                    " sure the curve is; fit it with the columns about their middle"
                )
        band = around(curve, variance + noise, dof, self.level)
        if band is None:
            raise UsageError("this fit gives no band, since its rows leave no degree of freedom")
        if result.undetermined and len(curve) and np.isnan(band.stderr).all():
            raise UsageError(
                "this fit gives no band, since its data leave open"
                f" {', '.join(result.undetermined)}; fix or tie one of these parameters, which"
                " changes no prediction"
            )
        return band

    def variance(self, model: Model, values: Mapping[str, Any], rows: int) -> tuple[Array, Array]:
        """Return the variance of the curve, and the sum of its terms' errors: float64[n] each."""
        result, blocks = self.result, self.result.block_covariance
        if blocks is None:
            moving, covariance, _ = distribution(result)
            slopes = {n: s for n, s in zip(model.free, model.gradient, strict=True) if n in moving}
            jacobian = np.empty((len(slopes), rows))
            values = {**values, **{name: result.values[name] for name in model.free}}
            for row, (name, slope) in zip(jacobian, slopes.items(), strict=True):
                row[:] = evaluate_slope(model.prediction, slope, name, values)
            errors = np.nan_to_num(np.sqrt(np.diag(covariance)))
            return curve_variance(jacobian, covariance), np.abs(jacobian).T @ errors
        # A row depends on the common parameters and on those of its level.
        base, formula = model.base, model.formula
        level = dict(formula.subscripts.values())
        members = {own: formula.families[n] for n, (own, _) in formula.subscripts.items()}
        numbers = {n: k for k, n in enumerate(result.free) if not result.estimates[n].at_bound}
        given, places, found = dict(values), [], result.values
        for name in base.parameters:
            known = members.get(name, (name,))
            code = values[level[name]].astype(np.intp) if name in members else np.zeros(rows, int)
            given[name] = np.array([found[member] for member in known])[code]
            places.append(np.array([numbers.get(member, -1) for member in known])[code])
        jacobian = np.array(
            [
                evaluate_slope(base.prediction, derivative(base.prediction, name), name, given)
                for name in base.parameters
            ]
        )
        jacobian[np.array(places) < 0] = 0.0  # of what is fixed, or on a bound
        errors = np.nan_to_num(np.sqrt(blocks.diagonal()))
        terms = (np.abs(jacobian) * errors[np.array(places)]).sum(axis=0)
        return blocks.variance(np.array(places), jacobian), terms


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


def formula_of(result: Result) -> Formula:
    """Return the formula of a fit; refused where it calls a function that is not at hand."""
    if result.function is None:
        return as_formula(result.formula).with_levels(result.levels or {})
    if result.callable is None:
        raise UsageError(
            f"this fit calls the function {result.function}, which its file cannot hold; give it:"
            " sgdfit.load(path, function=…)"
        )
    formula: Formula = result.callable
    return formula.with_columns([name for name in formula.names if name not in result.estimates])


def rebuild(result: Result, columns: Sequence[str]) -> Model:
    """Return the model of a fit on these columns, its free parameters at their starts.

    They are in the order of the fit, which is that of a function's arguments, not of its text.
    """
    known, loss = result.estimates.values(), as_loss(result.loss_name)
    if result.loss_scale is not None:
        loss = loss.scaled(result.loss_scale)
    model = build(
        formula_of(result),
        columns,
        loss=loss,
        start={e.name: e.start for e in known if e.role == "free"},
        fixed={e.name: e.value for e in known if e.role == "fixed"},
        tied={e.name: e.tie for e in known if e.role == "tied"},
    )
    order = dict.fromkeys((*result.free, *model.parameters))
    return replace(model, parameters={name: model.parameters[name] for name in order})
