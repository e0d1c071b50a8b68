"""What each row weighs, and what standard errors are taken from."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from sgdfit.choice import number, one_of
from sgdfit.data.table import Columns, Table
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.sampling import FEW
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.parsing import parse_expression
from sgdfit.inference.statistics import expected_range
from sgdfit.kernel.summation import PANEL
from sgdfit.model.loss import SQUARED, Loss

Array = np.ndarray[Any, Any]

CLASSICAL, SANDWICH = "classical", "sandwich"
COVARIANCES = ("auto", CLASSICAL, SANDWICH)
# Of two correlations that should be the same: what rounding may leave of them.
SYMMETRIC = 1e-8


class Weighting(NamedTuple):
    """How rows are weighed, and how sure that makes the estimates."""

    # A column, or an expression of columns, proportional to the inverse variance of each row.
    weights: str | None = None
    # A column, or an expression of columns, that is the standard deviation of each row.
    sigma: str | None = None
    absolute: bool = False  # whether the standard deviations are taken at their word
    covariance: str = "auto"  # ``auto``, ``classical`` or ``sandwich``
    # float64[n, n]: the lower Cholesky factor of the correlations between rows, where they have any
    root: Array | None = None

    @property
    def given(self) -> str | None:
        """What was given, be it weights or standard deviations."""
        return self.weights if self.sigma is None else self.sigma

    @property
    def correlations(self) -> str | None:
        """By what the correlations between rows are known again, where they have any."""
        return None if self.root is None else sha256(self.root.tobytes()).hexdigest()[:16]

    @property
    def text(self) -> str | None:
        """The weights as an expression of columns, those of ``sigma`` included."""
        return self.weights if self.sigma is None else f"1/({self.sigma})**2"


def is_array(given: object) -> bool:
    """Tell values of rows from a number or text; a dict or a function is neither."""
    plain = isinstance(given, str | bytes | Mapping)
    return hasattr(given, "__len__") and not plain and getattr(given, "ndim", 1) > 0


def is_matrix(given: Any) -> bool:
    """Tell a square matrix from a value for each row."""
    return np.ndim(given) == 2 and len({*np.shape(given)}) == 1


def deviations(covariance: Any) -> tuple[Array, Array | None]:
    """Return the standard deviations of rows, float64[n], and `Weighting.root`."""
    try:
        matrix = np.asarray(covariance, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"sigma is a matrix that holds no numbers: {error}") from None
    rows, scale = len(matrix), np.sqrt(np.abs(np.diag(matrix)))
    if rows > FEW:
        raise UsageError(
            f"sigma is a matrix of {rows:,} rows, of which at most {FEW:,} can be decomposed; give"
            " a standard deviation for each row"
        )
    fine = np.isfinite(matrix) & ((matrix > 0) | ~np.eye(rows, dtype=bool))
    fine &= np.abs(matrix - matrix.T) <= SYMMETRIC * np.outer(scale, scale)
    if not fine.all():
        i, j = np.argwhere(~fine)[0]
        other = f" and {matrix[j, i]:g} in row {j + 1}, column {i + 1}" if i != j else ""
        raise UsageError(
            f"sigma is a matrix with {matrix[i, j]:g} in row {i + 1}, column {j + 1}{other}; the"
            " covariance of rows is finite and symmetric, with variances above 0 on its diagonal"
        )
    if np.count_nonzero(matrix) == rows:
        return scale, None
    correlations = matrix / np.outer(scale, scale)
    try:
        return scale, np.linalg.cholesky(correlations)
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(correlations)[0])
        raise UsageError(
            "sigma is a matrix that is no covariance of noise: its correlations have the eigenvalue"
            f" {least:.3g}, and all must be above 0; add each row's own variance to the diagonal"
        ) from None


def with_column(
    table: Table, what: str, values: Any, data: object, taken: Sequence[str]
) -> tuple[Table, str]:
    """Return the table of ``data`` with a further column, of a value for each row, and its name.

    All columns are then read into memory as a whole.
    """
    if is_matrix(values):
        raise UsageError(
            f"{what} is a matrix of shape {np.shape(values)}; a covariance of rows is the sigma of"
            " a single fit of them, sgdfit.fit(…, sigma=matrix)"
        )
    own: Any = getattr(values, "index", None)
    other: Any = getattr(data, "index", None)
    indexed = hasattr(own, "equals") and hasattr(other, "equals")
    if indexed and len(own) == len(other) and not own.equals(other):
        raise UsageError(
            f"{what} is a Series whose index is not that of the data; put it into the frame as a"
            f" column, which goes by the index, or pass {what}.to_numpy(), which goes by the place"
        )
    name, width = what, len(table.names)
    while name in table.names or name in taken:
        name += "_"

    def fetch(places: Sequence[int]) -> list[object]:
        found = iter(table.fetch([place for place in places if place < width]))
        return [next(found) if place < width else values for place in places]

    names, added = (*table.names, name), (*table.added, name)
    return replace(table, names=names, fetch=fetch, dataset=None, added=added), name


def as_expression(given: object, what: str) -> str | None:
    """Return what sigma or weights were given as, a number too, as an expression of columns."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, numbers.Real) or getattr(given, "shape", None) == ():
        return repr(number(given, what)).removesuffix(".0")
    raise UsageError(
        f"{what} is {type(given).__name__}; give a number, a column, an expression of columns such"
        " as '0.1*y' or, where all rows are there at once, an array of a value for each"
    )


