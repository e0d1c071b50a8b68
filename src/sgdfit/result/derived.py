"""What follows from the estimates: functions of them with standard errors, and draws of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import whole
from sgdfit.errors import UsageError, did_you_mean, enumerated
from sgdfit.inference.intervals import (
    confidence,
    confidence_interval,
    curve_variance,
    hidden_by_rounding,
    square_root,
)
from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import interval_text, plus_minus
from sgdfit.result.tables import html_table, text_table

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Derived:
    """Quantities that follow from the parameters of a fit, how sure they are, and how they vary.

    Attributes
    ----------
    estimates : each of the k quantities by name, with its standard error and interval
    covariance : of them all, shape (k, k), in products of their units; NaN where not known
    level : the confidence of each interval
    """

    estimates: dict[str, Estimate]
    covariance: Array
    level: float

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return value, standard error and interval of each as values of JSON."""
        wanted = ("value", "stderr", "interval")
        return {n: {key: getattr(e, key) for key in wanted} for n, e in self.estimates.items()}

    def lines(self) -> Sequence[Sequence[str]]:
        """Return the table as text: what each column is, then a row for each quantity."""
        rows = []
        for name, e in self.estimates.items():
            span = "" if e.interval is None else interval_text(*e.interval, e.value, e.stderr)
            rows.append((name, plus_minus(e.value, e.stderr), span))
        return [("derived", "value", f"{100 * self.level:g}% interval"), *rows]

    def __str__(self) -> str:
        return text_table(self.lines())

    def _repr_html_(self) -> str:
        return html_table(self.lines())


def derive_quantities(
    result: Result, quantities: Sequence[str], level: float | None = None
) -> Derived:
    """Return functions of the parameters by the delta method; see `Result.derive`."""
    from sgdfit.formula.evaluation import evaluate
    from sgdfit.formula.formula import derivative, symbol
    from sgdfit.formula.limits import evaluate_slope

    level = result.level if level is None else level
    ties = {symbol(name): tie for name, tie in _ties(result).items()}
    at = {name: np.full(1, value) for name, value in result.values.items()}
    known, values = read_quantities(quantities, list(at)), list[float]()
    used = {s.name for expression in known.values() for s in expression.xreplace(ties).free_symbols}
    moving, covariance, dof = distribution(result, used)
    jacobian = np.empty((len(moving), len(known)))
    for k, (name, expression) in enumerate(known.items()):
        free = expression.xreplace(ties)
        values.append(float(np.broadcast_to(evaluate(free, at), 1)[0]))
        if not np.isfinite(values[-1]):
            raise UsageError(f"{name!r} has no finite value at the estimates: {values[-1]:g}")
        for i, parameter in enumerate(moving):
            slope = derivative(free, parameter)
            jacobian[i, k] = evaluate_slope(free, slope, parameter, at)[0]
    told = np.isfinite(np.diag(covariance))
    found: Array = jacobian[told].T @ covariance[np.ix_(told, told)] @ jacobian[told]
    variance = curve_variance(jacobian, covariance)
    np.fill_diagonal(found, variance)
    lost = ~np.isfinite(variance) | hidden_by_rounding(jacobian, covariance)
    found[lost], found[:, lost] = np.nan, np.nan
    estimates = {}
    for name, value, square in zip(known, values, np.diag(found), strict=True):
        stderr = float(np.sqrt(square)) if np.isfinite(square) else None
        interval = confidence_interval(value, stderr, dof, level)
        estimates[name] = Estimate(name, value, stderr, interval, value, role="derived")
    return Derived(estimates, found, level)


