"""Where a descent came down: which of the states on its way the estimates are taken from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.fitting.course import Course
from sgdfit.fitting.descent import Plan
from sgdfit.fitting.population import Population
from sgdfit.kernel.kernel import Sums

__all__ = ["Landing", "is_finite", "land"]


class Landing(NamedTuple):
    """The state of which a run's result speaks.

    Attributes
    ----------
    theta : float64[p]
        The estimates.
    sums : Sums
        Over all rows, there.
    step : int
        Steps taken until there.
    lost : bool
        Whether the run went on to where loss or gradient are not finite.
    """

    theta: np.ndarray
    sums: Sums
    step: int
    lost: bool


def land(plan: Plan, course: Course, population: Population) -> Landing:
    """Return the end of a run; its last finite state where it has left; the best if interrupted.

    States on the way are known as far as they were recorded.
    """
    low, high = (np.asarray(bound, dtype=plan.start.dtype) for bound in (plan.low, plan.high))
    theta = np.asarray(course.theta, dtype=np.float64)
    # A bound rounded to float32 is still the bound.
    theta = np.where(theta == low, plan.low, np.where(theta == high, plan.high, theta))
    end = Landing(theta, population.sums(plan.kernel, theta), course.state.step, False)
    if not is_finite(end.sums):
        return _last_finite(plan, course, population, end)
    full = plan.batch_size >= population.rows
    if course.ending == "interrupted" and full and not course.state.averaged:
        return _best(plan, course, population, end)
    return end


def _last_finite(plan: Plan, course: Course, population: Population, end: Landing) -> Landing:
    """Walk back, ever faster, to where all rows have a finite loss and gradient."""
    at, back = len(course.records), 1
    while not is_finite(end.sums) and at > 0:
        at, back = max(0, at - back), 2 * back
        end = _recorded(plan, course, population, at)._replace(lost=True)
    return end._replace(lost=True)


def _best(plan: Plan, course: Course, population: Population, end: Landing) -> Landing:
    if not len(course.records):
        return end
    best = int(np.argmin(course.records[:, 2]))
    lowest = course.records[best, 2]
    better = lowest < end.sums.loss / end.sums.weight
    return _recorded(plan, course, population, best) if better else end


def _recorded(plan: Plan, course: Course, population: Population, at: int) -> Landing:
    theta = np.array(course.records[at, 3 : 3 + len(plan.start)])
    return Landing(theta, population.sums(plan.kernel, theta), int(course.records[at, 0]), False)


def is_finite(sums: Sums) -> bool:
    """Whether descent can go on from there: loss and gradient are finite."""
    return bool(np.isfinite(sums.loss) and np.isfinite(sums.gradient).all())