def as_weighting(
    weights: object, sigma: object, absolute: bool, covariance: str, loss: Loss
) -> Weighting:
    """Return the `Weighting` of these options of `sgdfit.fit`."""
    weights, sigma = as_expression(weights, "weights"), as_expression(sigma, "sigma")
    squared, why = loss.name == SQUARED, ""
    if sigma is not None and weights is not None:
        why = (
            f"sigma={sigma!r} and weights={weights!r} both say what a row weighs; give one of them"
            " (weights are 1/sigma**2)"
        )
    elif not isinstance(absolute, bool):
        why = f"absolute_sigma is {absolute!r}; it is True or False"
    elif absolute and sigma is None and weights is None:
        why = (
            "absolute_sigma takes the standard deviations of the rows at their word, but there"
            " are none; give sigma='column', or leave absolute_sigma out"
        )
    elif one_of(covariance, "covariance", COVARIANCES) == CLASSICAL and not squared:
        why = (
            f"covariance='classical' holds for least squares alone, where the loss is mse, not for"
            f" {loss.name}; leave it at 'auto', or ask for 'sandwich'"
        )
    elif absolute and (covariance == SANDWICH or not squared):
        what = "covariance='sandwich'" if squared else f"the loss {loss.name}"
        why = (
            f"with {what} the standard errors come from the residuals of each row, so"
            " absolute_sigma, which takes them from sigma, cannot be had; leave it out"
        )
    if why:
        raise UsageError(why)
    return Weighting(weights, sigma, absolute, covariance)


def surprise(weighting: Weighting, reduced_chi_square: float | None, dof: int) -> tuple[str, ...]:
    """Return a warning where the residuals contradict standard deviations taken at their word."""
    if not weighting.absolute or reduced_chi_square is None or dof <= 0:
        return ()
    low, high = expected_range(dof)
    if low <= reduced_chi_square <= high:
        return ()
    said, blamed = f"sigma '{weighting.sigma}' says", "sigma is"
    if weighting.sigma is None:
        said = f"the weights '{weighting.text}' say"
        blamed = "the standard deviations that they stand for are"
    above = reduced_chi_square > high
    factor = f"too small (about {math.sqrt(reduced_chi_square):.2g} times)"
    rest = "the curve misses something" if above else "the formula has too many parameters"
    return (
        f"the residuals are {'larger' if above else 'smaller'} than {said}: the reduced χ² is"
        f" {reduced_chi_square:.3g}, where {low:.3g} to {high:.3g} is usual; {blamed}"
        f" {factor if above else 'too large'}, and the standard errors with it, or {rest}",
    )


def columns_of(weights: str | None) -> tuple[str, ...]:
    """Return the columns that an expression of weights needs."""
    return () if weights is None else parse_expression(weights)[1]


