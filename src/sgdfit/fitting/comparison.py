"""Several fits of the same rows beside one another: criteria, and tests where one holds another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.datasets import fingerprint_of
from sgdfit.errors import SgdfitError, UsageError, require
from sgdfit.fitting.prediction import formula_of, rebuild
from sgdfit.fitting.weights import columns_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import SQUARED
from sgdfit.result.result import Result
from sgdfit.result.rounding import number
from sgdfit.result.tables import html_table, text_table
from sgdfit.starts.space import observations_of, placed, ranges_of

# Sums of squares about the mean that differ by more, beside what rounding leaves of R², are of
# other responses.
SAME = 1e-9
# A formula takes a curve of which it leaves less than this share: of what is a limit of its curves
# rounding leaves 1e-8. So many rows are looked at.
HELD, ROWS = 1e-9, 400
# Beside the fitted curve so many others, from this part of what a search covers.
CURVES, MIDDLE = 2, (0.35, 0.65)
# What rounding leaves of a response is no residual.
PERFECT = 1e-14


class NestedTest(NamedTuple):
    """Whether one fit's formula is a special case of another's, and what the data say of it."""

    smaller: int  # which fits, counted from 1
    larger: int
    nested: bool | None  # None where it is not known
    text: str  # all of it in a sentence
    statistic: float | None = None  # F, or χ² where the variances of the rows were given
    p_value: float | None = None  # the probability of as large a statistic if the smaller holds


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

    A formula is a special case of another that can be fitted exactly to its curve, and to others
    that it has, which is tried.
    Then F = ((RSS₁ − RSS₂)/(ν₁ − ν₂))/(RSS₂/ν₂), with ν degrees of freedom left, is as large by
    chance with the stated probability (Bates & Watts 1988, Nonlinear Regression Analysis and Its
    Applications, section 3.10), as is χ² = RSS₁ − RSS₂ where the variances of the rows were given.
    Each fit is tested against its special case with most parameters. The criteria are those of the
    fits, the weights Akaike's (Burnham & Anderson 2002, Model Selection and Multimodel Inference,
    section 2.9).

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
    least = np.nanmin(aicc) if not np.isnan(aicc).all() else np.nan
    # Of perfect fits several may be infinite.
    delta = np.array([0.0 if value == least else value - least for value in aicc.tolist()])
    support = np.exp(-delta / 2)
    order, tests, notes = sorted(range(len(fits)), key=lambda i: _parameters(fits[i])), [], []
    for j in order:
        fewer = [i for i in reversed(order) if _parameters(fits[i]) < _parameters(fits[j])]
        tried = list[NestedTest]()
        while len(tried) < len(fewer) and not (tried and tried[-1].nested):
            tried.append(_test(fits, fewer[len(tried)], j))
        tests += [tried[-1] if tried[-1].nested else tried[0]] if tried else []
    if not tests:
        notes.append("They have as many parameters, so that none is a special case: compare AICc.")
    for i, fit in enumerate(fits, 1):
        if fit.status.name != "converged":
            notes.append(
                f"{i} ended so: {fit.status.label}. Its sum of squares may not be the least."
            )
    if any(fit.table is None for fit in fits):
        notes.append(
            "Rows are not kept with a fit that was loaded: the data are taken to be the same since"
            " their number and the variation of the response are."
        )
    weight = support / np.nansum(support)
    return Comparison(fits, (*delta.tolist(),), (*weight.tolist(),), tuple(tests), (*notes,))


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
    if one.correlations != other.correlations:
        return "their rows are not correlated alike: sigma is another matrix"
    for what in ("sigma", "weights", "absolute_sigma"):
        given = [getattr(fit, what) for fit in (one, other)]
        if given[0] != given[1]:
            return f"{what} is {given[0]} in one and {given[1]} in the other"
    left, right = (formula_of(fit).response for fit in (one, other))
    if left != right:
        return f"one is of {to_text(left)}, the other of {to_text(right)}; give both one left side"
    if one.table is not None and other.table is not None:
        files = [getattr(fit.table.dataset, "fingerprint", "") for fit in (one, other)]
        same = files[0] == files[1] != "" or _fingerprint(one) == _fingerprint(other)
        return "" if same else "their rows differ"
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
    names = (*formula_of(fit).response_names, *columns_of(fit.weights))
    return fingerprint_of(dict(fit.table.load(names, missing="drop").columns))


def _test(fits: Sequence[Result], i: int, j: int) -> NestedTest:
    """Test the fit ``i`` within the fit ``j``, which has more parameters."""
    one, other = fits[i], fits[j]
    left, more = other.degrees_of_freedom, one.degrees_of_freedom - other.degrees_of_freedom
    nested, rss = _holds(other, one), other.residual_sum_of_squares
    gain = one.residual_sum_of_squares - rss
    text = f"{i + 1} is a special case of {j + 1}: "
    if nested is None:
        text = f"Whether {i + 1} is a special case of {j + 1} is not known without rows: no test"
    elif not nested:
        text = f"{i + 1} is no special case of {j + 1}: no test, compare AICc"
    elif left <= 0 or (other.r_squared or 0.0) > 1 - PERFECT:
        text += "no test, since the larger leaves no residuals to go by"
    elif gain < -SAME * rss:
        text += f"yet {j + 1} fits worse, so it has missed its minimum; fit it from other starts"
    else:
        from scipy.special import chdtrc, fdtrc

        known = other.absolute_sigma
        statistic = max(0.0, gain if known else gain / more / (rss / left))
        p = float(chdtrc(more, statistic) if known else fdtrc(more, left, statistic))
        name = f"χ²({more})" if known else f"F({more}, {left})"
        text += f"{name} = {number(statistic)}, p = {number(p, 3)}"
        return NestedTest(i + 1, j + 1, True, text, statistic, p)
    return NestedTest(i + 1, j + 1, nested, text)


def _holds(larger: Result, smaller: Result) -> bool | None:
    """Whether the larger formula can take the curves of the smaller; None without rows.

    Not only the fitted one: an exponential that hardly bends is a parabola but for rounding. So
    there are others, of parameters that are ordinary in the data's own scale.
    """
    try:
        fitted = smaller.fitted
    except UsageError:  # it was loaded, or has rows beyond memory
        return None
    formula, own = formula_of(larger), formula_of(smaller)
    names = [name for name in formula.names if name not in larger.estimates]
    needed = (*own.response_names, *(name for name in own.names if name not in smaller.estimates))
    model = rebuild(smaller, needed)
    needed = (*needed, *names, *columns_of(smaller.weights))
    some = slice(None, None, -(-len(fitted) // ROWS))
    table = larger.table if larger.levels else smaller.table  # which knows the levels' codes
    columns = table.load(needed, missing="drop").columns
    columns = {name: column[some] for name, column in columns.items()}
    given = {name: columns[name] for name in names}
    if not _takes(larger, given, fitted[some]):
        return False
    seen = observations_of(model, Chunk(tuple(columns[n] for n in model.columns), None), {})
    ranges, random = ranges_of(model, model.free, seen), np.random.default_rng(0)
    for _ in range(CURVES):
        theta = []
        for name, at in zip(model.free, ranges, strict=True):
            share, below = random.uniform(*MIDDLE), at.negative * (smaller.values[name] < 0)
            share = share * below if below else at.negative + share * (1 - at.negative)
            theta.append(placed(at, np.array([share]))[0])
        with np.errstate(all="ignore"):
            curve = evaluate(model.prediction, columns | model.values(theta))
        if np.isfinite(curve).all() and not _takes(larger, given, curve):
            return False
    return True


def _takes(larger: Result, columns: dict[str, np.ndarray], curve: np.ndarray) -> bool:
    """Whether finite parameters of the larger formula give a curve exactly."""
    from sgdfit.fitting.entry import fit

    known = larger.estimates.values()
    curve = np.broadcast_to(curve, len(next(iter(columns.values()))))
    try:
        found = fit(
            replace(formula_of(larger), response=symbol("(curve)"), text=None),
            columns | {"(curve)": curve},
            fixed={e.name: e.value for e in known if e.role == "fixed"},
            tied={e.name: e.tie for e in known if e.tie},
            bounds={e.name: (e.low, e.high) for e in known if e.role == "free"},
        )
    except SgdfitError:
        return False
    spread = np.square(curve - curve.mean()).sum() or np.square(curve).sum()
    return bool(found.residual_sum_of_squares <= HELD**2 * spread)
