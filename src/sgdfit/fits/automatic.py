"""The optimizer ``auto`` from end to end: starts, the walk, what it is worth, the result."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.choice import whole
from sgdfit.errors import UsageError
from sgdfit.fits.arguments import (
    AUTO,
    PROFILE,
    WALD,
    as_callable,
    as_steps,
    as_tolerance,
    trace_interval,
)
from sgdfit.fits.assessment import (
    SQUARED,
    Uncertainty,
    distance_to_optimum,
    from_root,
    uncertainty,
)
from sgdfit.fits.composition import Landed, Way, compose, withheld
from sgdfit.fits.descent import Callback
from sgdfit.fits.gauss_newton import Course, Problem, walk
from sgdfit.fits.growth import batch_sizes, sample
from sgdfit.fits.profile import profile_intervals
from sgdfit.fits.profile_trace import Optimum
from sgdfit.fits.squares import sum_squares
from sgdfit.fits.starting import Starts, look_for_starts, missing, searches, with_starts
from sgdfit.fits.surface import FEW
from sgdfit.fits.task import Task
from sgdfit.fits.trust_region import Box
from sgdfit.fits.verdict import pronounce
from sgdfit.kernels.kernel import Kernel, choose_form, make
from sgdfit.models.model import Model
from sgdfit.models.parameters import Assignments
from sgdfit.models.symmetries import canonical, equivalents
from sgdfit.optimization.optimizer import sgd
from sgdfit.results.result import Result
from sgdfit.results.search import Rival, StartSearch
from sgdfit.results.trace import Trace

__all__ = ["Wishes", "solve"]

DEFAULT_STEPS = 2_000
# In standard errors: far below what matters, not far above rounding.
FINE, FINE_OF_MANY = 1e-10, 1e-6
# A minimum is better than another when its loss is lower by more than this share.
BETTER = 1e-6
# Of a few candidates the true loss over more rows decides which to follow.
FOLLOWED = 5
# Neighbouring residuals correlate so many standard deviations beyond chance: no noise.
NOT_NOISE = 3.0
# Compiling is worth while for about this many passes through the rows.
PASSES = 4
UNUSED = sgd()


class Wishes(NamedTuple):
    """The options of `sgdfit.fit` that ``auto`` has, as the user wrote them."""

    start: Assignments
    search: bool | None
    seed: int
    steps: int | None
    tolerance: float | None
    callback: Callback | None
    callback_every: int | None
    trace_every: int | None
    kernel: str
    intervals: str = WALD


class Found(NamedTuple):
    """A walk, and how its start was found."""

    task: Task
    course: Course
    search: StartSearch | None
    better: Rival | None


def solve(task: Task, wishes: Wishes) -> Result:
    """Find starts where none are given, walk to the optimum, and say what came of it."""
    if wishes.search not in (None, True, False):
        raise UsageError(f"search is {wishes.search!r}; it is True, False or None")
    problem = _problem(task, wishes)
    found = _walked(task, problem, wishes)
    return _concluded(found, problem, wishes)


def _problem(task: Task, wishes: Wishes) -> Problem:
    model, rows = task.model, task.chunk.rows
    squared = model.loss.name == SQUARED
    tolerance = as_tolerance(wishes.tolerance)
    every = wishes.callback_every
    low, high = (
        np.array([getattr(model.parameters[name], side) for name in model.free])
        for side in ("low", "high")
    )
    linear = _solved_exactly(model, low, high) if squared else np.arange(0)
    held = np.zeros(len(model.free), dtype=bool)
    return Problem(
        kernel=_kernel(task, wishes),
        names=model.free,
        chunk=task.chunk,
        box=Box(low, high, held),
        linear=linear,
        quadratic=squared and model.is_linear,
        squared=squared,
        seed=wishes.seed,
        steps=as_steps(wishes.steps, DEFAULT_STEPS),
        tolerance=tolerance or (FINE if rows <= FEW else FINE_OF_MANY),
        callback=as_callable(wishes.callback, "callback"),
        callback_every=1 if every is None else whole(every, "callback_every", 1),
    )


def _solved_exactly(model: Model, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which parameters enter linearly and have no bounds."""
    unbounded = np.isinf(low) & np.isinf(high)
    return np.flatnonzero([n in model.linear for n in model.free] & unbounded)