def given_weights(weighting: Weighting, columns: Mapping[str, Array]) -> Array:
    """Return the weights, or the standard deviations, of some rows as they were given."""
    assert weighting.given is not None  # there are weights
    values = evaluate(parse_expression(weighting.given)[0], dict(columns))
    rows = len(next(iter(columns.values())))
    return np.broadcast_to(np.asarray(values, dtype=np.float64), rows)


def checked_weights(
    weighting: Weighting,
    columns: Mapping[str, Array],
    label: str,
    number: Callable[[int], int] = lambda row: row + 1,
) -> Array:
    """Return what `given_weights` does; refuse what weighs no row, whose ``number`` is named."""
    values = given_weights(weighting, columns)
    what, allowed = "weight", "a weight is a finite number, 0 or more"
    fine = np.isfinite(values) & (values >= 0)
    if weighting.sigma is not None:
        what, allowed = "sigma", "a standard deviation is a finite number above 0"
        fine &= values > 0
    if not fine.all():
        row = int(np.argmin(fine))
        raise DataError(
            f"the {what} '{weighting.given}' is {values[row]:g} in row {number(row)} of {label}"
            f" ({np.count_nonzero(~fine):,} such rows); {allowed}"
        )
    return values


class Weigher:
    """What weighs rows, so that all weights above 0 together have a mean of one.

    It looks at all rows, panel by panel and in their order, and is settled; then it can weigh.
    """

    def __init__(self, weighting: Weighting, label: str) -> None:
        self.weighting, self.label = weighting, label
        # The first weight above 0, or the first standard deviation. Sums are of multiples of it,
        # since those of large weights could overflow.
        self.unit, self.sums, self.counted = 0.0, list[float](), 0
        self.mean = self.given_mean = 1.0

    def look(self, columns: Mapping[str, Array], first: int) -> None:
        """Look at the weights of a block of rows, which begins at row ``first``."""
        values = checked_weights(self.weighting, columns, self.label, lambda row: first + row + 1)
        if not self.unit and values.any():
            self.unit = float(values[values > 0][0])
        if self.unit:
            relative = self._relative(values)
            self.sums.append(float(relative.sum()))
            self.counted += int(np.count_nonzero(relative))

    def settle(self) -> None:
        """Work out the mean; refuse what weighs no row, or out of the range of numbers."""
        given = self.weighting.given
        if not self.counted:
            raise DataError(f"every weight '{given}' of {self.label} is 0; nothing is left to fit")
        unit = np.float64(self.unit)
        with np.errstate(all="ignore"):
            self.mean = float(np.sum(self.sums) / self.counted)
            # Squared last: the square of a tiny sigma could vanish.
            self.given_mean = float(
                self.mean * (unit if self.weighting.sigma is None else np.square(1 / unit))
            )
        if not 0 < self.given_mean < np.inf:
            said = "weights" if self.weighting.sigma is None else "sigma"
            raise DataError(
                f"the {said} '{given}' of {self.label} gives rows a weight of"
                f" {self.given_mean:g}, out of the range of floating point; rescale the response"
                " and it together"
            )

    def weights(self, columns: Mapping[str, Array]) -> Array:
        """Return the weights of rows."""
        return self._relative(given_weights(self.weighting, columns)) / self.mean

    def _relative(self, values: Array) -> Array:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            by_sigma = self.weighting.sigma is not None
            return np.square(self.unit / values) if by_sigma else values / self.unit


def relative_weights(weighting: Weighting, source: Columns) -> tuple[Array, float]:
    """Return weights of which those above 0 have a mean of one, and the mean that they had.

    Examples
    --------
    >>> source = Columns({"s": np.array([1.0, 0.5])}, "the data")
    >>> weights, mean = relative_weights(Weighting(sigma="s"), source)
    >>> weights.tolist(), mean
    ([0.4, 1.6], 2.5)
    """
    # A constant weighs all rows alike, of which one column tells the number.
    names = columns_of(weighting.given) or tuple(source.columns)[:1]
    known = Weigher(weighting, source.label)
    for k, block in enumerate(source.chunks(names, PANEL)):
        known.look(dict(zip(names, block, strict=True)), k * PANEL)
    known.settle()
    return known.weights({name: source.columns[name] for name in names}), known.given_mean
