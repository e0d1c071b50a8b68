"""From estimates to what is known of them: sums of squares, covariance, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.problem import Problem, kernel_of
from sgdfit.fitting.trust_region import box_of
from sgdfit.fitting.weights import CLASSICAL, SANDWICH
from sgdfit.formula.formula import symbol
from sgdfit.inference.covariance import (
    Determined,
    as_spectrum,
    classical,
    determined,
    of_inverse,
    sandwich,
)
from sgdfit.inference.intervals import interval
from sgdfit.inference.spectrum import EPS, ScaledSpectrum
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import SQUARED, as_loss
from sgdfit.model.model import Model
from sgdfit.result.result import Estimate


def figures_of_merit(
    problem: Problem, theta: np.ndarray, loss: float
) -> tuple[float, Goodness, float]:
    """Return Σ w (y − prediction)² at the estimates, where the losses add up to ``loss``.

    With it come the figures of merit, and the root of its share of the response's variation about
    the weighted mean; 0 where rounding of the response itself hides it.
    """
    seen, rows, mean = problem.data.moments, problem.rows, problem.mean_weight
    first, second, about = seen.first, seen.second, seen.about
    total = max(0.0, second - first * first / rows) if second > 0 else 0.0
    residual, size = loss, total if total > 0 else rows * about * about
    if not problem.squared:
        squared = replace(problem.model, loss=as_loss(SQUARED))
        residual = problem.data.sums(kernel_of(squared, problem.data, problem.options), theta).loss
    logs = seen.logs + rows * math.log(mean) if problem.weighting.text else 0.0
    free, absolute = len(problem.names), problem.weighting.absolute
    merit = goodness(mean * residual, mean * total, rows, free, logs, absolute)
    if not problem.squared:
        # Most figures take residuals for normal, which only one loss does.
        merit = Goodness(merit.degrees_of_freedom, None, None, None, None, None)
    unseen = EPS**2 * (second + 2 * about * first + rows * about * about)
    share = 0.0 if residual <= unseen else math.sqrt(residual / size) if size > 0 else math.inf
    return mean * residual, merit, share


class Uncertainty(NamedTuple):
    """How sure the estimates are."""

    # float64[p, p] or None: naN in the rows of parameters that stand on a bound.
    covariance: np.ndarray | None
    method: str  # ``classical``, ``sandwich`` or ``none: why``
    undetermined: tuple[str, ...]  # combinations of parameters that the data do not determine
    # Of the residuals that scale the covariance; infinite where nothing scales it.
    degrees_of_freedom: float
    determined: tuple[Determined, ...] = ()  # combinations of the others that they do determine

    def withheld(self, why: str) -> Uncertainty:
        """Return the same without errors, and the reason."""
        return self._replace(covariance=None, determined=(), method=why)


class Evidence(NamedTuple):
    """What the rows tell of the loss near the estimates."""

    loss: float  # summed over the rows
    gradient: np.ndarray  # float64[p]: of that sum
    # function of bool[p]: its second derivatives to the parameters chosen, as a matrix or as its
    # spectrum.
    curvature: Callable[[np.ndarray], np.ndarray | ScaledSpectrum]
    scores: Callable[[], np.ndarray]  # Σ w² (∂loss/∂prediction)² J Jᵀ, float64[p, p]
    # float64[p, p] or None: that of a root of the whole curvature, where it is known that this
    # determines every parameter.
    inverse: np.ndarray | None = None
    # Of a row of weight one; None: the residuals tell it.
    variance: float | None = None


def uncertainty_of(
    model: Model, theta: np.ndarray, evidence: Evidence, rows: float, *, robust: bool
) -> Uncertainty:
    """Return the covariance of the estimates, or the reason why there is none.

    Squared residuals: σ²(JᵀWJ)⁻¹ with σ² from the residuals of so many ``rows``, or as the weights
    say where they are absolute. Any other loss, and on request (``robust``): the sandwich H⁻¹SH⁻¹,
    which does not take the loss for a likelihood.
    """
    free, known = box_of(model).free(theta, evidence.gradient), evidence.variance
    names = [name for name, is_free in zip(model.free, free, strict=True) if is_free]
    left = rows - len(names) if known is None else math.inf
    unknown = Uncertainty(None, "", (), left)
    if not names:
        return unknown.withheld("none: every parameter stands on a bound")
    if left <= 0:
        told = f"{rows:,.0f} row{'' if rows == 1 else 's'}"
        told += f" for {len(names)} parameter{'' if len(names) == 1 else 's'}"
        return unknown.withheld(f"none: no degree of freedom is left, as there are {told}")

    def variance(left: float) -> float:
        # The loss is r², whose curvature is twice the textbooks' JᵀJ.
        return 2 * (evidence.loss / left if known is None else known)

    if not robust and evidence.inverse is not None and len(names) == len(free):
        return Uncertainty(of_inverse(evidence.inverse, variance(left)), CLASSICAL, (), left)
    curvature, rest = evidence.curvature(free), tuple[Determined, ...]()
    if isinstance(curvature, np.ndarray):
        if not np.isfinite(curvature).all():
            return unknown.withheld("none: the curvature is not finite")
        if not curvature.any():
            return unknown.withheld("none: this loss has no curvature")
    spectrum = as_spectrum(curvature)
    if robust:
        found, open_ = sandwich(spectrum, evidence.scores()[np.ix_(free, free)], names)
    else:
        left = rows - int(spectrum.positive.sum()) if known is None else left
        found, open_ = classical(spectrum, variance(left), names)
        if open_:
            found, rest = determined(names, theta[free], spectrum, variance(left))
    if found is None:
        why = without(open_) if open_ else "none: its sums are not finite"
        return unknown._replace(undetermined=open_).withheld(why)
    whole = np.full((len(free), len(free)), np.nan)
    whole[np.ix_(free, free)] = found
    return Uncertainty(whole, SANDWICH if robust else CLASSICAL, open_, left, rest)


def without(undetermined: tuple[str, ...]) -> str:
    """Return the reason why there are no standard errors."""
    return f"none: the data do not determine {', '.join(undetermined)}"


def estimates(model: Model, theta: np.ndarray, found: Uncertainty) -> dict[str, Estimate]:
    """Return every parameter with its error and 95% interval; ties by the delta method."""
    values, covariance = model.values(theta.tolist()), found.covariance
    at, table = {symbol(name): value for name, value in values.items()}, {}
    errors: dict[str, float] = {}
    if covariance is not None:
        errors = dict(zip(model.free, np.sqrt(covariance.diagonal()).tolist(), strict=True))
        for name, tie in model.ties.items():
            slopes = np.array([float(tie.diff(symbol(n)).subs(at)) for n in model.free])
            used = slopes != 0
            variance = slopes[used] @ covariance[np.ix_(used, used)] @ slopes[used]
            errors[name] = math.sqrt(variance)
    for name, parameter in model.parameters.items():
        error = errors.get(name)
        error = error if error is not None and math.isfinite(error) else None
        table[name] = Estimate(
            name=name,
            value=values[name],
            stderr=error,
            interval=interval(values[name], error, found.degrees_of_freedom),
            start=parameter.start if parameter.role != "tied" else values[name],
            start_origin=parameter.origin,
            role=parameter.role,
            low=parameter.low,
            high=parameter.high,
            tie=parameter.tie,
            at_bound=parameter.role == "free" and values[name] in (parameter.low, parameter.high),
        )
    return table


def undetermined_warning(
    combinations: tuple[str, ...], stepped: Collection[str] = ()
) -> tuple[str, ...]:
    """Say that the data leave combinations of parameters open, of which some may act in steps."""
    steps = [name for name in combinations if name in stepped]
    rest = [name for name in combinations if name not in stepped]
    told = []
    if steps:
        told.append(
            f"{', '.join(steps)} acts in steps: it may move between neighbouring rows without"
            " changing the fit, so it has no standard error"
        )
    if rest:
        told.append(
            f"the data do not determine {', '.join(rest)}: near these estimates any value of it"
            " fits as well, so the parameters in it have no standard errors; fix or tie one of them"
        )
    return tuple(told)
