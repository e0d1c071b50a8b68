"""What follows from the estimates: functions of them with standard errors, and draws of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import whole
from sgdfit.errors import UsageError, did_you_mean, enumerated
from sgdfit.inference.intervals import confidence_interval, curve_variance, hidden_by_rounding
from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import interval_text, plus_minus
from sgdfit.result.tables import html_table, text_table


@dataclass(frozen=True, eq=False, repr=False)
class Derived:
    """Quantities that follow from the parameters of a fit, how sure they are, and how they vary.

    Attributes
    ----------
    estimates : each of the k quantities by name, with its standard error and interval
    covariance : of them all, shape (k, k), in products of their units; NaN where not known
    level : the confidence of each interval
    """

    estimates: dict[str, Estimate]
    covariance: NDArray[np.float64]
    level: float

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.estimates:
            hint = did_you_mean(name, self.estimates)
            raise KeyError(f"no quantity {name!r}; there are {', '.join(self.estimates)}.{hint}")
        return self.estimates[name]

    @property
    def value(self) -> float:
        """The value, where there is one quantity."""
        return self._only.value

    @property
    def stderr(self) -> float | None:
        """The standard error, where there is one quantity; None where not known."""
        return self._only.stderr

    @property
    def interval(self) -> tuple[float, float] | None:
        """The confidence interval, where there is one quantity; None where not known."""
        return self._only.interval

    @property
    def _only(self) -> Estimate:
        if len(self.estimates) != 1:
            raise UsageError(
                f"{len(self.estimates)} quantities were derived; choose one by its name, such as"
                f" derived[{next(iter(self.estimates))!r}]"
            )
        return next(iter(self.estimates.values()))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return value, standard error and interval of each as values of JSON."""
        return {
            name: {"value": e.value, "stderr": e.stderr, "interval": e.interval}
            for name, e in self.estimates.items()
        }

    def lines(self) -> Sequence[Sequence[str]]:
        """Return the table as text: what each column is, then a row for each quantity."""
        return [("derived", "value", f"{100 * self.level:g}% interval")] + [
            (
                name,
                plus_minus(e.value, e.stderr),
                interval_text(*e.interval, e.value, e.stderr) if e.interval else "",
            )
            for name, e in self.estimates.items()
        ]

    def __str__(self) -> str:
        return text_table(self.lines())

    def __repr__(self) -> str:
        return f"Derived({', '.join(map(str, self.estimates.values()))})"

    def _repr_html_(self) -> str:
        return html_table(self.lines())


def derive_quantities(
    result: Result, quantities: tuple[str, ...], level: float | None = None
) -> Derived:
    """Return functions of the parameters by the delta method; see `Result.derive`."""
    from sgdfit.formula.evaluation import evaluate
    from sgdfit.formula.formula import derivative, symbol
    from sgdfit.formula.limits import evaluate_slope

    level = result.level if level is None else level
    ties = {symbol(name): tie for name, tie in _ties(result).items()}
    at = {name: np.full(1, value) for name, value in result.values.items()}
    known, values, moving = read_quantities(quantities, list(at)), list[float](), _moving(result)
    jacobian = np.empty((len(moving), len(known)))
    for k, (name, expression) in enumerate(known.items()):
        free = expression.xreplace(ties)
        values.append(float(np.broadcast_to(evaluate(free, at), 1)[0]))
        if not np.isfinite(values[-1]):
            raise UsageError(f"{name!r} has no finite value at the estimates: {values[-1]:g}")
        for i, parameter in enumerate(moving):
            slope = derivative(free, parameter)
            jacobian[i, k] = evaluate_slope(free, slope, parameter, at)[0]
    covariance = _covariance(jacobian, _known(result, moving))
    variance = np.diag(covariance)
    stderr = [float(np.sqrt(v)) if np.isfinite(v) else None for v in variance]
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    estimates = {
        name: Estimate(name, v, e, confidence_interval(v, e, dof, level), v, role="derived")
        for name, v, e in zip(known, values, stderr, strict=True)
    }
    return Derived(estimates, covariance, level)


def read_quantities(quantities: Sequence[str], parameters: Sequence[str]) -> dict[str, Any]:
    """Return expressions of the ``parameters`` by their names, or by their text."""
    from sgdfit.formula.formula import ordered_names
    from sgdfit.formula.parsing import parse

    found = dict[str, Any]()
    for text in quantities:
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


def _moving(result: Result) -> list[str]:
    """Return the parameters that may vary: on a bound, without a variance, they count as fixed."""
    if result.covariance is None:
        return list(result.free)
    fixed = np.isnan(np.diag(result.covariance))
    return [
        name
        for name, lost in zip(result.free, fixed, strict=True)
        if not (lost and result.estimates[name].at_bound)
    ]


def _known(result: Result, names: list[str]) -> NDArray[np.float64]:
    """Return the covariance of these parameters; NaN where not known."""
    if result.covariance is None:
        return np.full((len(names), len(names)), np.nan)
    places = [result.free.index(name) for name in names]
    return result.covariance[np.ix_(places, places)]


def _covariance(
    jacobian: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return JᵀCJ, NaN where it depends on what is not known or is lost to rounding."""
    known = np.isfinite(np.diag(covariance))
    some = jacobian[known]
    found: NDArray[np.float64] = some.T @ covariance[np.ix_(known, known)] @ some
    variance = curve_variance(jacobian, covariance)
    lost = ~np.isfinite(variance) | hidden_by_rounding(jacobian, covariance)
    np.fill_diagonal(found, variance)
    found[lost], found[:, lost] = np.nan, np.nan
    return found


def sample(result: Result, n: int, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return draws of the parameters; see `Result.sample`."""
    from sgdfit.formula.evaluation import evaluate

    count, random = whole(n, "n", 1), np.random.default_rng(whole(seed, "seed", 0))
    moving = _moving(result)
    covariance = _known(result, moving)
    unknown = [n for n, v in zip(moving, np.diag(covariance), strict=True) if not np.isfinite(v)]
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    if unknown or dof <= 0:
        reason = result.covariance_method.partition(": ")[2] or "see fit.undetermined"
        raise UsageError(
            "there is nothing to draw from: this fit tells no error of"
            f" {enumerated(unknown or moving)} ({reason})"
        )
    scale = np.sqrt(np.diag(covariance))
    scale[scale == 0] = 1.0
    values, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
    root = scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = root @ random.standard_normal((len(moving), count))
    if np.isfinite(dof):
        drawn /= np.sqrt(random.chisquare(dof, count) / dof)
    found: dict[str, NDArray[np.float64]] = {
        name: np.full(count, value) for name, value in result.values.items()
    }
    for name, row in zip(moving, drawn, strict=True):
        found[name] += row
    for name, tie in _ties(result).items():
        found[name] = np.array(np.broadcast_to(evaluate(tie, found), count), dtype=np.float64)
    return found


def _ties(result: Result) -> dict[str, Any]:
    """Return what tied parameters are of the others."""
    from sgdfit.model.parameters import resolve_ties

    return resolve_ties({e.name: e.tie for e in result.estimates.values() if e.tie})
