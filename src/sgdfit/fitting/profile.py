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
from sgdfit.fitting.problem import Outcome, Problem
from sgdfit.fitting.trust_region import Box
from sgdfit.inference.intervals import interval
from sgdfit.inference.quadratic import Quadratic, step_within
from sgdfit.inference.spectrum import EPS

# The refits' distance to their minima, in standard errors.
NEAR = 1e-4
# The ends of intervals, as a share of their distance to the estimate.
PRECISE = 1e-8
# A bracket so narrow around a jump of the profile tells where its end is.
NARROW = 1e-7
# Of τ², by which a refit has to lie below the minimum to be a lower one.
LOWER = 1e-4
# A refit that is farther from its minimum, in standard errors, tells too large a τ.
SETTLED = 0.01
# The next step outwards is at most so many times the last one.
GROWTH = 2.0
# So often in a row the threshold was too high for what there is still to climb.
LEVEL = 4
# From here on tangents are not believed.
MANY_REFITS, MOST_REFITS = 20, 80


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


class Side(NamedTuple):
    """One direction in which one parameter is moved, and the facts that all its refits need.

    Attributes
    ----------
    problem : Problem
    which : int
        The parameter's place.
    sign : float
        1.0 above the estimate, −1.0 below.
    optimum : Optimum
    least : float
        S(θ̂), the sum of squares at the optimum.
    quantile : float
        The threshold of |τ|.
    """

    problem: Problem
    which: int
    sign: float
    optimum: Optimum
    least: float
    quantile: float

    @property
    def name(self) -> str:
        """The parameter's."""
        return self.problem.names[self.which]

    @property
    def error(self) -> float:
        """Its standard error."""
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


class Refit(NamedTuple):
    """A point of the profile: how far out, where the others are, τ and its slope there."""

    distance: float
    theta: np.ndarray
    tau: float
    slope: float
    settled: bool


class End(NamedTuple):
    """Where a side ends: ``crossed``, ``open``, ``bound``, ``domain`` or ``lower``."""

    value: float
    why: str
    last: Refit
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


def follow(side: Side) -> End:
    """Step outwards along the profile until it crosses the threshold, or never will."""
    before, near = None, Refit(0.0, side.optimum.theta, 0.0, 1 / side.error, True)
    pace, level, settled = side.quantile * side.error / 2, 0, True
    for count in range(MOST_REFITS):
        distance = min(near.distance + pace, side.limit)
        far = _refit(side, distance, _ahead(side, before, near, distance), near)
        if far is None:
            if level or pace <= NARROW * max(near.distance, side.error):
                return _outside(side, near, settled, level > 0)
            pace /= 4
            continue
        settled = settled and far.settled
        if far.tau < 0:
            return End(math.nan, "lower", far, settled)
        if _hits(side, far) is not None:
            return End(side.value(far.distance), "crossed", far, settled)
        if far.tau > side.quantile:
            return _between(side, near, far, settled)
        if distance >= side.limit:
            return End(side.value(distance), "bound", far, settled)
        level = level + 1 if _levels_off(side, far) else 0
        if level >= LEVEL:
            break
        pace = _pace(side, far, distance - near.distance, count)
        before, near = near, far
    return End(side.sign * math.inf, "open", near, settled)


def _outside(side: Side, near: Refit, settled: bool, level: bool) -> End:
    """Return the end where no finite loss lies further out."""
    if level:
        return End(side.sign * math.inf, "open", near, settled)
    return End(side.value(near.distance), "domain", near, settled)


def _pace(side: Side, far: Refit, last: float, count: int) -> float:
    """Return the step to where the tangent of τ crosses the threshold, if that is not too far."""
    climb = side.quantile - far.tau
    wide = GROWTH * last
    return min(climb / far.slope, wide) if far.slope > 0 and count < MANY_REFITS else wide


def _levels_off(side: Side, far: Refit) -> bool:
    """Whether τ, which climbs as c − d/θ or slower, will not come up to the threshold."""
    gain = far.slope * far.distance
    return gain > -1e-6 * side.quantile and far.tau + 3 * gain < side.quantile


