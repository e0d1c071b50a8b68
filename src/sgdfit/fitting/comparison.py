"""Several fits of the same rows beside one another: criteria, and tests where one holds another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgdfit.data.datasets import fingerprint_of
from sgdfit.errors import SgdfitError, UsageError, require
from sgdfit.fitting.weights import columns_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.reading import as_formula
from sgdfit.model.loss import SQUARED
from sgdfit.result.result import Result
from sgdfit.result.rounding import number
from sgdfit.result.tables import html_table, text_table

# Sums of squares about the mean that differ by more, beside what rounding leaves of R², are of
# other responses.
SAME = 1e-9
# A curve that leaves less than this share of another unexplained holds it; rows that are looked at,
# and how many curves, each with parameters so far (a share) from the estimates.
HELD, ROWS, CURVES, APART = 1e-7, 400, 2, 0.2


@dataclass(frozen=True)
class NestedTest:
    """Whether one fit's formula is a special case of another's, and what the data say of it.

    Attributes
    ----------
    smaller, larger : which fits, counted from 1
    nested : None where it is not known
    name : "F", or "χ²" where the variances of the rows were given
    statistic : of the test of the smaller formula within the larger; None where they are not nested
    degrees : of freedom, of the numerator and the denominator; of χ² one
    p_value : the probability of as large a statistic if the smaller formula holds
    text : all of it in a sentence
    """

    smaller: int
    larger: int
    nested: bool | None
    name: str
    statistic: float | None
    degrees: tuple[int, ...]
    p_value: float | None
    text: str


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Fits of the same rows, beside one another.

    Attributes
    ----------
    fits : as they were given
    delta : by how much the AICc of each is above the least
    weight : Akaike's weight of each, exp(−delta/2) over their sum: how it is supported among them
    tests : of each fit against the one with most parameters of those that are special cases of it
    notes : what was not known, one sentence each
    """

    fits: tuple[Result, ...]
    delta: tuple[float, ...]
    weight: tuple[float, ...]
    tests: tuple[NestedTest, ...]
    notes: tuple[str, ...] = ()

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by columns, a value for each fit; NaN where one is not defined."""
        figures = ("residual_sum_of_squares", "aic", "aicc", "bic")
        return {
            "formula": [fit.formula for fit in self.fits],
            "parameters": [_parameters(fit) for fit in self.fits],
            **{f: [_or_nan(getattr(fit, f)) for fit in self.fits] for f in figures},
            "delta_aicc": [*self.delta],
            "weight": [*self.weight],
        }

    def to_pandas(self) -> Any:
        """Return the table as a pandas DataFrame, a row for each fit."""
        return require("pandas", "a comparison as a data frame").DataFrame(self.columns())

    def lines(self) -> list[tuple[str, ...]]:
        """Return the table as text: what each column is, then a row for each fit."""
        head = ("", "formula", "parameters", "RSS", "AIC", "AICc", "BIC", "ΔAICc", "weight")
        rows = zip(*self.columns().values(), strict=True)
        return [head] + [
            (str(i), formula, str(count), *(number(value, 6) for value in figures[:-2]),
             number(figures[-2], 3), number(figures[-1], 3))
            for i, (formula, count, *figures) in enumerate(rows, 1)
        ]  # fmt: skip

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the tests say, and what was not known."""
        return (*(test.text for test in self.tests), *self.notes)

    def __str__(self) -> str:
        return "\n".join([text_table(self.lines()), "", *self.sentences])

    def __repr__(self) -> str:
        return f"Comparison({len(self.fits)} fits; {' '.join(self.sentences)})"

    def _repr_html_(self) -> str:
        from html import escape

        return html_table(self.lines()) + "".join(f"<p>{escape(s)}</p>" for s in self.sentences)


