"""From a settled task to a result: by ``auto``, or by textbook descent."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from sgdfit.errors import DivergenceWarning
from sgdfit.fitting.assess import assess_descent, assess_walk
from sgdfit.fitting.callbacks import StopRequested, telling_of_passes
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.multistart import Found, find_minimum
from sgdfit.fitting.nonsmooth import find_from_sums, gathered, has_kink, near_enough, takes_sums
from sgdfit.fitting.options import WALD, Options, as_start, trace_interval
from sgdfit.fitting.problem import Problem, Task, examined
from sgdfit.fitting.sampling import FEW, RESERVED_WHOLE
from sgdfit.fitting.sgd import Plan, Rates, decide_rates, descend, is_finite
from sgdfit.fitting.trust_region import Box, box_of
from sgdfit.fitting.uncertainty import distance_to_optimum
from sgdfit.fitting.weights import SANDWICH
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.kernel import Kernel, Sums, choose_form, make
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
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


def solve(task: Task, options: Options) -> Result:
    """Find starts where none are given, walk to the optimum, and say what came of it."""
    problem = _problem(task, options)
    # Far out a formula may overflow; what is not finite is looked for, not warned of.
    with np.errstate(all="ignore"):
        found, problem = _minimum(task, problem, options)
    if _is_cut_short(found, problem):
        return assess_walk(*_of_sample(found, problem), options)
    if _is_called_off(found) and problem.population.whole is None:
        # Whoever options for an end does not wait for further passes.
        return _at_once(found, problem, options)
    # Nor is anybody options again who has options for an end.
    listeners = problem._replace(callback=None) if _is_called_off(found) else problem
    try:
        with telling_of_passes(listeners, found.course):
            found = found._replace(task=examined(found.task))
            return assess_walk(found, problem, options)
    except (KeyboardInterrupt, StopRequested) as end:
        ending = "stopped" if isinstance(end, StopRequested) else "interrupted"
    found = found._replace(course=found.course._replace(ending=ending))
    return _at_once(found, problem, options)


def _minimum(task: Task, problem: Problem, options: Options) -> tuple[Found, Problem]:
    """Find the minimum by the way that the loss and the number of rows ask for."""
    if problem.kinked:
        task, problem = gathered(task, problem)
    if takes_sums(problem, task.model):
        enough = near_enough(problem.rows, task.model)
        near = problem._replace(tolerance=options.tolerance or enough)
        known = find_from_sums(
            task, near, options.search, lambda model: _kernel(task._replace(model=model), options)
        )
        if known is not None:
            return known
    if problem.kinked:
        # Only the rows themselves tell where such a loss has its minimum.
        assert task.chunk.rows == task.population.rows
    return find_minimum(task, problem, options.search), problem


def _at_once(found: Found, problem: Problem, options: Options) -> Result:
    """Return what is known without another pass."""
    if problem.population.is_unseen or not problem.squared:
        return assess_walk(*_of_sample(found, problem), options)
    # What the walk has seen tells the classical errors, without another look.
    task, weighting = found.task, found.task.weighting
    if weighting.covariance == SANDWICH:
        told = (
            "the standard errors are classical: the run ended before the pass through all rows that"
            " those of the sandwich take"
        )
        task = task._replace(warnings=(*task.warnings, told))
    task = task._replace(weighting=weighting._replace(covariance="auto"))
    return assess_walk(found._replace(task=task), problem, options._replace(intervals=WALD))


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


def _problem(task: Task, options: Options) -> Problem:
    model, rows = task.model, task.population.rows
    squared = model.loss.name == SQUARED
    box = box_of(model)
    linear = _solved_exactly(model, box) if squared else np.arange(0)
    return Problem(
        kernel=_kernel(task, options),
        names=model.free,
        population=task.population,
        box=box,
        linear=linear,
        quadratic=squared and model.is_linear,
        squared=squared,
        kinked=has_kink(model),
        seed=options.seed,
        steps=options.steps or DEFAULT_STEPS,
        looks=options.steps or (MOST_LOOKS if rows > RESERVED_WHOLE else DEFAULT_STEPS),
        tolerance=options.tolerance or (FINE if rows <= FEW or has_kink(model) else FINE_OF_MANY),
        callback=options.callback,
        callback_every=options.callback_every or 1,
        visits=[],
    )


def _solved_exactly(model: Model, box: Box) -> np.ndarray:
    """Return which parameters enter linearly and have no bounds."""
    unbounded = np.isinf(box.low) & np.isinf(box.high)
    return np.flatnonzero([n in model.linear for n in model.free] & unbounded)


def _kernel(task: Task, options: Options) -> Kernel:
    rows = task.population.rows
    form = choose_form(options.kernel, rows, PASSES, rows, "float64")
    # Any optimizer will do: only the kernel's sums and rows are used.
    return make(task.model, None, form, weighted=task.population.weighted)


# A batch loss beyond this many times the loss at the start, or of predicting nothing, is no
# noise: the run has left.
DIVERGED = 1e10


def run_textbook(task: Task, options: Options) -> Result:
    """Settle what depends on the rows, run the loop, and say what came of it."""
    model, rows, chosen = task.model, task.population.rows, options.optimizer
    assert chosen is not None  # else auto is asked for
    size, length = options.batch_rows(rows), options.length(rows)
    begin, box = as_start(model.start, options.dtype, model.free), box_of(model)
    form = choose_form(options.kernel, rows, length, size, begin.dtype)
    made = make(model, chosen, form, weighted=task.population.weighted)
    first = task.population.sums(made, begin.astype(np.float64))
    task = examined(task)
    rates = decide_rates(
        model, chosen, size, task.population, first, options.learning_rate, options.schedule, length
    )
    every, keep = trace_interval(options.trace_every, length)
    plan = Plan(
        kernel=made,
        optimizer=chosen,
        schedule=rates.schedule,
        names=model.free,
        start=begin,
        low=box.low,
        high=box.high,
        batch_size=size,
        # Without a finite gradient there is nowhere to step; the conclusion says why.
        steps=length if is_finite(first) else 0,
        shuffle=options.shuffle and size < rows,
        seed=options.seed,
        ceiling=_ceiling(task, first),
        record_every=every,
        keep_trace=keep,
        distance=lambda theta: distance_to_optimum(task, made, theta),
        tolerance=options.tolerance,
        callback=options.callback,
        callback_every=options.callback_every or -(-rows // size),
    )
    _announce(rates, options.announce)
    course = descend(plan, task.population)
    try:
        return assess_descent(task, plan, course, first, rates.diagnosis)
    except KeyboardInterrupt:
        if task.population.whole is None:
            task = task.of_sample("the loss, the distance and the standard errors")
        course = course._replace(ending="interrupted")
        return assess_descent(task, plan, course, first, rates.diagnosis)


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
