"""Profile-likelihood intervals: how far each parameter can go while the others follow it.

The end of an interval is where τ(θ) = sign(θ − θ̂) √((S̃(θ) − S(θ̂))/s²) is the quantile of Student's
t; S̃(θ) is the least sum of squares with the parameter held at θ (Bates & Watts 1988, Nonlinear
Regression Analysis and Its Applications, section 6.1; Venzon & Moolgavkar 1988, Applied Statistics
37(1), 87-94). For a linear model that is the t interval; for another it need not be symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.profile_trace import End, Optimum, Side, follow
from sgdfit.inference.intervals import interval

__all__ = ["Profiles", "profile_intervals"]

# The refits' distance to their minima, in standard errors.
NEAR = 1e-4


class Profiles(NamedTuple):
    """Intervals by profile likelihood.

    Attributes
    ----------
    intervals : mapping of str to (float, float) or None
        Of each free parameter; infinite on a side where the data exclude no value.
    warnings : tuple of str
        On which sides an interval is open or cut, and why.
    """

    intervals: Mapping[str, tuple[float, float] | None]
    warnings: tuple[str, ...]


def profile_intervals(problem: Problem, optimum: Optimum, level: float = 0.95) -> Profiles:
    """Return the profile-t interval of every free parameter that does not stand on a bound.

    Parameters
    ----------
    problem : Problem
        Of squared residuals.
    optimum : Optimum
        Its minimum.
    level : float
        The confidence.
    """
    span = interval(0.0, 1.0, optimum.degrees_of_freedom, level)
    quiet = problem._replace(callback=None, tolerance=NEAR)
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(problem.names)
    determined = np.flatnonzero(np.diag(optimum.covariance) > 0)
    if span is None or not optimum.noise > 0 or not len(determined):
        return Profiles(intervals, ())
    told: list[str] = []
    try:
        least = _least(quiet, optimum)
        for i in determined:
            sides = [Side(quiet, int(i), s, optimum, least, span[1]) for s in (-1.0, 1.0)]
            ends = []
            for side in sides:
                end = follow(side)
                if end.why == "lower":
                    nothing = dict.fromkeys(problem.names)
                    return Profiles(nothing, (*told, _lower_minimum(side, end)))
                told.extend(_remarks(side, end))
                ends.append(end.value)
            intervals[problem.names[i]] = (ends[0], ends[1])
    except KeyboardInterrupt:
        left = [problem.names[i] for i in determined if intervals[problem.names[i]] is None]
        told.append(f"interrupted before the profile intervals of {', '.join(left)} were found")
    return Profiles(intervals, tuple(told))


def _least(problem: Problem, optimum: Optimum) -> float:
    """Return the sum of squares at the minimum, which estimates may miss by their tolerance."""
    course = walk(problem, optimum.theta, [problem.rows])
    if course.ending == "interrupted" or course.quadratic is None:
        raise KeyboardInterrupt
    return course.quadratic.loss


def _remarks(side: Side, end: End) -> list[str]:
    """Say where an interval ends for another reason than that the fit gets worse."""
    name, above = side.name, "above" if side.sign > 0 else "below"
    told = []
    if end.why == "open":
        told.append(
            f"the 95% interval of {name} is open {above}: refits with {name} as far as"
            f" {side.value(end.last.distance):.4g} describe the data about as well"
        )
    if end.why == "bound":
        told.append(
            f"the 95% interval of {name} is cut at its bound {end.value:.6g}, which the data do not"
            " exclude"
        )
    if end.why == "domain":
        told.append(
            f"the 95% interval of {name} is cut at {end.value:.6g}: refits beyond have no finite"
            " loss"
        )
    if not end.settled:
        told.append(
            f"not every refit on the profile of {name} reached its minimum, so that the 95%"
            f" interval of {name} may be too narrow {above}"
        )
    return told


def _lower_minimum(side: Side, end: End) -> str:
    """Say that the fit was not at its minimum, and where a lower one is."""
    course = walk(side.problem, end.last.theta, [side.problem.rows])
    pairs = zip(side.problem.names, map(float, course.theta), strict=True)
    start = ", ".join(f"{name}={value:.6g}" for name, value in pairs)
    lower = math.nan if course.quadratic is None else course.quadratic.loss
    return (
        f"the fit was not at its minimum: a refit with {side.name} ="
        f" {side.value(end.last.distance):.6g} led to a sum of squares {lower / side.least:.6g}"
        f" times as large; no intervals are given; start there: start='{start}'"
    )