def _hits(side: Side, refit: Refit) -> float | None:
    """Return the distance at which the tangent crosses the threshold, where that is close by."""
    if not refit.slope > 0:
        return None
    off = (side.quantile - refit.tau) / refit.slope
    return refit.distance + off if abs(off) <= PRECISE * refit.distance else None


def _between(side: Side, near: Refit, far: Refit, settled: bool) -> End:
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
            return End(math.nan, "lower", middle, settled)
        hit = _hits(side, middle)
        if hit is not None:
            return End(side.value(hit), "crossed", middle, settled)
        if middle.tau < side.quantile:
            near = middle
        else:
            far = middle
        halve = far.distance - near.distance > width / 2
    return End(side.value(near.distance), "crossed", near, settled)


def _crossing(side: Side, near: Refit, far: Refit) -> float:
    """Return where the tangent at the end that is closer to the threshold crosses it."""
    closer = min(near, far, key=lambda end: abs(end.tau - side.quantile))
    middle = (near.distance + far.distance) / 2
    if not closer.slope > 0:
        return middle
    distance = closer.distance + (side.quantile - closer.tau) / closer.slope
    return distance if near.distance < distance < far.distance else middle


def _ahead(side: Side, before: Refit | None, near: Refit, distance: float) -> np.ndarray:
    """Return where the other parameters will be if they go on as they went."""
    if before is not None:
        share = (distance - near.distance) / (near.distance - before.distance)
        return np.asarray(near.theta + share * (near.theta - before.theta))
    column = side.optimum.covariance[:, side.which]
    along = np.where(np.isfinite(column), column, 0.0) / column[side.which]
    return np.asarray(near.theta + side.sign * distance * along)


def _refit(side: Side, distance: float, start: np.ndarray, near: Refit) -> Refit | None:
    """Fit the other parameters; None where no finite loss is found."""
    problem, i = side.problem, side.which
    problem = _without(problem, i)
    for there in (start, near.theta):
        theta = there.copy()
        theta[i] = side.value(distance)
        course = _walked(problem, theta)
        if course.quadratic is not None:
            break
    else:
        return None
    squares, rise = _at_the_minimum(course.quadratic, course.theta, problem.box, i)
    noise = side.optimum.noise
    excess = (squares - side.least) / noise
    below = LOWER + 64 * EPS * side.least / noise
    tau = -1.0 if excess < -below else math.sqrt(max(excess, 0.0))
    slope = side.sign * rise / (2 * noise * tau) if tau > 0 else 1 / side.error
    return Refit(distance, course.theta, tau, slope, course.distance <= SETTLED)


def _walked(problem: Problem, theta: np.ndarray) -> Outcome:
    """Walk to the minimum; where solving linear parameters does not get there, without."""
    rows, plain = [problem.rows], problem.linear[:0]
    course = walk(problem, theta, rows)
    if course.quadratic is not None and course.distance > SETTLED and len(problem.linear):
        course = walk(problem._replace(linear=plain), course.theta, rows)
    if course.ending == "interrupted":
        raise KeyboardInterrupt
    return course


def _without(problem: Problem, held: int) -> Problem:
    """Return the problem of the other parameters, which may all be linear."""
    which = problem.box.held.copy()
    which[held] = True
    linear = problem.linear[problem.linear != held]
    return problem._replace(
        box=problem.box.holding(which),
        linear=linear,
        quadratic=problem.quadratic or len(linear) == len(which) - int(which.sum()),
    )


def _at_the_minimum(
    quadratic: Quadratic, theta: np.ndarray, box: Box, held: int
) -> tuple[float, float]:
    """Return S̃ and its derivative, as if the others had arrived at their minimum.

    Where parameters are strongly correlated, what is left of the others' gradient would drown that
    of the held one.
    """
    others = box.free(theta, quadratic.gradient)
    norms = np.linalg.norm(quadratic.root, axis=0)
    step = step_within(quadratic, np.where(norms > 0, norms, 1.0), others, np.inf)
    there = quadratic.offset + quadratic.root @ step.move
    return quadratic.loss + quadratic.change(step.move), float(quadratic.root[:, held] @ there)