def _kernel(task: Task, wishes: Wishes) -> Kernel:
    rows = task.chunk.rows
    form = choose_form(wishes.kernel, rows, PASSES, rows, "float64")
    # Any optimizer will do: only the kernel's sums and rows are used.
    return make(task.model, UNUSED, form, weighted=task.chunk.weights is not None)


def _walked(task: Task, problem: Problem, wishes: Wishes) -> Found:
    model = task.model
    sought = missing(model)
    if problem.quadratic:
        # From anywhere the first step leads to the minimum.
        task = task._replace(model=with_starts(model, _origin(problem, model), "solved"))
        sizes = batch_sizes(problem.chunk.rows, len(problem.names))
        # The sample's minimum is near enough for all rows, whose sums then lose no digits.
        few = sizes[:1] if len(sizes) > 1 else []
        course = walk(problem, np.array(task.model.start), [*few, sizes[-1]])
        return Found(task, course, None, None)
    if sought and (wishes.search is not False or searches(wishes.start)):
        starts = look_for_starts(task, wishes.seed)
        if starts is not None:
            return _from_search(task, problem, starts)
    course = _from_given(task, problem, np.array(model.start))
    better, facts = _better(task, problem, course, wishes)
    return Found(task, course, facts, better)


def _from_given(task: Task, problem: Problem, start: np.ndarray) -> Course:
    """Walk from the given start, where need be by two ways, and keep the one that leads lower.

    Solving linear parameters exactly is nearly always the shorter way. But it leaves their starts
    aside, and so may come down elsewhere.
    """
    course = walk(problem, start)
    if len(problem.linear) and _suspicious(task, problem, course):
        plain = problem._replace(linear=problem.linear[:0])
        other = walk(plain, start)
        if _loss(other) < _loss(course) * (1 - BETTER):
            course = other
    return _settled_on(problem, course, _nearest(task.model, course))


def _origin(problem: Problem, model: Model) -> np.ndarray:
    given = [model.parameters[n].start if n not in missing(model) else 0.0 for n in model.free]
    return problem.box.clip(np.array(given))


def _from_search(task: Task, problem: Problem, starts: Starts) -> Found:
    """Follow the best of the candidates, from where the search drew it if that leads there."""
    model, sizes = task.model, batch_sizes(problem.chunk.rows, len(problem.names))
    quiet = problem._replace(callback=None)
    k = _best_candidate(quiet, starts)
    raw, polished = (problem.box.clip(points[k]) for points in (starts.raw, starts.polished))
    start, polished, told = _represented(model, raw, polished)
    course = walk(problem if len(sizes) == 1 else quiet, start, sizes[:1])
    ended = course.ending in ("interrupted", "stopped")
    known = _loss(walk(quiet._replace(steps=0), polished, sizes[:1]))
    fell_short = not ended and not _loss(course) <= known * (1 + BETTER)
    if fell_short:
        start = polished
    if fell_short or len(sizes) > 1:
        course = walk(problem, start)
    course = _settled_on(problem, course, canonical(model, course.theta, missing(model))[0])
    task = task._replace(model=with_starts(model, start, "search"))
    return Found(task, course, replace(starts.facts, symmetries=told), None)


