"""How sure the estimates are: their covariance, what the data leave open, and how that is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from sgdfit.errors import enumerated
from sgdfit.fitting.problem import Limit, Outcome, Problem
from sgdfit.fitting.trust_region import box_of
from sgdfit.fitting.weights import CLASSICAL, SANDWICH
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.inference.covariance import ROUNDING, Determined, determined, of_inverse, sandwich
from sgdfit.inference.intervals import confidence_interval, curve_variance, hidden_by_rounding
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import EPS, ScaledSpectrum, scaled_spectrum
from sgdfit.model.identifiability import parts_of
from sgdfit.model.model import Model
from sgdfit.result.result import Estimate


class Uncertainty(NamedTuple):
    """How sure the estimates are."""

    # float64[p, p] or None: NaN in the rows of parameters that stand on a bound.
    covariance: np.ndarray | None
    method: str  # ``classical``, ``sandwich`` or ``none: why``
    # Parameters that the data do not determine; in one text those that only act together.
    undetermined: tuple[str, ...]
    degrees_of_freedom: float  # of all that is reported: see `uncertainty_of`
    determined: tuple[Determined, ...] = ()  # combinations of the others that they do determine
    is_absolute: bool = False  # whether the variance of a row is known: intervals are normal
    # What rounding of the response leaves of it, where the residuals are smaller and do not count.
    rounding: float = 0.0

    def withheld(self, why: str) -> Uncertainty:
        """Return the same without errors, and the reason."""
        return self._replace(covariance=None, determined=(), method=f"none: {why}")

    def withheld_as_open(self) -> Uncertainty:
        """Return the same without errors, since the data do not determine some parameters."""
        return self.withheld(f"the data do not determine {', '.join(self.undetermined)}")


def uncertainty_of(
    model: Model,
    theta: np.ndarray,
    near: Quadratic,
    rows: float,
    *,
    fitted: float | None = None,
    variance: float | None = None,
    least: float = 0.0,
    scores: Callable[[], np.ndarray] | None = None,
    curvature: np.ndarray | None = None,
) -> Uncertainty:
    """Return the covariance of the estimates ``theta``, near which the loss is known.

    Squared residuals: σ²(JᵀWJ)⁻¹ with σ² from the residuals of so many ``rows``, of which rounding
    of the response leaves ``least`` as the sum of their squares, or the ``variance`` of a row of
    weight one where that is known. Any other loss, and on request: the sandwich H⁻¹SH⁻¹ of the
    ``scores`` S = Σ w² (∂loss/∂prediction)² J Jᵀ, which does not take the loss for a likelihood.
    The whole ``curvature`` of such a loss may be negative, unlike that of ``near``.

    The degrees of freedom are the rows less what is ``fitted``: the rank of the Jacobian of the
    parameters off their bounds. So does R's ``lm`` count; where no parameter is on a bound and all
    are determined, also R's ``nls`` and lmfit, which count every free parameter.
    """
    free = box_of(model).free(theta, near.gradient)
    count = int(np.count_nonzero(free))
    left = rows - (count if fitted is None else fitted)
    unknown = Uncertainty(None, "", (), left, is_absolute=variance is not None)
    if not count:
        return unknown.withheld("every parameter stands on a bound")
    if not np.isfinite(near.root).all():
        return unknown.withheld("the curvature is not finite")
    if scores is not None and not (near.root if curvature is None else curvature).any():
        return unknown.withheld("this loss has no curvature")
    inverse = near.inverse if count == len(free) and scores is None else None
    if inverse is None:
        spectrum = near.spectrum_of(free)
        if curvature is not None:
            spectrum = scaled_spectrum(curvature[np.ix_(free, free)], ROUNDING)
        left = left if fitted is not None else rows - int(spectrum.positive.sum())
        unknown = unknown._replace(degrees_of_freedom=left)
    if left <= 0 and variance is None:
        told = f"{rows:,.0f} row{'' if rows == 1 else 's'}"
        told += f" for {count} parameter{'' if count == 1 else 's'}"
        return unknown.withheld(f"no degree of freedom is left, as there are {told}")
    # The loss is r², whose curvature is twice the textbooks' JᵀJ.
    noise = 2 * (max(near.loss, least) / left if variance is None else variance)
    if variance is None and scores is None and near.loss < least:
        unknown = unknown._replace(rounding=least / left)
    if inverse is not None:
        return unknown._replace(covariance=of_inverse(inverse, noise), method=CLASSICAL)
    if scores is None:
        return _by_spectrum(unknown, model, theta, free, spectrum, np.asarray(noise))
    # Residuals are smaller than the noise: by n/(n − p) in squares (MacKinnon & White 1985, J.
    # Econometrics 29, 305-325, HC1).
    middle = sandwich(spectrum, scores()[np.ix_(free, free)] * (rows / left))
    return _by_spectrum(unknown, model, theta, free, spectrum, middle)


def _by_spectrum(
    unknown: Uncertainty,
    model: Model,
    theta: np.ndarray,
    free: np.ndarray,
    spectrum: ScaledSpectrum,
    middle: np.ndarray,
) -> Uncertainty:
    """Return the covariance of the parameters that are ``free``, and what they leave open.

    ``middle`` is that along the whitened directions of their curvature: see `determined`.
    """
    names = [name for name, is_free in zip(model.free, free, strict=True) if is_free]
    parts = (
        part._replace(gradient=part.gradient[free])
        for part in parts_of(model.prediction, model.free, model.variables, theta)
    )
    found, rest, open_ = determined(names, theta[free], spectrum, middle, parts)
    unknown = unknown._replace(undetermined=open_)
    if found is None:
        return unknown.withheld_as_open()
    if not np.isfinite(middle).all():
        return unknown.withheld("its sums are not finite")
    whole = np.full((len(free), len(free)), np.nan)
    whole[np.ix_(free, free)] = found
    method = SANDWICH if middle.ndim else CLASSICAL
    return unknown._replace(covariance=whole, method=method, determined=rest)


def uncertainty_of_limit(problem: Problem, outcome: Outcome, limit: Limit) -> Uncertainty:
    """Return what the rows determine although the optimum is at infinity, by the limit's curve."""
    names, theta, absolute = problem.names, outcome.theta, problem.weighting.absolute
    simpler, found = limit.fitted or (problem, outcome)
    acting = np.ones(len(simpler.names), dtype=bool) if limit.fitted else ~limit.idle
    assert found.quadratic is not None  # a limit was looked for from there
    spectrum = found.quadratic.spectrum_of(acting)
    left = problem.rows - int(spectrum.positive.sum())
    noise = 2 / problem.mean_weight if absolute else found.quadratic.noise_sum / left
    settled = limit.known.copy()
    if limit.is_bound:
        settled |= (theta == problem.box.low) | (theta == problem.box.high)
    open_ = tuple(name for name, is_known in zip(names, settled, strict=True) if not is_known)
    unknown = Uncertainty(None, "", open_, left, is_absolute=absolute)
    if not spectrum.positive.all() or not math.isfinite(noise):
        return unknown.withheld_as_open()
    covariance = np.asarray(of_inverse(spectrum.inverse_root, noise))
    own = [name for name, is_acting in zip(simpler.names, acting, strict=True) if is_acting]
    places = [own.index(name) for name in np.array(names)[limit.known]]
    whole = np.full((len(names), len(names)), np.nan)
    whole[np.ix_(limit.known, limit.known)] = covariance[np.ix_(places, places)]
    told = []
    if limit.fitted and limit.asymptote is not None:
        errors = np.sqrt(covariance.diagonal())
        for name, value, error in zip(own, found.theta.tolist(), errors.tolist(), strict=True):
            if name not in np.array(names)[limit.known]:
                text = to_text(limit.asymptote.whole(name), names)
                told.append(Determined(text, value, error))
    return unknown._replace(covariance=whole, method=CLASSICAL, determined=tuple(told))


