"""Confidence intervals by Student's t: of parameters, of the curve, and of new observations."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import number
from sgdfit.errors import UsageError
from sgdfit.inference.spectrum import EPS

Array = NDArray[np.float64]
# Up to so many degrees of freedom Student's quantile is summed.
MOST_SUMMED = 300


def confidence(value: Any, what: str) -> float:
    """Return the confidence of an interval, checked."""
    found = number(value, what)
    if not 0 < found < 1:
        raise UsageError(
            f"{what} is {found:g}, but a confidence lies between 0 and 1, as 0.95 does"
        )
    return found


def confidence_interval(
    value: float, stderr: float | None, dof: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the confidence interval of an estimate by Student's t, or None where there is none.

    That is so without degrees of freedom, which may be infinite, or a finite standard error.
    """
    confidence(level, "level")
    if dof <= 0 or stderr is None or not math.isfinite(stderr):
        return None
    half = stderr * t_quantile(dof, level)
    return value - half, value + half


def region_size(count: int, dof: float, level: float) -> float:
    """Return δᵀC⁻¹δ on the edge of the region where ``count`` parameters lie together.

    ``count`` times F(count, ν), or χ² where the degrees of freedom ν are infinite: Bates & Watts
    1988, Nonlinear Regression Analysis and Its Applications, section 2.3.1.

    >>> round(region_size(2, 10.0, 0.95), 3)
    8.206
    """
    from scipy.special import chdtri, fdtri

    if math.isinf(dof):
        return float(chdtri(count, 1 - level))
    return float(count * fdtri(count, dof, level))


def confidence_ellipse(covariance: Array, centre: Array, size: float, points: int = 90) -> Array:
    """Return the ellipse δᵀC⁻¹δ = ``size`` of two parameters, float64[points, 2].

    >>> confidence_ellipse(np.diag([4.0, 1.0]), np.zeros(2), 1.0, 5).max(axis=0).round(6)
    array([2., 1.])
    """
    values, vectors = np.linalg.eigh(covariance)
    angle = np.linspace(0, 2 * math.pi, points)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    around = vectors @ (np.sqrt(np.maximum(values, 0.0) * size)[:, None] * circle)
    return np.asarray(centre + around.T)


@lru_cache(maxsize=64)
def t_quantile(dof: float, level: float = 0.95) -> float:
    """Return Student's t that an absolute value stays below with probability ``level``.

    With t = √ν tan θ, P(|T| < t) is an angle or nothing, and a sum of powers of cos θ (Abramowitz &
    Stegun 1964, Handbook of Mathematical Functions, 26.7.3-4). It is concave in θ, so that Newton's
    steps from 0 never overshoot. To import SciPy's quantile takes longer than to fit few rows.
    """
    if not (1 <= dof <= MOST_SUMMED and dof == int(dof)):
        # scipy.stats has the same quantiles, and takes half a second to import.
        from scipy.special import ndtri, stdtrit

        tail = (1 + level) / 2
        return float(stdtrit(dof, tail) if math.isfinite(dof) else ndtri(tail))
    odd = int(dof) % 2
    unit, angle, before = 2 / math.pi if odd else 1.0, 0.0, -1.0
    while angle - before > EPS * angle:
        before, cosine = angle, math.cos(angle)
        term, total = unit * cosine**odd, 0.0
        for k in range(2 + odd, int(dof) + 1, 2):
            total += term
            term *= (k - 1) / k * cosine * cosine
        reached = odd * unit * angle + math.sin(angle) * total
        angle += (level - reached) * cosine / (dof * term)
    return math.sqrt(dof) * math.tan(angle)


class Band(NamedTuple):
    """A prediction with its interval, row by row, in units of the response: float64[n] each.

    Each row's interval has the stated confidence by itself; all of them together have less.
    """

    prediction: Array
    # Of the curve; or the standard deviation of a new observation about the prediction.
    stderr: Array
    low: Array
    high: Array


def curve_variance(jacobian: Array, covariance: Array) -> Array:
    """Return the variance of the curve at each row, JᵀCJ, by the delta method: float64[n].

    Bates & Watts 1988, Nonlinear Regression Analysis and Its Applications, section 2.3.2. J is of
    shape (p, n). A parameter whose entries in C are NaN is not known: where the curve depends on
    it the variance is NaN; else it is never negative.
    """
    known = np.isfinite(np.diag(covariance))
    with np.errstate(all="ignore"):
        # By a root, so that rounding makes no variance negative.
        root = square_root(covariance[np.ix_(known, known)])
        variance = np.square(root.T @ jacobian[known]).sum(axis=0)
    return np.where((jacobian[~known] != 0).any(axis=0), np.nan, variance)


def square_root(covariance: Array) -> Array:
    """Return a matrix R with C = R Rᵀ, whose variances may be of 1e-300 and 1e300."""
    size = np.sqrt(np.diag(covariance))
    scale = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
    return np.asarray(scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def hidden_by_rounding(
    jacobian: Array, covariance: Array, noise: Array | float = 0.0
) -> NDArray[np.bool_]:
    """Whether rounding of C may change JᵀCJ plus a noise by a tenth: bool[n].

    Far from 0 the terms of a slope and of an intercept are large, and cancel.
    """
    errors = np.nan_to_num(np.sqrt(np.diag(covariance)))
    with np.errstate(all="ignore"):
        terms = np.abs(jacobian).T @ errors
        return lost_to_rounding(terms, curve_variance(jacobian, covariance) + noise)


def lost_to_rounding(terms: Array, variance: Array) -> NDArray[np.bool_]:
    """Whether rounding of terms with these errors may change the variance by a tenth: bool[n]."""
    return np.asarray(EPS * terms**2 > variance / 10)


def around(prediction: Array, variance: Array, dof: float, level: float = 0.95) -> Band | None:
    """Return the interval of ``level`` around each prediction; None without degrees of freedom."""
    unit = confidence_interval(0.0, 1.0, dof, level)
    if unit is None:
        return None
    stderr = np.sqrt(variance)
    return Band(prediction, stderr, prediction + unit[0] * stderr, prediction + unit[1] * stderr)
