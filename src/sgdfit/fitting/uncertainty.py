"""From estimates to what is known of them: sums of squares, covariance, distance, estimates."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.dataset import TrainingData
from sgdfit.fitting.problem import Problem, kernel_of
from sgdfit.fitting.trust_region import box_of
from sgdfit.fitting.weights import CLASSICAL, SANDWICH
from sgdfit.formula.formula import symbol
from sgdfit.inference.covariance import (
    ROUNDING,
    as_spectrum,
    classical,
    correlation,
    of_inverse,
    sandwich,
)
from sgdfit.inference.estimable import Determined, determined
from sgdfit.inference.intervals import interval
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import EPS, ScaledSpectrum, root_spectrum
from sgdfit.kernel.kernel import Kernel
from sgdfit.kernel.summation import Sums
from sgdfit.model.loss import SQUARED, as_loss
from sgdfit.model.model import Model
from sgdfit.result.result import Estimate
from sgdfit.result.status import Status

# Residuals this small beside the variation of the response are what the steps of a long descent
# leave, and these what a single evaluation does.
MANY_ROUNDINGS, FEW_ROUNDINGS = 1e-12, 32 * EPS


class Squares(NamedTuple):
    """Sums over the rows."""

    residual: float  # Σ w (y − prediction)²
    total: float  # Σ w (y − ȳ)², about the weighted mean
    log_weights: float  # Σ ln w over the rows of nonzero weight
    perfect: bool  # whether the residuals are nothing but the rounding of many steps
    exact: bool  # whether they are nothing but that of one evaluation


def sum_squares(problem: Problem, theta: np.ndarray, loss: float) -> Squares:
    """Return the sums of squares of the estimates, at which the losses add up to ``loss``."""
    seen, rows = problem.data.moments, problem.rows
    first, second, about = seen.first, seen.second, seen.about
    total = max(0.0, second - first * first / rows) if second > 0 else 0.0
    residual = _residual(problem, theta, loss)
    size = total if total > 0 else rows * about * about
    # Nor can a residual be told that is smaller than the rounding of the response itself.
    unseen = EPS**2 * (second + 2 * about * first + rows * about * about)
    logs = 0.0
    if problem.weighting.text is not None:
        logs = seen.logs + problem.rows * math.log(problem.mean_weight)
    return Squares(
        residual=problem.mean_weight * residual,
        total=problem.mean_weight * total,
        log_weights=logs,
        perfect=bool(residual <= max(MANY_ROUNDINGS**2 * size, unseen)),
        exact=bool(residual <= max(FEW_ROUNDINGS**2 * size, unseen)),
    )


def _residual(problem: Problem, theta: np.ndarray, loss: float) -> float:
    if problem.squared:
        return loss
    squared = replace(problem.model, loss=as_loss(SQUARED))
    kernel = kernel_of(squared, problem.data, problem.options)
    return problem.data.sums(kernel, theta).loss


# As many rows as tell the rank of a Jacobian.
ROWS_LOOKED_AT = 10_000


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


def from_sums(kernel: Kernel, data: TrainingData, theta: np.ndarray, sums: Sums) -> Evidence:
    """Return what sums over the rows tell."""
    return Evidence(
        sums.loss,
        sums.gradient,
        lambda free: sums.curvature[np.ix_(free, free)],
        lambda: data.scores(kernel, theta),
    )


def from_root(
    kernel: Kernel, data: TrainingData, theta: np.ndarray, quadratic: Quadratic
) -> Evidence:
    """Return what a root of the curvature tells, with all its digits where rows gave it."""

    def curvature(free: np.ndarray) -> np.ndarray | ScaledSpectrum:
        root = quadratic.root[:, free]
        return root_spectrum(root) if quadratic.exact else root.T @ root

    return Evidence(
        quadratic.loss,
        quadratic.gradient,
        curvature,
        lambda: data.scores(kernel, theta),
        quadratic.inverse,
    )


def at_bounds(model: Model, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return bool[p]: which parameters stand on a bound that the descent pushes against."""
    return ~box_of(model).free(theta, gradient)


def uncertainty_of(problem: Problem, theta: np.ndarray, evidence: Evidence) -> Uncertainty:
    """Return the covariance of the estimates, or the reason why there is none.

    Squared residuals: σ²(JᵀWJ)⁻¹ with σ² from the residuals, or as the weights say where they are
    absolute. Any other loss, and on request: the sandwich H⁻¹SH⁻¹, which does not take the loss for
    a likelihood.
    """
    model, absolute, counted = problem.model, problem.weighting.absolute, problem.rows
    free = ~at_bounds(model, theta, evidence.gradient)
    names = [name for name, is_free in zip(model.free, free, strict=True) if is_free]
    left = math.inf if absolute else counted - len(names)
    if not names:
        return Uncertainty(None, "none: every parameter stands on a bound", (), left)
    if left <= 0:
        rows = f"{counted:,} row{'' if counted == 1 else 's'}"
        parameters = f"{len(names)} parameter{'' if len(names) == 1 else 's'}"
        why = f"none: no degree of freedom is left, as there are {rows} for {parameters}"
        return Uncertainty(None, why, (), left)
    least_squares = model.loss.name == SQUARED and problem.weighting.covariance != SANDWICH
    if least_squares and evidence.inverse is not None and len(names) == len(free):
        known = of_inverse(evidence.inverse, 2 * _noise(problem, evidence.loss, left))
        return Uncertainty(known, CLASSICAL, (), left)
    curvature = evidence.curvature(free)
    if isinstance(curvature, np.ndarray) and not curvature.any():
        return Uncertainty(None, "none: this loss has no curvature", (), left)
    if least_squares:
        found = _least_squares(problem, theta[free], evidence.loss, curvature, names)
    else:
        scores = evidence.scores()[np.ix_(free, free)]
        found = _robust(curvature, scores, names, left)
    if found.covariance is None or len(names) == len(free):
        return found
    whole = np.full((len(theta), len(theta)), np.nan)
    whole[np.ix_(free, free)] = found.covariance
    return found._replace(covariance=whole)


