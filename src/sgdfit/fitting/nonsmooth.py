"""Losses with a kink and no curvature, such as mae: is a point their minimum, and how sure is it.

Their slope jumps where the residual changes its sign, so a sum over rows bends only through the
density of residuals near zero.

Over many rows the minimum is found from sums over them.
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

from sgdfit.fitting.callbacks import StopRequested, telling_of_passes
from sgdfit.fitting.dataset import in_memory
from sgdfit.fitting.multistart import Found, find_minimum
from sgdfit.fitting.options import FORGETFUL
from sgdfit.fitting.problem import Problem, Task, TraceStep, WalkOutcome
from sgdfit.fitting.sampling import FEW, RESERVED_WHOLE, sample
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.covariance import relative_offset
from sgdfit.inference.quadratic import Quadratic, from_sums, step_within
from sgdfit.kernel.kernel import Chunk, Kernel, Rows, make
from sgdfit.model.loss import PREDICTION, TARGET, with_window
from sgdfit.model.model import Model

# Rows whose residual is below this share of the typical one lie on the curve.
ON_CURVE = 1e-4
# Where more than this share of many rows does, the response is rounded, or counts.
MOST_ON_CURVE = 0.005
LEVEL = 0.95


class Kink(NamedTuple):
    """The rows near a minimum, and the slopes of the loss on both sides of a residual of zero."""

    rows: Rows
    weight: np.ndarray
    residual: np.ndarray
    below: float
    above: float


def has_kink(model: Model) -> bool:
    """Whether the loss is made of straight pieces."""
    return bool(model.bend == 0)


class Sides(NamedTuple):
    """The slopes of a loss below and above a residual of zero, where that is its only kink."""

    below: float
    above: float


def sides_of(model: Model) -> Sides | None:
    """Return the slopes on both sides; None where the loss has other kinks, or none.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> sides_of(build("y = a*x", ["x", "y"], loss="mae"))
    Sides(below=-1.0, above=1.0)
    """
    reach = np.logspace(-30, 30, 241)
    residual = np.concatenate([-reach, reach])
    found = []
    for target in (0.0, 1.0, -1e3):
        at = {PREDICTION: residual + target, TARGET: target}
        slope = np.broadcast_to(evaluate(model.slope, at), len(residual))
        # What the target swallows is no residual.
        found.append(np.where(at[PREDICTION] == target, np.nan, slope).reshape(2, -1))
    slopes = np.concatenate(found, axis=1)
    low, high = np.nanmin(slopes, axis=1), np.nanmax(slopes, axis=1)
    if not np.array_equal(low, high) or not low[0] < 0 < low[1]:
        return None
    return Sides(float(low[0]), float(low[1]))


def blur_of(rows: int, model: Model) -> float:
    """Return how near to the minimum a gradient over so many rows can tell it, in standard errors.

    So far away from it, the rows whose residuals change their sign on the way are as many as make
    their chance as large as the gradient: sqrt(p / (n q (1 - q))) for the quantile q.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x + b", ["x", "y"], loss="quantile(q=0.9)")
    >>> round(blur_of(200_000, model), 6)
    0.010541
    """
    sides = sides_of(model)
    assert sides is not None  # or sums would not tell
    jump = (sides.above - sides.below) ** 2 / (-sides.below * sides.above)
    return math.sqrt(jump * len(model.free) / rows)


def likely_distance(measured: float, blur: float) -> float:
    """Return the distance d to the minimum where the gradient says ``measured``: d² = m² + d·blur.

    The chance in the gradient at a distance d has the standard deviation sqrt(d·blur), so that a
    small gradient alone does not say that the minimum is as near.

    Examples
    --------
    >>> likely_distance(0.0, 0.01), likely_distance(2.0, 0.0)
    (0.01, 2.0)
    """
    return (blur + math.hypot(blur, 2 * measured)) / 2


def kink_at(model: Model, kernel: Kernel, chunk: Chunk, theta: np.ndarray) -> Kink:
    """Look at the rows at ``theta``."""
    rows = kernel.rows(theta, chunk)
    residual = rows.prediction - rows.target
    step = ON_CURVE * float(np.abs(residual).mean())
    below, above = (
        float(evaluate(model.slope, {PREDICTION: side, TARGET: 0.0})) for side in (-step, step)
    )
    weight = np.ones(chunk.rows) if chunk.weights is None else chunk.weights
    return Kink(rows, weight, residual, below, above)


def is_continuous(kink: Kink) -> bool:
    """Whether residuals are spread like a continuum, of which hardly any lies on the curve."""
    size = np.abs(kink.residual)
    share = float((size <= ON_CURVE * size.mean()).mean())
    return kink.above > kink.below and share <= MOST_ON_CURVE


def least_gradient(kink: Kink, free: np.ndarray) -> np.ndarray | None:
    """Return the smallest gradient that the loss has here in the free parameters, float64[q].

    Rows on the curve may take any slope between those of both sides; at the minimum some choice of
    these makes the gradient zero (Koenker & Bassett 1978, Econometrica 46(1), theorem 3.3). None
    where the loss has no kink at zero, or no row lies on the curve.
    """
    size = np.abs(kink.residual)
    on = size <= ON_CURVE * float(size.mean())
    jacobian = kink.rows.jacobian[free]
    scales = np.linalg.norm(jacobian, axis=1)
    usable = scales.all() and np.isfinite(scales).all() and kink.above > kink.below
    if not (on.any() and usable):
        return None
    jacobian, slopes = jacobian / scales[:, None], kink.weight * kink.rows.slope
    middle, half = (kink.above + kink.below) / 2, (kink.above - kink.below) / 2
    columns = jacobian[:, on] * (kink.weight[on] * half)
    fixed = jacobian[:, ~on] @ slopes[~on] + columns.sum(axis=1) * (middle / half)
    shares = np.linalg.lstsq(columns, -fixed, rcond=1e-10)[0]
    return np.asarray((fixed + columns @ np.clip(shares, -1, 1)) * scales)


def smoothed_curvature(kink: Kink) -> np.ndarray | None:
    """Return the curvature of the expected loss, float64[p, p], from the residuals near zero.

    Powell's estimate (Koenker 2005, Quantile Regression, section 3.4.2) with the bandwidth of Hall
    and Sheather (1988, J. R. Stat. Soc. B 50(3), 381-391). None where no scatter is left.
    """
    width = bandwidth(kink, len(kink.residual)) if kink.above > kink.below else 0.0
    if not width > 0:
        return None
    near = np.abs(kink.residual) <= width
    jacobian = kink.rows.jacobian[:, near]
    jump = (kink.above - kink.below) / (2 * width)
    return np.asarray((jacobian * (kink.weight[near] * jump)) @ jacobian.T)


def bandwidth(kink: Kink, count: int) -> float:
    """Return half the width of the window that counts the residuals of so many rows near zero."""
    from scipy.special import ndtri

    residual = kink.residual
    share = min(max(-kink.below / (kink.above - kink.below), 0.01), 0.99)
    at, tail = float(ndtri(share)), float(ndtri((1 + LEVEL) / 2))
    density = math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    reach = count ** (-1 / 3) * tail ** (2 / 3) * (1.5 * density**2 / (2 * at**2 + 1)) ** (1 / 3)
    reach = min(reach, 0.9 * share, 0.9 * (1 - share))
    quarters = np.quantile(residual, [0.25, 0.75])
    spread = min(float(residual.std()), float(quarters[1] - quarters[0]) / 1.34)
    return spread * float(ndtri(share + reach) - ndtri(share - reach)) / 2


# Two or three steps are the rule. Shorter ones than this share of a whole one are lost in jumps.
MOST_PASSES, SHORTEST = 12, 1 / 16
# Points whose distances differ by less than this factor are as near as one another.
SIMILAR = 4.0


class View(NamedTuple):
    """How all rows are looked at."""

    # Its second derivative of the loss is the jump of the slope over a window about zero.
    kernel: Kernel
    scores: np.ndarray  # float64[p, p]: those of all rows, as a sample has them
    blur: float  # see `sgdfit.fitting.nonsmooth.blur_of`


def view_from(
    model: Model,
    problem: Problem,
    some: Chunk,
    theta: np.ndarray,
    kernel_of: Callable[[Model], Kernel],
) -> View | None:
    """Return how to look at all rows, as a sample has them; None where no window could count them.

    Parameters
    ----------
    model : Model
    problem : Problem
        Of all rows.
    some : Chunk
        The sample.
    theta : float64[p]
        Where its residuals are looked at.
    kernel_of : function of a model
        Returns the kernel that adds up all rows.
    """
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
    scores = in_numpy(model).scores(theta, some) * (problem.rows / some.rows)
    return View(kernel, scores, blur_of(problem.rows, model))


def in_numpy(model: Model) -> Kernel:
    """Return the kernel that needs no compiling."""
    return make(model, None, "numpy")


class _Lead(NamedTuple):
    """A point that all rows have seen, Newton's step from there, and its distance."""

    theta: np.ndarray
    move: np.ndarray
    distance: float