def with_rounding(covariance: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Add what it does to all estimates that each of them is rounded, to within half a digit."""
    variance = covariance.diagonal()
    known = variance > 0
    # The others follow, as the covariance says.
    moved = np.where(known, covariance / variance * (EPS / 2 * np.abs(theta)), 0.0)
    return np.asarray(covariance + np.nan_to_num(moved) @ np.nan_to_num(moved).T / 3)


def estimates(
    model: Model, theta: np.ndarray, found: Uncertainty, level: float = 0.95
) -> dict[str, Estimate]:
    """Return every parameter with its error and interval; ties by the delta method."""
    values, covariance = model.values(theta.tolist()), found.covariance
    left = math.inf if found.is_absolute else found.degrees_of_freedom
    errors, table = dict[str, float](), dict[str, Estimate]()
    if covariance is not None:
        errors = dict(zip(model.free, np.sqrt(covariance.diagonal()).tolist(), strict=True))
        for name, tie in model.ties.items():
            slopes = [float(evaluate(tie.diff(symbol(n)), values)) for n in model.free]
            column = np.array(slopes)[:, None]
            if not hidden_by_rounding(column, covariance).any():
                errors[name] = math.sqrt(curve_variance(column, covariance)[0])
    for name, parameter in model.parameters.items():
        error = errors.get(name)
        error = error if error is not None and math.isfinite(error) else None
        table[name] = Estimate(
            name=name,
            value=values[name],
            stderr=error,
            interval=confidence_interval(values[name], error, left, level),
            start=parameter.start if parameter.role != "tied" else values[name],
            start_origin=parameter.origin,
            role=parameter.role,
            low=parameter.low,
            high=parameter.high,
            tie=parameter.tie,
            at_bound=parameter.role == "free" and values[name] in (parameter.low, parameter.high),
        )
    return table


def undetermined_warnings(
    found: Uncertainty,
    stepped: Collection[str] = (),
    gaps: tuple[tuple[str, float, float], ...] = (),
) -> tuple[str, ...]:
    """Say that the data leave parameters open, of which some may act in steps."""
    told = [_gap_told(*gap) for gap in gaps]
    known = [name for name, *_ in gaps]
    open_ = [name for name in found.undetermined if name not in known]
    steps = enumerated([name for name in open_ if name in stepped])
    if steps:
        told.append(
            f"{steps} acts in steps: it may move between neighbouring rows without changing the"
            " fit, so it has no standard error"
        )
    rest = ", or ".join(name for name in open_ if name not in stepped)
    if rest:
        only = enumerated([one.text for one in found.determined])
        told.append(
            f"the data do not determine {rest}{f', only {only}' if only else ''}: near these"
            " estimates other values fit as well, so there is no standard error; fix or tie one of"
            " the parameters"
        )
    return tuple(told)


def _gap_told(name: str, low: float, high: float) -> str:
    """Say between which values a parameter that acts in steps may lie."""
    if math.nextafter(math.nextafter(low, high), high) >= high:
        return f"{name} is compared for equality: no other value describes these rows alike"
    ends = {
        (False, False): f"between {low:.10g} and {high:.10g}",
        (True, False): f"below {high:.10g}",
        (False, True): f"above {low:.10g}",
        (True, True): "whatsoever",
    }
    return (
        f"{name} acts in steps: any value {ends[math.isinf(low), math.isinf(high)]} describes these"
        " rows as well as the one given, so it has no standard error"
    )
