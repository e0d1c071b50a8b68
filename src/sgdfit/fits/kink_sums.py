"""The minimum of a loss with a kink over any number of rows, from sums over them.

Its gradient is a sum over rows like any other. Its curvature is not: rows by themselves do not
bend, only the density of residuals near zero does, which a window about zero counts. With that in
the place of second derivatives, Newton steps on the true gradient lead from a sample's minimum to
that of all rows: what a step leaves is the chance in how many residuals change their sign on the
way, of the order of the square root of the step (stochastic equicontinuity; Pollard 1991,
Econometric Theory 7(2), 186-199). That convolution with a window smooths the loss so little that
errors do not feel it is shown by Fernandes, Guerre & Horta 2021, J. Bus. Econ. Stat. 39(1),
338-357, and He, Pan, Tan & Zhou 2023, J. Econometrics 232(2), 367-388. Here the steps alone use
it, so that nothing is left of its bias: where they end, the gradient of the loss itself tells.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fits.audience import heard
from sgdfit.fits.gauss_newton import CalledOff
from sgdfit.fits.growth import FEW, RESERVED_WHOLE, sample
from sgdfit.fits.kinks import bandwidth, is_continuous, kink_at, sides_of
from sgdfit.fits.means import FORGETFUL
from sgdfit.fits.population import in_memory
from sgdfit.fits.problem import Course, Problem, Stand
from sgdfit.fits.routes import Found, find_minimum
from sgdfit.fits.task import Task
from sgdfit.inference.covariance import relative_offset
from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.inference.steps import step_within
from sgdfit.kernels.kernel import Chunk, Kernel, make
from sgdfit.models.loss import with_window
from sgdfit.models.model import Model
from sgdfit.optimization.optimizer import sgd

__all__ = ["find_from_sums", "gathered", "near_enough", "takes_sums"]

# From the minimum of such a sample the steps begin: 12 standard errors of 10⁷ rows away. Up to so
# many rows they begin from that of a smaller one.
SAMPLE, DIRECTLY = 1 << 16, 1 << 20
# Steps on it end at this share of its standard errors, those on all rows at this one of theirs.
NEAR, ENOUGH = 0.1, 0.008
# So many looks at its rows come near enough, also where steps by rows have slowed down by then.
MOST_LOOKS = 60
# Two or three steps are the rule. Shorter ones than this share of a whole one are lost in jumps.
MOST_PASSES, SHORTEST = 12, 1 / 16
# Points whose distances differ by less than this factor are as near as one another.
SIMILAR = 4.0
# More sample errors than this away from the minimum, the sample was not like the rows.
MISLED = 10.0


def gathered(task: Task, problem: Problem) -> tuple[Task, Problem]:
    """Return the same with all rows in memory, where they are no more than the reserve holds."""
    population = task.population
    if population.whole is not None or population.rows > RESERVED_WHOLE:
        return task, problem
    some = population.some
    inside = in_memory(task.model, some, some, population.threads, population.journal)
    return task._replace(population=inside), problem._replace(population=inside)


def takes_sums(problem: Problem, model: Model) -> bool:
    """Whether there are too many rows to look at each of them in every step."""
    return problem.kinked and problem.rows > RESERVED_WHOLE and sides_of(model) is not None


def near_enough(rows: int, model: Model) -> float:
    """Return how near to the minimum, in its standard errors, the gradient tells of it.

    At the minimum as many rows as there are parameters lie on the curve, and beside it each of them
    has one slope or the other.

    Examples
    --------
    >>> from sgdfit.models.model import build
    >>> model = build("y = a*x + b", ["x", "y"], loss="quantile(q=0.9)")
    >>> near_enough(10**7, model), round(near_enough(200_000, model), 6)
    (0.008, 0.010541)
    """
    sides = sides_of(model)
    assert sides is not None  # or sums would not tell
    jump = (sides.above - sides.below) ** 2 / (4 * -sides.below * sides.above)
    return max(ENOUGH, 2 * math.sqrt(jump * len(model.free) / rows))


def find_from_sums(
    task: Task, problem: Problem, search: bool | None, kernel_of: Callable[[Model], Kernel]
) -> tuple[Found, Problem] | None:
    """Walk to the minimum of all rows; None where residuals are no continuum, so that none leads.

    Parameters
    ----------
    search : bool or None
        As `sgdfit.fits.routes.find_minimum` takes it.
    kernel_of : function of a model
        Returns the kernel that adds up all rows.

    Returns
    -------
    (Found, Problem)
        The walk, and the problem with a kernel that gives the curvature.
    """
    population, begun = problem.population, time.perf_counter()
    before = population.visited
    while True:
        is_scattered = population.is_scattered
        some = population.sample(SAMPLE, problem.seed)
        found = _on_sample(task, problem, some, search)
        if found is None:
            return None
        course, model = found.course, found.task.model
        if _is_over(course, problem):
            return found, problem
        view = _view(model, problem, some, course.theta, kernel_of)
        if view is None:
            return None
        walked = _Walk(problem, view, course, before, begun).go(retry=not is_scattered)
        if walked is not None:
            problem = problem._replace(kernel=view.kernel, windowed=True)
            return found._replace(course=walked), problem


def _on_sample(task: Task, problem: Problem, some: Chunk, search: bool | None) -> Found | None:
    """Find the minimum of a sample, by its rows and then by sums; the task returned is the whole.

    None where residuals are no continuum.
    """
    few = sample(some, FEW, problem.seed)
    inside = in_memory(task.model, few, few, task.population.threads, FORGETFUL)
    part = task._replace(population=inside, rows=few.rows, counted=few.rows)
    enough = max(NEAR, problem.tolerance)
    near = problem._replace(population=inside, tolerance=enough, looks=MOST_LOOKS)
    found = find_minimum(part, near, search)
    problem.visits.append(inside.visited)
    whole = found.task._replace(population=task.population, rows=task.rows, counted=task.counted)
    found, course = found._replace(task=whole), found.course
    if _is_over(course, problem) or problem.rows <= DIRECTLY:
        return found
    larger = in_memory(task.model, some, some, task.population.threads, FORGETFUL)
    near = near._replace(population=larger)
    view = _view(whole.model, near, some, course.theta, _in_numpy)
    if view is None:
        return None
    walked = _Walk(near, view, course, 0, time.perf_counter()).go(retry=False)
    problem.visits.append(larger.visited)
    return found if walked is None or walked.quadratic is None else found._replace(course=walked)


def _is_over(course: Course, problem: Problem) -> bool:
    """Whether the run ends on the sample: at once, as the user wished, or where no loss is."""
    if course.quadratic is None or course.ending in ("interrupted", "stopped"):
        return True
    return course.ending == "steps" and course.way[-1].step >= problem.steps


def _in_numpy(model: Model) -> Kernel:
    return make(model, sgd(), "numpy")


class _View(NamedTuple):
    """How all rows are looked at.

    Attributes
    ----------
    kernel : Kernel
        Its second derivative of the loss is the jump of the slope over a window about zero.
    scores : float64[p, p]
        Those of all rows, as a sample has them.
    """

    kernel: Kernel
    scores: np.ndarray


def _view(
    model: Model,
    problem: Problem,
    some: Chunk,
    theta: np.ndarray,
    kernel_of: Callable[[Model], Kernel],
) -> _View | None:
    kink = kink_at(model, problem.kernel, some, theta)
    if not is_continuous(kink):
        return None
    width = bandwidth(kink, problem.rows)
    if not (width > 0 and math.isfinite(width)):
        return None
    # Rounded to a power of the root of 2, so that a compiled kernel serves many fits.
    width = 2.0 ** (round(2 * math.log2(width)) / 2)
    curvature = (kink.above - kink.below) / (2 * width)
    kernel = kernel_of(replace(model, loss=with_window(model.loss, width, curvature)))
    scores = _in_numpy(model).scores(theta, some) * (problem.rows / some.rows)
    return _View(kernel, scores)


class _Lead(NamedTuple):
    """A point that all rows have seen, Newton's step from there, and its distance."""

    theta: np.ndarray
    move: np.ndarray
    distance: float


