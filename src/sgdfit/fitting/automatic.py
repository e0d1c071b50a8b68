"""The optimizer ``auto`` from end to end: what is asked for, the way there, the result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.choice import whole
from sgdfit.errors import UsageError
from sgdfit.fitting.arguments import WALD, as_callable, as_steps, as_tolerance
from sgdfit.fitting.arrival import Asked, result_of
from sgdfit.fitting.audience import CalledOff, heard
from sgdfit.fitting.descent import Callback
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.growth import FEW, RESERVED_WHOLE
from sgdfit.fitting.kink_sums import find_from_sums, gathered, near_enough, takes_sums
from sgdfit.fitting.kinks import has_kink
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.routes import Found, find_minimum
from sgdfit.fitting.task import Task, examined
from sgdfit.fitting.trust_region import Box
from sgdfit.fitting.weighting import SANDWICH
from sgdfit.kernel.kernel import Kernel, choose_form, make
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.optimizers import sgd
from sgdfit.result.result import Result

__all__ = ["Wishes", "solve"]

DEFAULT_STEPS = 2_000
# Where rows are many two or three steps that look at all of them are enough; with so many it is no
# question of steps.
MOST_LOOKS = 40
# In standard errors: of few rows not far above rounding, of many far below what matters. There the
# distance is foreseen rather than looked at, which saves a pass and errs on the far side.
FINE, FINE_OF_MANY = 1e-11, 1e-3
# Compiling is worth while for about this many passes through the rows.
PASSES = 4
UNUSED = sgd()


class Wishes(NamedTuple):
    """The options of `sgdfit.fit` that ``auto`` has, as the user wrote them."""

    search: bool | None
    seed: int
    steps: int | None
    tolerance: float | None
    callback: Callback | None
    callback_every: int | None
    trace_every: int | None
    kernel: str
    intervals: str = WALD


def solve(task: Task, wishes: Wishes) -> Result:
    """Find starts where none are given, walk to the optimum, and say what came of it."""
    if wishes.search not in (None, True, False):
        raise UsageError(f"search is {wishes.search!r}; it is True, False or None")
    problem = _problem(task, wishes)
    # Far out a formula may overflow; what is not finite is looked for, not warned of.
    with np.errstate(all="ignore"):
        found, problem = _minimum(task, problem, wishes)
    asked = Asked(as_tolerance(wishes.tolerance), wishes.intervals, wishes.trace_every)
    if _is_cut_short(found, problem):
        return result_of(*_of_sample(found, problem), asked)
    if _is_called_off(found) and problem.population.whole is None:
        # Whoever asked for an end does not wait for further passes.
        return _at_once(found, problem, asked)
    # Nor is anybody asked again who has asked for an end.
    listeners = problem._replace(callback=None) if _is_called_off(found) else problem
    try:
        with heard(listeners, found.course):
            found = found._replace(task=examined(found.task))
            return result_of(found, problem, asked)
    except (KeyboardInterrupt, CalledOff) as end:
        ending = "stopped" if isinstance(end, CalledOff) else "interrupted"
    found = found._replace(course=found.course._replace(ending=ending))
    return _at_once(found, problem, asked)


def _minimum(task: Task, problem: Problem, wishes: Wishes) -> tuple[Found, Problem]:
    """Find the minimum by the way that the loss and the number of rows ask for."""
    if problem.kinked:
        task, problem = gathered(task, problem)
    if takes_sums(problem, task.model):
        enough = near_enough(problem.rows, task.model)
        near = problem._replace(tolerance=as_tolerance(wishes.tolerance) or enough)
        known = find_from_sums(
            task, near, wishes.search, lambda model: _kernel(task._replace(model=model), wishes)
        )
        if known is not None:
            return known
    if problem.kinked:
        # Only the rows themselves tell where such a loss has its minimum.
        assert task.chunk.rows == task.population.rows
    return find_minimum(task, problem, wishes.search), problem


def _at_once(found: Found, problem: Problem, asked: Asked) -> Result:
    """Return what is known without another pass."""
    if problem.population.is_unseen or not problem.squared:
        return result_of(*_of_sample(found, problem), asked)
    # What the walk has seen tells the classical errors, without another look.
    task, weighting = found.task, found.task.weighting
    if weighting.covariance == SANDWICH:
        told = (
            "the standard errors are classical: the run ended before the pass through all rows that"
            " those of the sandwich take"
        )
        task = task._replace(warnings=(*task.warnings, told))
    task = task._replace(weighting=weighting._replace(covariance="auto"))
    return result_of(found._replace(task=task), problem, asked._replace(intervals=WALD))


def _is_called_off(found: Found) -> bool:
    return found.course.ending in ("interrupted", "stopped")


def _is_cut_short(found: Found, problem: Problem) -> bool:
    """Whether a run ended by what the user said before it had seen all rows."""
    course = found.course
    ended = _is_called_off(found) or course.ending == "steps"
    return ended and bool(course.way) and course.way[-1].rows < problem.rows


def _of_sample(found: Found, problem: Problem) -> tuple[Found, Problem]:
    """Let a run that was cut short speak of the random rows that it has in memory."""
    before = found.course
    # Estimates of all rows have their distance, but no errors without another pass.
    is_of_all = bool(before.way) and before.way[-1].rows == problem.rows
    what = "the loss" if is_of_all else "the estimates"
    task = found.task.of_sample(f"{what} and the standard errors")
    visits = [*problem.visits, problem.population.visited]
    problem = problem._replace(population=task.population, callback=None, steps=0, visits=visits)
    with np.errstate(all="ignore"):
        seen = walk(problem, before.theta, [task.rows])
    taken = before.way[-1].step if before.way else 0
    last = tuple(s._replace(step=taken, visited=s.visited + before.visited) for s in seen.way[-1:])
    course = seen._replace(
        way=(*before.way, *last),
        ending=before.ending,
        first=before.first,
        seconds=before.seconds + seen.seconds,
    )
    distance = before.distance if is_of_all else None
    return found._replace(task=task, course=course, distance=distance), problem


def _problem(task: Task, wishes: Wishes) -> Problem:
    model, rows = task.model, task.population.rows
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
        population=task.population,
        box=Box(low, high, held),
        linear=linear,
        quadratic=squared and model.is_linear,
        squared=squared,
        kinked=has_kink(model),
        seed=wishes.seed,
        steps=as_steps(wishes.steps, DEFAULT_STEPS),
        looks=as_steps(wishes.steps, MOST_LOOKS if rows > RESERVED_WHOLE else DEFAULT_STEPS),
        tolerance=tolerance or (FINE if rows <= FEW or has_kink(model) else FINE_OF_MANY),
        callback=as_callable(wishes.callback, "callback"),
        callback_every=1 if every is None else whole(every, "callback_every", 1),
        visits=[],
    )


def _solved_exactly(model: Model, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which parameters enter linearly and have no bounds."""
    unbounded = np.isinf(low) & np.isinf(high)
    return np.flatnonzero([n in model.linear for n in model.free] & unbounded)


def _kernel(task: Task, wishes: Wishes) -> Kernel:
    rows = task.population.rows
    form = choose_form(wishes.kernel, rows, PASSES, rows, "float64")
    # Any optimizer will do: only the kernel's sums and rows are used.
    return make(task.model, UNUSED, form, weighted=task.population.weighted)
