"""The fitted curve on new rows, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.readers import open_table
from sgdfit.data.source import Source
from sgdfit.data.table import Table
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.weights import columns_of, weights_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import Formula, as_formula
from sgdfit.inference.bands import Band, around, curve_variance
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model, build
from sgdfit.result.result import Result

__all__ = [
    "CONFIDENCE",
    "INTERVALS",
    "PREDICTION",
    "Curve",
    "band_on",
    "curve_for",
    "noise_variance",
    "predict",
    "rebuild",
    "weighs",
]

Array = NDArray[np.float64]

CONFIDENCE, PREDICTION = INTERVALS = ("confidence", "prediction")
# Rows looked at together, so that the derivatives of millions never stand side by side.
STRIDE = 16_384


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
        noise = _noise(self.result, self.interval, self.weights, Source(dict(columns), label))
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


def _noise(result: Result, interval: str, weights: str | None, source: Source) -> Array | float:
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