def compare(*fits: Result) -> Comparison:
    """Set fits of the same rows beside one another: AICc, BIC, and F tests where they are nested.

    A formula is a special case of another if the other can be fitted to its curves exactly, which
    is tried. Then F = ((RSS₁ − RSS₂)/(ν₁ − ν₂))/(RSS₂/ν₂), with ν degrees of freedom left, is large
    by chance with the probability that is stated (Bates & Watts 1988, Nonlinear Regression Analysis
    and Its Applications, section 3.10); where the variances of the rows were given, so is χ² =
    RSS₁ − RSS₂. Each fit is tested against its special case with most parameters. The
    criteria are those of `Result.aic`, the weights Akaike's (Burnham & Anderson 2002, Model
    Selection and Multimodel Inference, section 2.9).

    Raises
    ------
    UsageError
        When fewer than two fits are given, or they are not of the same rows, response, weights and
        loss, mse.

    Examples
    --------
    >>> import sgdfit
    >>> data = {"x": [0, 1, 2, 3, 4, 5], "y": [1.1, 1.9, 3.2, 5.1, 7.8, 11.2]}
    >>> line, parabola = sgdfit.fit("y = a + b*x", data), sgdfit.fit("y = a + b*x + c*x**2", data)
    >>> compared = sgdfit.compare(line, parabola)
    >>> print(compared.tests[0].text)
    1 is a special case of 2: F(1, 3) = 758.684, p = 0.000105
    """
    if len(fits) < 2 or not all(isinstance(fit, Result) for fit in fits):
        raise UsageError("give two fits or more, as in sgdfit.compare(fit1, fit2)")
    for i, fit in enumerate(fits[1:], 2):
        if difference := _difference(fits[0], fit):
            raise UsageError(f"fits 1 and {i} cannot be compared: {difference}")
    aicc = np.array([_or_nan(fit.aicc) for fit in fits])
    delta = aicc - np.nanmin(aicc) if np.isfinite(aicc).any() else aicc
    support = np.exp(-delta / 2)
    order, tests, notes = sorted(range(len(fits)), key=lambda i: _parameters(fits[i])), [], []
    for j in order:
        smaller = (i for i in reversed(order) if _parameters(fits[i]) < _parameters(fits[j]))
        tried = [*_until_nested(fits, smaller, j)]
        tests += tried[-1:] if tried and tried[-1].nested else tried[:1]
    if not tests:
        notes.append("They have as many parameters, so that none is a special case: compare AICc.")
    if any(fit.table is None for fit in fits):
        notes.append(
            "Rows are not kept with a fit that was loaded: the data are taken to be the same since"
            " their number and the variation of the response are."
        )
    weight = support / np.nansum(support)
    return Comparison(fits, (*delta.tolist(),), (*weight.tolist(),), tuple(tests), (*notes,))


def _until_nested(fits: Sequence[Result], smaller: Iterable[int], j: int) -> Iterator[NestedTest]:
    for i in smaller:
        yield (test := _test(fits, i, j))
        if test.nested:
            return


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _parameters(fit: Result) -> int:
    """Return how many parameters were estimated, off their bounds."""
    return fit.rows - fit.degrees_of_freedom


def _difference(one: Result, other: Result) -> str:
    """Say in what the data of two fits differ; empty if in nothing that can be seen."""
    for fit in (one, other):
        if fit.loss_name != SQUARED:
            return f"the loss {fit.loss_name} has no likelihood; fit with the loss mse"
        if not fit.status.ok:
            return f"'{fit.formula}' has no answer ({fit.status.label})"
        if fit.drawn_from is not None:
            return f"'{fit.formula}' has seen {fit.rows:,} of {fit.drawn_from:,} rows alone"
    if one.rows != other.rows:
        return f"they are of {one.rows:,} and {other.rows:,} rows"
    for what in ("sigma", "weights", "absolute_sigma"):
        given = [getattr(fit, what) for fit in (one, other)]
        if given[0] != given[1]:
            return f"{what} is {given[0]} in one and {given[1]} in the other"
    left, right = (as_formula(fit.formula).response for fit in (one, other))
    if left != right:
        return f"one is of {to_text(left)}, the other of {to_text(right)}; give both one left side"
    if one.table is not None and other.table is not None:
        return "" if _fingerprint(one) == _fingerprint(other) else "their rows differ"
    totals = [_total(fit) for fit in (one, other)]
    slack = SAME + 1e-15 * sum(1 / (1 - fit.r_squared) for fit in (one, other) if fit.r_squared)
    alike = None in totals or math.isclose(*totals, rel_tol=slack)  # type: ignore[arg-type]
    return "" if alike else "the response varies differently, so that their rows differ"


