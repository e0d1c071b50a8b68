"""Profile-likelihood intervals: one parameter is held, the others refitted, until the fit is worse.

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

from sgdfit.fits.gauss_newton import Problem, walk
from sgdfit.inference.covariance import interval
from sgdfit.inference.directions import EPS

__all__ = ["Optimum", "Profiles", "profile_intervals"]

# The refits' distance to their minima, in standard errors; of τ it costs the square.
NEAR = 1e-5
# The ends of intervals, as a share of their distance to the estimate.
PRECISE = 1e-8
# A bracket so narrow around a jump of the profile tells where its end is.
NARROW = 1e-7
# Of τ², by which a refit has to lie below the minimum to be a lower one.
LOWER = 1e-4
# The next step outwards is at most so many times the last one.
GROWTH = 2.0
# So often in a row the threshold was too high for what there is still to climb.
LEVEL = 4
MOST_REFITS = 80


class Optimum(NamedTuple):
    """A least-squares fit, and how sure it is.

    Attributes
    ----------
    theta : float64[p]
        The estimates.
    covariance : float64[p, p]
        NaN in the rows of parameters that stand on a bound.
    noise : float
        s², the variance of a row of weight one.
    degrees_of_freedom : float
        Infinite where s² is known.
    """

    theta: np.ndarray
    covariance: np.ndarray
    noise: float
    degrees_of_freedom: float


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


class _Side(NamedTuple):
    """One direction in which one parameter is moved, and the facts that all its refits need."""

    problem: Problem
    which: int
    sign: float
    optimum: Optimum
    least: float
    quantile: float

    @property
    def name(self) -> str:
        return self.problem.names[self.which]

    @property
    def error(self) -> float:
        return math.sqrt(self.optimum.covariance[self.which, self.which])

    @property
    def limit(self) -> float:
        """How far the bound is."""
        box, i = self.problem.box, self.which
        bound = box.high[i] if self.sign > 0 else box.low[i]
        return float(abs(bound - self.optimum.theta[i]))

    def value(self, distance: float) -> float:
        """Return the parameter at a distance from its estimate."""
        if distance == self.limit:
            box = self.problem.box
            return float((box.high if self.sign > 0 else box.low)[self.which])
        return float(self.optimum.theta[self.which] + self.sign * distance)


class _Refit(NamedTuple):
    """A point of the profile: how far out, where the others are, τ and its slope there."""

    distance: float
    theta: np.ndarray
    tau: float
    slope: float
    settled: bool


class _End(NamedTuple):
    """Where a side ends: ``crossed``, ``open``, ``bound``, ``domain`` or ``lower``."""

    value: float
    why: str
    last: _Refit
    settled: bool


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
            sides = [_Side(quiet, int(i), s, optimum, least, span[1]) for s in (-1.0, 1.0)]
            ends = []
            for side in sides:
                end = _end(side)
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
    course = walk(problem, optimum.theta, [problem.chunk.rows])
    if course.ending == "interrupted" or course.quadratic is None:
        raise KeyboardInterrupt
    return course.quadratic.loss


def _end(side: _Side) -> _End:
    """Step outwards along the profile until it crosses the threshold, or never will."""
    before, near = None, _Refit(0.0, side.optimum.theta, 0.0, 1 / side.error, True)
    pace, level, settled = side.quantile * side.error / 2, 0, True
    for _ in range(MOST_REFITS):
        distance = min(near.distance + pace, side.limit)
        far = _refit(side, distance, _ahead(side, before, near, distance), near)
        if far is None:
            if level or pace <= NARROW * max(near.distance, side.error):
                return _outside(side, near, settled, level > 0)
            pace /= 4
            continue
        settled = settled and far.settled
        if far.tau < 0:
            return _End(math.nan, "lower", far, settled)
        if _hits(side, far) is not None:
            return _End(side.value(far.distance), "crossed", far, settled)
        if far.tau > side.quantile:
            return _between(side, near, far, settled)
        if distance >= side.limit:
            return _End(side.value(distance), "bound", far, settled)
        level = level + 1 if _levels_off(side, far) else 0
        if level >= LEVEL:
            break
        pace = _pace(side, far, distance - near.distance)
        before, near = near, far
    return _End(side.sign * math.inf, "open", near, settled)


def _outside(side: _Side, near: _Refit, settled: bool, level: bool) -> _End:
    """Return the end where no finite loss lies further out."""
    if level:
        return _End(side.sign * math.inf, "open", near, settled)
    return _End(side.value(near.distance), "domain", near, settled)


def _pace(side: _Side, far: _Refit, last: float) -> float:
    """Return the step to where the tangent of τ crosses the threshold, if that is not too far."""
    climb = side.quantile - far.tau
    return min(climb / far.slope, GROWTH * last) if far.slope > 0 else GROWTH * last


def _levels_off(side: _Side, far: _Refit) -> bool:
    """Whether τ, which climbs as c − d/θ or slower, will not come up to the threshold."""
    gain = far.slope * far.distance
    return gain > -1e-6 * side.quantile and far.tau + 3 * gain < side.quantile


def _hits(side: _Side, refit: _Refit) -> float | None:
    """Return the distance at which the tangent crosses the threshold, where that is close by."""
    if not refit.slope > 0:
        return None
    off = (side.quantile - refit.tau) / refit.slope
    return refit.distance + off if abs(off) <= PRECISE * refit.distance else None


def _between(side: _Side, near: _Refit, far: _Refit, settled: bool) -> _End:
    """Find the crossing in a bracket: Newton's steps on τ, which is nearly straight, or halves."""
    halve = False
    for _ in range(MOST_REFITS):
        width = far.distance - near.distance
        if width <= NARROW * far.distance:
            break
        distance = near.distance + width / 2 if halve else _crossing(side, near, far)
        share = (distance - near.distance) / width
        start = near.theta + share * (far.theta - near.theta)
        middle = _refit(side, distance, start, near)
        if middle is None:
            return _outside(side, near, settled, False)
        settled = settled and middle.settled
        if middle.tau < 0:
            return _End(math.nan, "lower", middle, settled)
        hit = _hits(side, middle)
        if hit is not None:
            return _End(side.value(hit), "crossed", middle, settled)
        if middle.tau < side.quantile:
            near = middle
        else:
            far = middle
        halve = far.distance - near.distance > width / 2
    return _End(side.value(near.distance), "crossed", near, settled)


