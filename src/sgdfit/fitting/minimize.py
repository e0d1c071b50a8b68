"""From a settled task to a result: by ``auto``, or by textbook descent."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sgdfit.choice import switch, whole
from sgdfit.errors import DivergenceWarning, UsageError
from sgdfit.fitting.assess import Asked, conclude, result_of
from sgdfit.fitting.callbacks import Callback, CalledOff, heard
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.multistart import Found, find_minimum
from sgdfit.fitting.nonsmooth import find_from_sums, gathered, has_kink, near_enough, takes_sums
from sgdfit.fitting.options import (
    WALD,
    as_batch_size,
    as_callable,
    as_dtype,
    as_kernel,
    as_length,
    as_start,
    as_steps,
    as_tolerance,
    callback_interval,
    trace_interval,
)
from sgdfit.fitting.problem import Problem, Task, examined
from sgdfit.fitting.sampling import FEW, RESERVED_WHOLE
from sgdfit.fitting.sgd import Plan, Rates, decide_rates, descend, is_finite
from sgdfit.fitting.trust_region import Box
from sgdfit.fitting.uncertainty import distance_to_optimum
from sgdfit.fitting.weights import SANDWICH
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.kernel import Kernel, Sums, choose_form, make
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer, sgd
from sgdfit.optimizers.schedule import AnySchedule
from sgdfit.result.result import Result

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


# A batch loss beyond this many times the loss at the start, or of predicting nothing, is no
# noise: the run has left.
DIVERGED = 1e10


class Options(NamedTuple):
    """The options of `sgdfit.fit` that textbook descent has, as the user wrote them."""

    optimizer: Optimizer
    learning_rate: float | AnySchedule | None
    schedule: str | AnySchedule | None
    batch_size: int | str | None
    steps: int | None
    epochs: int | None
    shuffle: bool
    seed: int
    tolerance: float | None
    announce: Callable[[Diagnosis], object] | None
    callback: Callback | None
    callback_every: int | None
    trace_every: int | None
    kernel: str
    dtype: str


def run_textbook(task: Task, asked: Options) -> Result:
    """Settle the options, run the loop, and say what came of it."""
    model, rows, chosen = task.model, task.population.rows, asked.optimizer
    size = as_batch_size("full" if asked.batch_size is None else asked.batch_size, rows)
    length = as_length(asked.steps, asked.epochs, rows, size)
    begin = as_start(model.start, as_dtype(asked.dtype), model.free)
    form = choose_form(as_kernel(asked.kernel, chosen), rows, length, size, begin.dtype)
    made = make(model, chosen, form, weighted=task.population.weighted)
    first = task.population.sums(made, begin.astype(np.float64))
    task = examined(task)
    rates = decide_rates(
        model, chosen, size, task.population, first, asked.learning_rate, asked.schedule, length
    )
    every, keep = trace_interval(asked.trace_every, length)
    plan = Plan(
        kernel=made,
        optimizer=chosen,
        schedule=rates.schedule,
        names=model.free,
        start=begin,
        low=np.array([model.parameters[name].low for name in model.free]),
        high=np.array([model.parameters[name].high for name in model.free]),
        batch_size=size,
        # Without a finite gradient there is nowhere to step; the conclusion says why.
        steps=length if is_finite(first) else 0,
        shuffle=switch(asked.shuffle, "shuffle") and size < rows,
        seed=asked.seed,
        ceiling=_ceiling(task, first),
        record_every=every,
        keep_trace=keep,
        distance=lambda theta: distance_to_optimum(task, made, theta),
        tolerance=as_tolerance(asked.tolerance),
        callback=as_callable(asked.callback, "callback"),
        callback_every=callback_interval(asked.callback_every, rows, size),
    )
    _announce(rates, as_callable(asked.announce, "announce"))
    course = descend(plan, task.population)
    try:
        return conclude(task, plan, course, first, rates.diagnosis)
    except KeyboardInterrupt:
        if task.population.whole is None:
            task = task.of_sample("the loss, the distance and the standard errors")
        course = course._replace(ending="interrupted")
        return conclude(task, plan, course, first, rates.diagnosis)


def _announce(rates: Rates, announce: Callable[[Diagnosis], object] | None) -> None:
    """Tell of the diagnosis before the run, at least where it foresees divergence."""
    if announce is not None:
        announce(rates.diagnosis)
    elif rates.too_fast:
        # Shown at the line that called `fit`.
        warnings.warn(rates.diagnosis.notes[0], DivergenceWarning, stacklevel=4)


def _ceiling(task: Task, first: Sums) -> float:
    """Return the batch loss that no noise explains."""
    seen, rows = task.population.survey, task.population.rows
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (seen.second + 2 * seen.about * seen.first) / rows + seen.about**2
        ceiling = DIVERGED * (abs(first.loss) / first.weight + scale)
    return ceiling if np.isfinite(ceiling) and ceiling > 0 else float(np.finfo(np.float64).max)