def read_quantities(quantities: Sequence[str], parameters: Sequence[str]) -> dict[str, Any]:
    """Return expressions of the ``parameters`` by their names, or by their text."""
    from sgdfit.formula.formula import ordered_names
    from sgdfit.formula.parsing import parse

    found = dict[str, Any]()
    for text in quantities:
        if not isinstance(text, str):
            raise UsageError(f"a quantity is text such as 'half_life = log(2)/k', not {text!r}")
        formula = parse(text)
        response = formula.response
        if response is not None and not response.is_Symbol:
            raise UsageError(f"the left side of {text!r} is no name; write 'half_life = log(2)/k'")
        name = text.strip() if response is None else response.name
        if name in found:
            raise UsageError(f"two quantities are called {name!r}; give each a name of its own")
        for unknown in ordered_names(formula.expression):
            if unknown not in parameters:
                raise UsageError(
                    f"{unknown!r} in {text!r} is no parameter; there are {', '.join(parameters)}."
                    f"{did_you_mean(unknown, parameters)}"
                )
        found[name] = formula.expression
    return found


def at_level(result: Result, level: float) -> Result:
    """Return the same fit with intervals of another confidence.

    Raises
    ------
    UsageError
        When they came from refits, which the result does not hold.
    """
    confidence(level, "level")
    if result.intervals != "wald" and level != result.level:
        raise UsageError(
            f"the {result.intervals} intervals of this fit, of {100 * result.level:g}%, come from"
            f" refits to its rows; for those of another level fit anew, with level={level:g}"
        )
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    table = dict[str, Estimate]()
    for name, one in result.estimates.items():
        span = one.interval and confidence_interval(one.value, one.stderr, dof, level)
        table[name] = replace(one, interval=span)
    return replace(result, estimates=table, level=level)


def sample(result: Result, n: int, seed: int = 0) -> dict[str, Array]:
    """Return draws of the parameters; see `Result.sample`."""
    from sgdfit.formula.evaluation import evaluate

    count, random = whole(n, "n", 1), np.random.default_rng(whole(seed, "seed", 0))
    blocks = result.block_covariance
    moving, covariance, dof = distribution(result, None if blocks is None else ())
    known = np.isfinite(np.diag(covariance))
    if blocks is not None:
        moving, known = [*result.free], np.isfinite(blocks.diagonal())
        known |= np.array([result.estimates[name].at_bound for name in moving])
    unknown = [name for name, is_known in zip(moving, known, strict=True) if not is_known]
    if unknown or dof <= 0:
        reason = result.covariance_method.partition(": ")[2] or "see fit.undetermined"
        raise UsageError(
            "there is nothing to draw from: this fit tells no error of"
            f" {enumerated(unknown or moving)} ({reason})"
        )
    if blocks is not None:
        drawn = np.nan_to_num(blocks.draws(random, count))  # on a bound they do not vary
    else:
        drawn = square_root(covariance) @ random.standard_normal((len(moving), count))
    if np.isfinite(dof):
        drawn /= np.sqrt(random.chisquare(dof, count) / dof)
    found = {name: np.full(count, value) for name, value in result.values.items()}
    for name, row in zip(moving, drawn, strict=True):
        found[name] += row
    for name, tie in _ties(result).items():
        found[name] = np.array(np.broadcast_to(evaluate(tie, found), count), dtype=np.float64)
    return found


def distribution(
    result: Result, names: Collection[str] | None = None
) -> tuple[list[str], Array, float]:
    """Return the parameters that vary, their covariance, NaN where not known, and Student's ν.

    Those among ``names`` alone, if given. One on a bound, without a variance, counts as fixed.
    """
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    free = [name for name in result.free if names is None or name in names]
    covariance = result.covariance_of(free)
    bound = np.array([result.estimates[name].at_bound for name in free], dtype=bool)
    kept = np.flatnonzero(~(bound & np.isnan(np.diag(covariance)) & result.has_covariance))
    return [free[i] for i in kept], covariance[np.ix_(kept, kept)], dof


def _ties(result: Result) -> dict[str, Any]:
    """Return what tied parameters are of the others."""
    from sgdfit.model.parameters import resolve_ties

    return resolve_ties({e.name: e.tie for e in result.estimates.values() if e.tie})