def _least_squares(
    problem: Problem,
    theta: np.ndarray,
    loss: float,
    curvature: np.ndarray | ScaledSpectrum,
    names: list[str],
) -> Uncertainty:
    rows = problem.rows
    if isinstance(curvature, np.ndarray) and not np.isfinite(curvature).all():
        return Uncertainty(None, "none: the curvature is not finite", (), rows - len(names))
    spectrum = as_spectrum(curvature)
    left = math.inf if problem.weighting.absolute else rows - int(spectrum.positive.sum())
    # The loss is r², whose curvature is twice the textbooks' JᵀJ.
    noise = 2 * _noise(problem, loss, left)
    covariance, undetermined = classical(spectrum, noise, names)
    if not undetermined:
        return Uncertainty(covariance, CLASSICAL, (), left)
    covariance, known = determined(names, theta, spectrum, noise)
    return Uncertainty(covariance, CLASSICAL, undetermined, left, known)


def _noise(problem: Problem, loss: float, left: float) -> float:
    """Return the variance of a row of weight one; taken at their word, weights say it.

    They have a mean of one here, whatever they were.
    """
    return 1 / problem.mean_weight if problem.weighting.absolute else loss / left


def _robust(
    curvature: np.ndarray | ScaledSpectrum, scores: np.ndarray, names: list[str], left: float
) -> Uncertainty:
    covariance, undetermined = sandwich(curvature, scores, names)
    if covariance is not None:
        return Uncertainty(covariance, SANDWICH, (), left)
    why = without(undetermined) if undetermined else "none: the curvature is not finite"
    return Uncertainty(None, why, undetermined, left)


def without(undetermined: tuple[str, ...]) -> str:
    """Return the reason why there are no standard errors."""
    return f"none: the data do not determine {', '.join(undetermined)}"


def is_hidden(problem: Problem, theta: np.ndarray, undetermined: tuple[str, ...]) -> bool:
    """Whether the rows determine what their sums JᵀJ cannot tell from zero.

    Squaring halves the digits: columns that agree to eight of them are one to JᵀJ, not to J.
    """
    model = problem.model
    if not undetermined or not model.is_linear:
        return False
    J = problem.kernel.rows(theta, problem.data.sample(ROWS_LOOKED_AT, 0)).jacobian
    size = np.linalg.norm(J, axis=1, keepdims=True)
    if not (np.isfinite(size).all() and size.all()):
        return False
    parts = np.linalg.svd(J / size, compute_uv=False)
    determined = int((parts > ROUNDING * parts[0] * len(parts)).sum())
    return determined > len(model.free) - len(undetermined)


def estimates(model: Model, theta: np.ndarray, found: Uncertainty) -> dict[str, Estimate]:
    """Return every parameter with its error and 95% interval; ties by the delta method."""
    values = model.values(theta.tolist())
    errors = dict(zip(model.free, _standard_errors(found.covariance, len(theta)), strict=True))
    table = {}
    for name, parameter in model.parameters.items():
        error = errors.get(name)
        if parameter.role == "tied":
            error = _tied_error(model, model.ties[name], values, found.covariance)
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


def correlations(covariance: np.ndarray | None) -> np.ndarray | None:
    """Return the correlation matrix, NaN where a parameter stands on a bound."""
    return None if covariance is None else correlation(covariance)


def _standard_errors(covariance: np.ndarray | None, parameters: int) -> list[float | None]:
    if covariance is None:
        return [None] * parameters
    errors = np.sqrt(covariance.diagonal()).tolist()
    return [e if math.isfinite(e) else None for e in errors]


def _tied_error(
    model: Model, tie: Any, values: dict[str, float], covariance: np.ndarray | None
) -> float | None:
    if covariance is None:
        return None
    at = {symbol(name): value for name, value in values.items()}
    slopes = np.array([float(tie.diff(symbol(name)).subs(at)) for name in model.free])
    used = slopes != 0
    error = math.sqrt(slopes[used] @ covariance[np.ix_(used, used)] @ slopes[used])
    return error if math.isfinite(error) else None


# Farther than this from the optimum, in standard errors, a 95% interval would miss it too often.
FAR = 1.0


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


def withheld(found: Uncertainty, status: Status, distance: float) -> Uncertainty:
    """Take the errors back where the estimates are not those that they belong to."""
    if not status.ok:
        return found.withheld(f"none: the run ended as {status.label}")
    if np.isfinite(distance) and distance > FAR:
        about = float(f"{distance:.2g}")  # 300, not 3e+02
        away = f"the estimates are still {about:,g} standard errors from the optimum"
        return found.withheld(f"none: {away}")
    return found