def _total(fit: Result) -> float | None:
    """Return the sum of squares of the response about its mean; None where not known."""
    known = fit.r_squared is not None and fit.r_squared < 1
    return fit.residual_sum_of_squares / (1 - fit.r_squared) if known else None  # type: ignore[operator]


def _fingerprint(fit: Result) -> str:
    """Return a digest of the response and the weights in each row."""
    names = (*as_formula(fit.formula).response_names, *columns_of(fit.weights))
    return fingerprint_of(dict(fit.table.load(names, missing="drop").columns))


def _test(fits: Sequence[Result], i: int, j: int) -> NestedTest:
    """Test the fit ``i`` within the fit ``j``, which has more parameters."""
    one, other = fits[i], fits[j]
    left, more = other.degrees_of_freedom, one.degrees_of_freedom - other.degrees_of_freedom
    name = "χ²" if other.absolute_sigma else "F"
    degrees = (more,) if other.absolute_sigma else (more, left)
    nested = _holds(other, one)
    gain = one.residual_sum_of_squares - other.residual_sum_of_squares
    text = f"{i + 1} is a special case of {j + 1}: "
    unknown = None, degrees, None
    if nested is None:
        text = f"Whether {i + 1} is a special case of {j + 1} is not known without rows: no test"
    elif not nested:
        text = f"{i + 1} is no special case of {j + 1}: no test, compare AICc"
    elif gain < 0:
        text += f"yet {j + 1} fits worse, so it has missed its minimum; fit it from other starts"
    elif left <= 0 or not other.residual_sum_of_squares > 0:
        text += "no test, since the larger leaves no residuals to go by"
    else:
        from scipy.special import chdtrc, fdtrc

        if other.absolute_sigma:
            statistic, p = gain, float(chdtrc(more, gain))
        else:
            statistic = gain / more / (other.residual_sum_of_squares / left)
            p = float(fdtrc(more, left, statistic))
        text += f"{name}({', '.join(map(str, degrees))}) = {number(statistic)}, p = {number(p, 3)}"
        return NestedTest(i + 1, j + 1, True, name, statistic, degrees, p, text)
    return NestedTest(i + 1, j + 1, nested, name, *unknown, text)


def _holds(larger: Result, smaller: Result) -> bool | None:
    """Whether the larger formula can take every curve of the smaller; None without rows."""
    from sgdfit.fitting.entry import fit

    table = smaller.table or larger.table
    if table is None:
        return None
    formulas = [as_formula(one.formula) for one in (smaller, larger)]
    known = {*smaller.estimates, *larger.estimates}
    names = sorted({name for formula in formulas for name in formula.names} - known)
    whole = table.load(names, missing="drop").columns
    rows = np.unique(np.linspace(0, smaller.rows - 1, min(ROWS, smaller.rows)).astype(int))
    columns = {name: np.asarray(whole[name])[rows] for name in names}
    random, response = np.random.default_rng(0), "(curve)"
    for _ in range(CURVES):
        curve = evaluate(formulas[0].expression, {**columns, **_moved(smaller, random)})
        curve = np.broadcast_to(curve, len(rows))
        options: dict[str, Any] = {"fixed": {}, "tied": {}, "bounds": {}}
        for e in larger.estimates.values():
            if e.role == "fixed":
                options["fixed"][e.name] = e.value
            elif e.tie:
                options["tied"][e.name] = e.tie
            elif np.isfinite([e.low, e.high]).any():
                options["bounds"][e.name] = (e.low, e.high)
        try:
            found = fit(
                replace(formulas[1], response=symbol(response), text=None),
                {**columns, response: curve},
                **options,
            )
        except SgdfitError:
            return False
        spread = float(np.square(curve - curve.mean()).sum()) or float(np.square(curve).sum())
        if not found.residual_sum_of_squares <= HELD**2 * spread:
            return False
    return True


def _moved(fit: Result, random: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a fit, somewhat away from the estimates, within their bounds."""
    from sgdfit.model.parameters import resolve_ties

    moved: dict[str, Any] = {}
    for e in fit.estimates.values():
        step = APART * random.standard_normal() if e.role == "free" else 0.0
        moved[e.name] = min(max(e.value * (1 + step), e.low), e.high)
    ties = resolve_ties({e.name: e.tie for e in fit.estimates.values() if e.tie})
    return moved | {name: float(evaluate(tie, moved)) for name, tie in ties.items()}