class Walk:
    """Newton steps on all rows, kept apart from the loop so that an interrupt finds them whole."""

    def __init__(
        self, problem: Problem, view: View, course: WalkOutcome, before: int, begun: float
    ) -> None:
        self.problem, self.view, self.begun, self.before = problem, view, begun, before
        self.start = course
        self.way = list(course.way)
        self.best: tuple[TraceStep, Quadratic] | None = None
        self.leads: list[_Lead] = []

    def go(self, astray: float = math.inf) -> WalkOutcome | None:
        """Walk to the minimum.

        Parameters
        ----------
        astray : float
            From farther away, in standard errors, another sample is the better start.

        Returns
        -------
        WalkOutcome or None
            None where that is so, and the first pass has taken rows from all over along.
        """
        theta, share = self.start.theta, 1.0
        for _ in range(MOST_PASSES):
            try:
                with telling_of_passes(self.problem, self._course("")):
                    here = self._look(theta)
            except KeyboardInterrupt:
                return self._course("interrupted")
            except StopRequested:
                return self._course("stopped")
            if self._is_misled(here, astray):
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

    def _look(self, theta: np.ndarray) -> tuple[TraceStep, Quadratic] | None:
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
            measured = relative_offset(gradient, curvature, theta[free], 1.0, scores)
            distance = likely_distance(measured, view.blur)
        stand = TraceStep(
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

    def _is_misled(self, here: tuple[TraceStep, Quadratic] | None, astray: float) -> bool:
        """Whether a sample of few long runs led astray, where rows from all over are known now."""
        if not (self.problem.population.is_scattered and math.isfinite(astray)):
            return False
        return here is None or here[0].distance > astray

    def _is_nearest(self, here: tuple[TraceStep, Quadratic] | None) -> bool:
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

    def _course(self, ending: str) -> WalkOutcome:
        """Return how the walk went until here."""
        start = self.start
        theta, quadratic, distance = start.theta, start.quadratic, start.distance
        way = tuple(self.way)
        if self.best is not None:
            stand, quadratic = self.best
            theta, distance = stand.theta, stand.distance
            if ending and way[-1].theta is not theta:
                # The last row of a trace is where the run ended.
                way = (*way, stand._replace(step=way[-1].step, visited=way[-1].visited))
        elif ending == "lost":
            quadratic = None
        seconds = time.perf_counter() - self.begun
        return start._replace(
            theta=theta, quadratic=quadratic, distance=distance, ending=ending, way=way,
            seconds=seconds, beyond=None,
        )  # fmt: skip


# From the minimum of such a sample the steps begin: 12 standard errors of 10⁷ rows away. Up to so
# many rows they begin from that of a smaller one.
SAMPLE, DIRECTLY = 1 << 16, 1 << 20
# Steps on it end at this share of its standard errors, those on all rows at this one of theirs.
NEAR, ENOUGH = 0.1, 0.008
# So many looks at its rows come near enough, also where steps by rows have slowed down by then.
MOST_LOOKS = 60
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
    """Return how near to the minimum, in its standard errors, the steps are to come."""
    blur = blur_of(rows, model)
    return likely_distance(max(ENOUGH, blur), blur)


def find_from_sums(
    task: Task, problem: Problem, search: bool | None, kernel_of: Callable[[Model], Kernel]
) -> tuple[Found, Problem] | None:
    """Walk to the minimum of all rows; None where residuals are no continuum, so that none leads.

    Parameters
    ----------
    search : bool or None
        As `sgdfit.fitting.multistart.find_minimum` takes it.
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
        view = view_from(model, problem, some, course.theta, kernel_of)
        if view is None:
            return None
        astray = math.inf if is_scattered else MISLED * math.sqrt(problem.rows / SAMPLE)
        walked = Walk(problem, view, course, before, begun).go(astray)
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
    view = view_from(whole.model, near, some, course.theta, in_numpy)
    if view is None:
        return None
    walked = Walk(near, view, course, 0, time.perf_counter()).go()
    problem.visits.append(larger.visited)
    return found if walked is None or walked.quadratic is None else found._replace(course=walked)


def _is_over(course: WalkOutcome, problem: Problem) -> bool:
    """Whether the run ends on the sample: at once, as the user wished, or where no loss is."""
    if course.quadratic is None or course.ending in ("interrupted", "stopped"):
        return True
    return course.ending == "steps" and course.way[-1].step >= problem.steps