def _represented(
    model: Model, raw: np.ndarray, polished: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return both points as they look when the minimum is the canonical one of its equivalents."""
    chosen, told = canonical(model, polished, missing(model))
    for there, start in zip(equivalents(model, polished), equivalents(model, raw), strict=False):
        if np.allclose(there, chosen, rtol=1e-9, atol=0):
            return start, there, told
    return raw, polished, told


def _best_candidate(problem: Problem, starts: Starts) -> int:
    """Return the candidate with the lowest true loss on the first batch."""
    count = min(FOLLOWED, len(starts.polished))
    first = batch_sizes(problem.chunk.rows, len(problem.names))[:1]
    if count == 1 or (problem.squared and problem.chunk.rows <= starts.facts.rows):
        return 0
    quiet = problem._replace(callback=None)
    losses = [_loss(walk(quiet, theta, first)) for theta in starts.polished[:count]]
    return int(np.argmin(losses))


def _loss(course: Course) -> float:
    """Return the mean loss over the last batch; infinite where there is none."""
    if course.quadratic is None or not course.way:
        return math.inf
    return course.quadratic.loss / course.way[-1].rows


def _nearest(model: Model, course: Course) -> np.ndarray:
    """Return the one of the equivalent minima that is most like the given start."""
    start = np.array(model.start)
    nonlinear = np.array([name not in model.linear for name in model.free])
    orbit = equivalents(model, course.theta)
    return min(orbit, key=lambda theta: _unlikeness(theta, start, nonlinear))


def _settled_on(problem: Problem, course: Course, theta: np.ndarray) -> Course:
    """Return the course, ended at an equivalent minimum."""
    if course.quadratic is None or np.array_equal(theta, course.theta):
        return course
    sizes = [problem.chunk.rows]
    again = walk(problem._replace(callback=None, linear=problem.linear[:0]), theta, sizes)
    taken, seen = course.way[-1].step, course.visited
    way = tuple(s._replace(step=s.step + taken, visited=s.visited + seen) for s in again.way[1:])
    return again._replace(
        way=(*course.way, *way), first=course.first, seconds=course.seconds + again.seconds
    )


def _unlikeness(theta: np.ndarray, start: np.ndarray, nonlinear: np.ndarray) -> tuple[int, float]:
    """Return how unlike a start an equivalent minimum is: in order and sign, then in distance."""
    size = np.abs(theta) + np.abs(start)
    apart = float((np.abs(theta - start) / np.where(size > 0, size, 1.0)).sum())
    there, here = theta[nonlinear], start[nonlinear]
    turned = np.sign(np.subtract.outer(there, there)) != np.sign(np.subtract.outer(here, here))
    return int(turned.sum()) + int((np.sign(there) != np.sign(here)).sum()), apart


def _better(
    task: Task, problem: Problem, course: Course, wishes: Wishes
) -> tuple[Rival | None, StartSearch | None]:
    """Look for a better minimum than the given starts led to, where there is reason to."""
    if wishes.search is False or course.ending in ("interrupted", "stopped", "lost"):
        return None, None
    if wishes.search is None and not _suspicious(task, problem, course):
        return None, None
    starts = look_for_starts(task, wishes.seed, all_free=True)
    if starts is None:
        return None, None
    quiet = problem._replace(callback=None)
    other = walk(quiet, problem.box.clip(starts.polished[_best_candidate(quiet, starts)]))
    if not _loss(other) < _loss(course) * (1 - 1e-3) - 1e-300:
        return None, starts.facts
    chosen, _ = canonical(task.model, other.theta, task.model.free)
    values = dict(zip(task.model.free, map(float, chosen), strict=True))
    return Rival(values, _loss(other)), starts.facts


def _suspicious(task: Task, problem: Problem, course: Course) -> bool:
    """Whether a fit looks like a wrong one: it did not arrive, or its residuals are no noise."""
    if course.ending in ("interrupted", "stopped", "lost"):
        return False
    if not course.distance <= 1.0 or not problem.squared:
        return True
    chunk = sample(problem.chunk, FEW // 2, problem.seed)
    rows = problem.kernel.rows(course.theta, chunk)
    residual = rows.target - rows.prediction
    if chunk.weights is not None:
        residual = residual * np.sqrt(chunk.weights)
    order = np.argsort(chunk.columns[0] if task.model.variables else rows.prediction, kind="stable")
    residual = residual[order]
    total = float(residual @ residual)
    if not total > 0:
        return False
    correlated = float(residual[1:] @ residual[:-1]) / total
    return correlated * math.sqrt(len(residual)) > NOT_NOISE


def _concluded(found: Found, problem: Problem, wishes: Wishes) -> Result:
    task, course = found.task, found.course
    theta, quadratic = course.theta, course.quadratic
    if quadratic is None:
        return _without_minimum(found, problem, wishes)
    with np.errstate(all="ignore"):
        evidence = from_root(problem.kernel, task.chunk, theta, quadratic)
        uncertain = uncertainty(task, theta, evidence)
        squares = sum_squares(task, theta, quadratic.loss)
        distance = _distance(task, problem, course)
        # Where no noise is left, standard errors are no measure.
        distance = 0.0 if squares.exact else distance
        status = pronounce(
            task, course, distance, uncertain.undetermined, found.better, wishes.tolerance
        )
    landed = Landed(theta, quadratic.loss, squares, uncertain, distance, status, ())
    if wishes.intervals == PROFILE:
        landed = _profiled(task, problem, landed)
    return compose(task, landed, _way(found, problem, wishes))


def _profiled(task: Task, problem: Problem, landed: Landed) -> Landed:
    """Profile every parameter, where the estimates are those of a minimum."""
    certain = withheld(landed.found, landed.status, landed.distance)
    if certain.covariance is None or landed.squares.perfect:
        return landed
    left = certain.degrees_of_freedom
    noise = landed.loss / left if np.isfinite(left) else 1 / task.mean_weight
    optimum = Optimum(landed.theta, certain.covariance, noise, left)
    profiles = profile_intervals(problem, optimum)
    warnings = (*landed.warnings, *profiles.warnings)
    return landed._replace(intervals=profiles.intervals, warnings=warnings)


def _distance(task: Task, problem: Problem, course: Course) -> float:
    if problem.squared:
        return course.distance
    sums = problem.kernel.sums(course.theta, task.chunk)
    return distance_to_optimum(task.model, problem.kernel, task.chunk, course.theta, sums)


def _without_minimum(found: Found, problem: Problem, wishes: Wishes) -> Result:
    """Return the result of a walk that could not begin."""
    task, theta = found.task, found.course.theta
    status = pronounce(task, found.course, math.inf, (), None, None)
    with np.errstate(all="ignore"):
        loss = problem.kernel.sums(theta, task.chunk).loss
        squares = sum_squares(task, theta, loss)
    landed = Landed(
        theta,
        loss,
        squares,
        Uncertainty(None, f"none: {status.label}", (), 0),
        math.inf,
        status,
        (),
    )
    return compose(task, landed, _way(found, problem, wishes))


def _way(found: Found, problem: Problem, wishes: Wishes) -> Way:
    course, rows = found.course, problem.chunk.rows
    return Way(
        optimizer=AUTO,
        learning_rate="",
        batch_size=None,
        seed=problem.seed,
        kernel=problem.kernel.form,
        dtype="float64",
        steps=course.way[-1].step if course.way else 0,
        epochs=course.visited // rows,
        seconds=course.seconds,
        trace=_trace(problem, course, wishes),
        rows_visited=course.visited,
        search=found.search,
    )


def _trace(problem: Problem, course: Course, wishes: Wishes) -> Trace:
    """Return every state of the walk, or as many as were asked for."""
    every, keep = trace_interval(wishes.trace_every, max(1, len(course.way)))
    last = len(course.way) - 1
    way = [s for i, s in enumerate(course.way) if i == last or (keep and i % every == 0)]
    p, k = len(problem.names), len(way)
    return Trace(
        names=problem.names,
        step=np.array([s.step for s in way], dtype=np.int64),
        epoch=np.array([s.visited // problem.chunk.rows for s in way], dtype=np.int64),
        learning_rate=np.full(k, np.nan),
        loss=np.array([s.loss for s in way]),
        parameters=np.array([s.theta for s in way]).reshape(k, p),
        gradient=np.array([s.gradient for s in way]).reshape(k, p),
        rows=np.array([s.rows for s in way], dtype=np.int64),
        damping=np.array([s.damping for s in way]),
        distance=np.array([s.distance for s in way]),
    )