class _Walk:
    """Newton steps on all rows, kept apart from the loop so that an interrupt finds them whole."""

    def __init__(
        self, problem: Problem, view: _View, course: Course, before: int, begun: float
    ) -> None:
        self.problem, self.view, self.begun, self.before = problem, view, begun, before
        self.start = course
        self.way = list(course.way)
        self.best: tuple[Stand, Quadratic] | None = None
        self.leads: list[_Lead] = []

    def go(self, retry: bool) -> Course | None:
        """Walk to the minimum; None where the sample was not like the rows, with ``retry``."""
        theta, share = self.start.theta, 1.0
        for _ in range(MOST_PASSES):
            try:
                with heard(self.problem, self._course("")):
                    here = self._look(theta)
            except KeyboardInterrupt:
                return self._course("interrupted")
            except CalledOff:
                return self._course("stopped")
            if retry and self._is_misled(here):
                return None
            is_nearest = self._is_nearest(here)
            if self.best is None:
                return self._course("lost")
            stand, _ = self.best
            if stand.distance <= self.problem.tolerance:
                return self._course("arrived")
            is_near = here is not None and here[0].distance <= SIMILAR * stand.distance
            share = 1.0 if is_nearest or is_near else share / 2
            if share < SHORTEST or not math.isfinite(stand.distance):
                break
            if self.way[-1].step >= self.problem.steps:
                return self._course("steps")
            theta = self._ahead(share)
        return self._course("rests")

    def _look(self, theta: np.ndarray) -> tuple[Stand, Quadratic] | None:
        """Return how all rows see a point; None where the loss is not finite."""
        problem, view = self.problem, self.view
        sums = problem.population.sums(view.kernel, theta)
        if not (math.isfinite(sums.loss) and np.isfinite(sums.gradient).all()):
            return None
        free = problem.box.free(theta, sums.gradient)
        chosen = np.ix_(free, free)
        distance = 0.0
        if free.any():
            curvature, scores = sums.curvature[chosen], view.scores[chosen]
            gradient = sums.gradient[free]
            distance = relative_offset(gradient, curvature, theta[free], 1.0, scores)
        stand = Stand(
            step=self.way[-1].step + 1 if self.way else 0,
            rows=problem.rows,
            loss=sums.loss / problem.rows,
            theta=theta,
            gradient=sums.gradient / problem.rows,
            damping=0.0,
            distance=distance,
            visited=self.start.visited + problem.population.visited - self.before,
        )
        self.way.append(stand)
        quadratic = from_sums(sums.gradient, sums.curvature, sums.loss, 2 * sums.loss)
        step = step_within(quadratic, quadratic.norms, free, math.inf)
        self.leads.append(_Lead(theta, step.move, distance))
        return stand, quadratic

    def _is_misled(self, here: tuple[Stand, Quadratic] | None) -> bool:
        """Whether a sample of few long runs led astray, where rows from all over are known now."""
        if not self.problem.population.is_scattered:
            return False
        return here is None or here[0].distance > MISLED * math.sqrt(self.problem.rows / SAMPLE)

    def _is_nearest(self, here: tuple[Stand, Quadratic] | None) -> bool:
        if here is None or (self.best is not None and here[0].distance >= self.best[0].distance):
            return False
        self.best = here
        return True

    def _ahead(self, share: float) -> np.ndarray:
        """Return the next point: where Newton's step leads, or a share of it.

        Near the minimum the chance in the rows between leads each step astray; the mean of where
        steps from several points lead is better than any of them.
        """
        assert self.best is not None  # the caller has looked
        least = self.best[0].distance
        near = [lead for lead in self.leads if lead.distance <= SIMILAR * least]
        if share < 1:
            near = [lead for lead in near if lead.distance == least]
        weights = np.array([1 / lead.distance for lead in near])
        moved = [lead.theta + share * lead.move for lead in near]
        return self.problem.box.clip(np.average(moved, axis=0, weights=weights))

    def _course(self, ending: str) -> Course:
        """Return how the walk went until here."""
        start = self.start
        theta, quadratic, distance = start.theta, start.quadratic, start.distance
        if self.best is not None:
            stand, quadratic = self.best
            theta, distance = stand.theta, stand.distance
        elif ending == "lost":
            quadratic = None
        seconds = time.perf_counter() - self.begun
        way = tuple(self.way)
        return start._replace(
            theta=theta, quadratic=quadratic, distance=distance, ending=ending, way=way,
            seconds=seconds, beyond=None,
        )  # fmt: skip