def _crossing(side: _Side, near: _Refit, far: _Refit) -> float:
    """Return where the tangent at the end that is closer to the threshold crosses it."""
    closer = min(near, far, key=lambda end: abs(end.tau - side.quantile))
    middle = (near.distance + far.distance) / 2
    if not closer.slope > 0:
        return middle
    distance = closer.distance + (side.quantile - closer.tau) / closer.slope
    return distance if near.distance < distance < far.distance else middle


def _ahead(side: _Side, before: _Refit | None, near: _Refit, distance: float) -> np.ndarray:
    """Return where the other parameters will be if they go on as they went."""
    if before is not None:
        share = (distance - near.distance) / (near.distance - before.distance)
        return np.asarray(near.theta + share * (near.theta - before.theta))
    column = side.optimum.covariance[:, side.which]
    along = np.where(np.isfinite(column), column, 0.0) / column[side.which]
    return np.asarray(near.theta + side.sign * distance * along)


def _refit(side: _Side, distance: float, start: np.ndarray, near: _Refit) -> _Refit | None:
    """Fit the other parameters; None where no finite loss is found."""
    problem, i = side.problem, side.which
    held = problem.box.held.copy()
    held[i] = True
    problem = problem._replace(
        box=problem.box._replace(held=held), linear=problem.linear[problem.linear != i]
    )
    for there in (start, near.theta):
        theta = there.copy()
        theta[i] = side.value(distance)
        course = walk(problem, theta, [problem.chunk.rows])
        if course.ending == "interrupted":
            raise KeyboardInterrupt
        if course.quadratic is not None:
            break
    else:
        return None
    excess = (course.quadratic.loss - side.least) / side.optimum.noise
    rounding = 64 * EPS * side.least / side.optimum.noise
    tau = -1.0 if excess < -(LOWER + rounding) else math.sqrt(max(excess, 0.0))
    rise = side.sign * float(course.quadratic.gradient[i]) / (2 * side.optimum.noise)
    slope = rise / tau if tau > 0 else 1 / side.error
    return _Refit(distance, course.theta, tau, slope, course.ending != "steps")


def _remarks(side: _Side, end: _End) -> list[str]:
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
            f"refits on the profile of {name} reached the limit of {side.problem.steps:,} steps, so"
            f" its interval may be too narrow {above}; raise steps"
        )
    return told


def _lower_minimum(side: _Side, end: _End) -> str:
    """Say that the fit was not at its minimum, and where a lower one is."""
    course = walk(side.problem, end.last.theta, [side.problem.chunk.rows])
    pairs = zip(side.problem.names, map(float, course.theta), strict=True)
    start = ", ".join(f"{name}={value:.6g}" for name, value in pairs)
    lower = math.nan if course.quadratic is None else course.quadratic.loss
    return (
        f"the fit was not at its minimum: a refit with {side.name} ="
        f" {side.value(end.last.distance):.6g} led to a sum of squares {lower / side.least:.6g}"
        f" times as large; no intervals are given; start there: start='{start}'"
    )
