"""The rows of a fit beside what its curve says of them, for plots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.source import Source
from sgdfit.data.table import Table
from sgdfit.errors import UsageError
from sgdfit.fitting.prediction import band_on, noise_variance, rebuild
from sgdfit.fitting.sampling import reserved
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import to_text
from sgdfit.formula.parsing import parse_expression
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model

if TYPE_CHECKING:
    from sgdfit.inference.bands import Band
    from sgdfit.result.result import Result

__all__ = ["Observed", "observe"]

Array = np.ndarray[Any, Any]

# Of columns that are loaded whole.
MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class Observed:
    """A fit's model and rows.

    Attributes
    ----------
    model : Model
    columns : dict of str to float64[n]
        The model's columns.
    weights : float64[n]
        Of the rows; ones where none were given.
    start, end : dict of str to float
        The free parameters before and after the descent.
    """

    model: Model
    columns: dict[str, Array]
    weights: Array
    start: dict[str, float]
    end: dict[str, float]

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns on the right side."""
        return self.model.variables

    @property
    def response(self) -> str:
        """The left side as text."""
        return to_text(self.model.formula.response)

    @cached_property
    def target(self) -> Array:
        """The response on every row."""
        return self._values(self.model.formula.response, self.columns)

    @cached_property
    def predicted(self) -> Array:
        """The curve on every row."""
        return self._values(self.model.prediction, {**self.columns, **self.end})

    @property
    def axis(self) -> Array:
        """What a curve is drawn over: the one variable, or the number of the row."""
        if self.variables:
            return self.columns[self.variables[0]]
        return np.arange(1.0, 1.0 + len(self.target))

    def curve(self, grid: Array, at: dict[str, float]) -> Array:
        """Return the curve on ``grid``, for a model of one variable or none."""
        columns = dict.fromkeys(self.variables, grid)
        return self._values(self.model.prediction, {**columns, **at}, len(grid))

    def bands(self, grid: Array, curve: Array, result: Result) -> tuple[Band | None, Band | None]:
        """Return the 95% bands of the curve and of new observations, where they are known.

        Where weights tell rows apart, the second is known only if they follow from the variable.
        """
        if result.covariance is None:
            return None, None
        columns = dict.fromkeys(self.variables, grid)
        noise = self._noise(columns, result, len(grid))
        try:
            sure = band_on(self.model, result, curve, columns)
            new = None if noise is None else band_on(self.model, result, curve, columns, noise)
        except UsageError:  # no degree of freedom
            return None, None
        return sure, new

    def _noise(self, columns: dict[str, Array], result: Result, rows: int) -> Array | None:
        """Return the variance of a new observation about the curve, where it is known."""
        unit, (weight, needed) = noise_variance(result), _weight(result)
        if unit is None or not set(needed) <= set(columns):
            return None
        with np.errstate(all="ignore"):
            return unit / self._values(weight, columns, rows)

    def sample(self, rows: int) -> Observed:
        """Return the same with at most ``rows`` rows, drawn evenly and always the same ones."""
        total = len(self.weights)
        if total <= rows:
            return self
        chosen = np.sort(np.random.default_rng(0).choice(total, rows, replace=False))
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return replace(self, columns=columns, weights=self.weights[chosen])

    def loss(self, at: dict[str, float]) -> float:
        """Return the mean loss with the free parameters ``at``."""
        prediction = self._values(self.model.prediction, {**self.columns, **at})
        pair = {PREDICTION: prediction, TARGET: self.target}
        with np.errstate(all="ignore"):
            each = self._values(self.model.loss.expression, pair)
            return float(np.sum(self.weights * each) / np.sum(self.weights))

    def _values(self, expression: Any, values: dict[str, Any], rows: int | None = None) -> Array:
        found = np.asarray(evaluate(expression, values), dtype=np.float64)
        return np.broadcast_to(found, len(self.weights) if rows is None else rows)


def observe(result: Result, data: object) -> Observed:
    """Read the rows of ``data`` that the fit was made of; rows with a missing value are left out.

    Raises
    ------
    DataError
        When the data do not hold the formula's columns.
    """
    if isinstance(data, Observed):
        return data
    table = data if isinstance(data, Table) else open_table(data)
    model = rebuild(result, table.names)
    weight, needed = _weight(result)
    source = _some_rows(table, [*model.columns, *needed])
    columns = {name: np.asarray(column, float) for name, column in source.columns.items()}
    start = dict(zip(model.free, model.start, strict=True))
    end = {name: result.values[name] for name in model.free}
    weights = np.broadcast_to(np.asarray(evaluate(weight, columns), float), source.rows)
    return Observed(model, columns, weights, start, end)


def _some_rows(table: Table, names: list[str]) -> Source:
    """Return all rows, or random ones from all over where all are too many for memory."""
    opened = open_rows(table, names, missing="drop", budget=MOST_BYTES)
    if isinstance(opened, Source):
        return opened
    found = opened.take(*reserved(opened.rows, len(opened.names), seed=0))
    return Source(dict(zip(opened.names, found, strict=True)), opened.label, opened.dropped)


def _weight(result: Result) -> tuple[Any, tuple[str, ...]]:
    """Return the weight of a row as an expression, and the columns that it takes."""
    if result.weights is None:
        return parse_expression("1")
    return parse_expression(result.weights)
