"""Confidence intervals by Student's t."""

from __future__ import annotations

import math
from functools import lru_cache

from sgdfit.errors import UsageError
from sgdfit.inference.directions import EPS

__all__ = ["interval", "quantile"]

# Up to so many degrees of freedom Student's quantile is summed.
MOST_SUMMED = 300


def interval(
    value: float, stderr: float | None, dof: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the confidence interval of an estimate by Student's t.

    Parameters
    ----------
    value, stderr : float
        The estimate and its standard error, in one unit.
    dof : float
        Degrees of freedom, rows − parameters; ``inf`` for the normal distribution.
    level : float
        The confidence, between 0 and 1.

    Returns
    -------
    (float, float) or None
        None without degrees of freedom or a finite standard error.

    Raises
    ------
    UsageError
        When ``level`` is not between 0 and 1.

    Examples
    --------
    >>> low, high = interval(2.0, 1.0, 10)
    >>> round(low, 4), round(high, 4)
    (-0.2281, 4.2281)
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level:g}, but a confidence lies between 0 and 1, as 0.95 does")
    if dof <= 0 or stderr is None or not math.isfinite(stderr):
        return None
    half = stderr * quantile(dof, level)
    return value - half, value + half


@lru_cache(maxsize=64)
def quantile(dof: float, level: float = 0.95) -> float:
    """Return Student's t that an absolute value stays below with probability ``level``.

    Examples
    --------
    >>> round(quantile(10), 4), round(quantile(math.inf), 4)
    (2.2281, 1.96)
    """
    if 1 <= dof <= MOST_SUMMED and dof == int(dof):
        return _summed_quantile(int(dof), level)
    # scipy.stats has the same quantiles, and takes half a second to import.
    from scipy.special import ndtri, stdtrit

    tail = (1 + level) / 2
    return float(stdtrit(dof, tail) if math.isfinite(dof) else ndtri(tail))


def _summed_quantile(dof: int, level: float) -> float:
    """Return the same from the finite sum, of positive terms, that few degrees of freedom have.

    With t = √ν tan θ, P(|T| < t) is an angle or nothing, and a sum of powers of cos θ (Abramowitz &
    Stegun 1964, Handbook of Mathematical Functions, 26.7.3-4). It is concave in θ, so that Newton's
    steps from 0 never overshoot. To import SciPy's quantile takes longer than to fit so few rows.
    """
    odd, unit = dof % 2, 2 / math.pi if dof % 2 else 1.0
    angle, before = 0.0, -1.0
    while angle - before > EPS * angle:
        before, cosine = angle, math.cos(angle)
        term, total = unit * cosine**odd, 0.0
        for k in range(2 + odd, dof + 1, 2):
            total += term
            term *= (k - 1) / k * cosine * cosine
        reached = odd * unit * angle + math.sin(angle) * total
        angle += (level - reached) * cosine / (dof * term)
    return math.sqrt(dof) * math.tan(angle)
