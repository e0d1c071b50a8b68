"""The end of a fit: one last look at the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.gauss_newton import condition
from sgdfit.fitting.multistart import Found, misfit_warnings
from sgdfit.fitting.nonsmooth import (
    blur_of,
    has_kink,
    kink_at,
    least_gradient,
    likely_distance,
    smoothed_curvature,
)
from sgdfit.fitting.options import AUTO, PROFILE, Options, trace_interval
from sgdfit.fitting.problem import Problem, Task, TraceStep, WalkOutcome
from sgdfit.fitting.profile import Optimum, Profiles, profile_intervals
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.sgd import DescentOutcome, EndState, Plan, end_state
from sgdfit.fitting.status import ARRIVED, DescentEnd, WalkEnd, centred, far_columns
from sgdfit.fitting.uncertainty import (
    Assessment,
    Evidence,
    RunInfo,
    Uncertainty,
    compose,
    distance_to_optimum,
    from_root,
    from_sums,
    is_hidden,
    sum_squares,
    uncertainty_of,
    undetermined_warning,
    withheld,
    without,
)
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.covariance import as_spectrum, relative_offset
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.intervals import quantile
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import named
from sgdfit.kernel.kernel import Sums
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers import describe as describe_optimizer
from sgdfit.optimizers.schedule import Schedule
from sgdfit.optimizers.schedule import describe as describe_schedule
from sgdfit.result.result import Result
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

# Singular values of the scaled root that differ so much leave half of the digits.
HALF_THE_DIGITS = 1e8
# A parameter whose whole value changes the curve by less than this share has no effect.
WEAK = 1e-10
# Distances by the scores of a sample differ from those of all rows by less than this.
SAMPLED = 1.25


def assess_walk(found: Found, problem: Problem, options: Options) -> Result:
    """Return the `Result` of a walk."""
    if found.course.quadratic is None:
        assessed = _nowhere(found, problem)
    else:
        assessed = _at_minimum(found, problem, options.tolerance)
        if options.intervals == PROFILE:
            assessed = _profiled(found.task, problem, assessed)
    return compose(found.task, assessed, _way_of_walk(found, problem, options.trace_every))


def _at_minimum(found: Found, problem: Problem, reach: float | None) -> Assessment:
    task, course = found.task, found.course
    theta, quadratic = course.theta, course.quadratic
    assert quadratic is not None  # the caller has looked
    if problem.windowed and reach is None:
        # A sample's scores measured it on the way.
        reach = max(ARRIVED, problem.tolerance * SAMPLED)
    with np.errstate(all="ignore"):
        evidence = _evidence(task, problem, theta, quadratic)
        uncertain = uncertainty_of(task, theta, evidence)
        squares = sum_squares(task, problem.kernel, theta, quadratic.loss)
        distance = found.distance
        if distance is None:
            distance = _distance(task, problem, course, evidence)
        # Where no noise is left, standard errors are no measure.
        if squares.exact and _rewards_exactness(task, problem, theta):
            distance = 0.0
        down = () if problem.squared else _downhill(problem, theta, evidence)
        undetermined = uncertain.undetermined
        end = WalkEnd(task, course, distance, undetermined, down, found.better, reach)
        status = end.status()
        told = _told(task, problem, course, uncertain, status)
    if status.name == "local_minimum" and distance > ARRIVED:
        # Short of a minimum there is neither an error nor a distance to tell.
        uncertain = uncertain.withheld("none: the estimates are not at a minimum")
        distance = math.inf
    if uncertain.undetermined and status.name != "converged":
        # Flat ground tells neither errors nor a distance.
        uncertain = uncertain.withheld(without(uncertain.undetermined))
        distance = math.inf
    if squares.exact and uncertain.covariance is not None:
        weak = _without_effect(task.model, theta, quadratic)
        gone = weak | weak[:, None]
        uncertain = uncertain._replace(covariance=np.where(gone, np.nan, uncertain.covariance))
    return Assessment(theta, quadratic.loss, squares, uncertain, distance, status, told)


def _evidence(task: Task, problem: Problem, theta: np.ndarray, quadratic: Quadratic) -> Evidence:
    """Return what the rows tell; the curvature that steered the steps is not that of all losses."""
    kernel, population = problem.kernel, problem.population
    if problem.squared:
        return from_root(kernel, population, theta, quadratic)
    evidence = from_sums(kernel, population, theta, population.sums(kernel, theta))
    if not has_kink(task.model) or problem.windowed:
        return evidence
    curvature = smoothed_curvature(kink_at(task.model, kernel, task.chunk, theta))
    if curvature is None:
        return evidence
    return evidence._replace(curvature=lambda free: curvature[np.ix_(free, free)])


def _without_effect(model: Model, theta: np.ndarray, quadratic: Quadratic) -> np.ndarray:
    """Return which parameters curve nothing but rounding, bool[p], where the data are perfect."""
    nonlinear = np.array([name not in model.linear for name in model.free])
    effect = np.abs(theta) * quadratic.norms
    return np.asarray(nonlinear & (effect <= WEAK * effect.max(initial=0.0)))


def _rewards_exactness(task: Task, problem: Problem, theta: np.ndarray) -> bool:
    """Whether the loss is least where the residuals are zero, as any usual one is."""
    if problem.squared:
        return True
    some = problem.population.sample(FEW, problem.seed)
    spread = float(np.ptp(problem.kernel.rows(theta, some).target)) or 1.0
    below, above = (
        float(evaluate(task.model.slope, {PREDICTION: side, TARGET: 0.0}))
        for side in (-spread, spread)
    )
    return below < 0 < above


def _downhill(problem: Problem, theta: np.ndarray, evidence: Evidence) -> tuple[str, ...]:
    """Return the directions along which the loss bends down, so that this is no minimum."""
    free = problem.box.free(theta, evidence.gradient)
    curvature = evidence.curvature(free)
    if not free.any() or (isinstance(curvature, np.ndarray) and not np.isfinite(curvature).all()):
        return ()
    spectrum = as_spectrum(curvature)
    bent = spectrum.values < -spectrum.tolerance
    names = [name for name, chosen in zip(problem.names, free, strict=True) if chosen]
    return named(names, spectrum.vectors[:, bent].T, spectrum.scales)


def _told(
    task: Task, problem: Problem, course: WalkOutcome, found: Uncertainty, status: Status
) -> tuple[str, ...]:
    """Return what the user should know of a fit that can be used."""
    assert course.quadratic is not None  # the caller has looked
    if status.name not in ("converged", "local_minimum"):
        return ()
    open_ones = undetermined_warning(found.undetermined, stepped_names(task.model.prediction))
    return (
        *open_ones,
        *_nearly_hidden(task, course.quadratic, found),
        *misfit_warnings(task, problem, course),
    )


def _profiled(task: Task, problem: Problem, assessed: Assessment) -> Assessment:
    """Profile every parameter, where the estimates are those of a minimum."""
    certain = withheld(assessed.found, assessed.status, assessed.distance)
    if certain.covariance is None or assessed.squares.perfect:
        return assessed
    left = certain.degrees_of_freedom
    noise = assessed.loss / left if np.isfinite(left) else 1 / task.mean_weight
    optimum = Optimum(assessed.theta, certain.covariance, noise, left)
    profiles = profile_intervals(problem, optimum)
    warnings = (*assessed.warnings, *profiles.warnings, *_narrow(problem, optimum, profiles))
    return assessed._replace(intervals=profiles.intervals, warnings=warnings)


def _narrow(problem: Problem, optimum: Optimum, profiles: Profiles) -> tuple[str, ...]:
    """Name intervals so much narrower than the curvature says that a refit may be amiss."""
    errors = np.sqrt(np.diag(optimum.covariance))
    usual = 2 * quantile(optimum.degrees_of_freedom) * errors
    narrow = [
        name
        for name, width in zip(problem.names, usual, strict=True)
        if (ends := profiles.intervals.get(name)) is not None and ends[1] - ends[0] < width / 2
    ]
    if not narrow:
        return ()
    return (
        f"the profile of {', '.join(narrow)} is less than half as wide as the standard error says:"
        " a refit on the way may have missed its minimum, so compare with intervals='wald'",
    )


def _nearly_hidden(task: Task, quadratic: Quadratic, found: Uncertainty) -> tuple[str, ...]:
    """Say where rounding takes more than half of the digits, and how to write it otherwise."""
    overflown = found.covariance is not None and bool(np.isinf(found.covariance).any())
    lost = 0.0 if quadratic.regular else condition(quadratic)
    if found.undetermined or not (overflown or lost > HALF_THE_DIGITS):
        return ()
    middles = far_columns(task)
    if not middles:
        return ()
    names, digits = ", ".join(middles), math.log10(min(lost, 1e16)) if lost else 0
    what = "a parameter overflows" if overflown else f"rounding costs {digits:.0f} of 16 digits"
    return (
        f"{names} lies far from 0, where {what}; fit"
        f" '{centred(task.model.formula, middles)}' instead",
    )


def _distance(task: Task, problem: Problem, course: WalkOutcome, evidence: Evidence) -> float:
    model, theta, kernel = task.model, course.theta, problem.kernel
    if has_kink(model):
        free = problem.box.free(theta, evidence.gradient)
        left: np.ndarray | None = evidence.gradient[free]
        if not problem.windowed:
            left = least_gradient(kink_at(model, kernel, task.chunk, theta), free)
        curvature = evidence.curvature(free)
        if left is None or not isinstance(curvature, np.ndarray):
            return math.inf
        scores = evidence.scores()[np.ix_(free, free)]
        measured = relative_offset(left, curvature, theta[free], 1.0, scores)
        if not problem.windowed:
            return measured
        return likely_distance(measured, blur_of(problem.rows, model))
    if not problem.squared:
        return distance_to_optimum(task, kernel, theta)
    rows, weighting = task.counted, task.weighting
    if not weighting.absolute or course.quadratic is None:
        return course.distance
    # Measured in the errors that are reported, which the residuals do not scale.
    noise = course.quadratic.loss / max(1, rows - len(problem.names))
    # Where residuals are larger than sigma says, rounding is measured by them.
    return course.distance * min(1.0, math.sqrt(noise * task.mean_weight))


def _nowhere(found: Found, problem: Problem) -> Assessment:
    """Return what is known where no walk could begin."""
    task, theta = found.task, found.course.theta
    status = WalkEnd(task, found.course, math.inf, ()).status()
    with np.errstate(all="ignore"):
        loss = task.population.sums(problem.kernel, theta).loss
        squares = sum_squares(task, problem.kernel, theta, loss)
    unknown = Uncertainty(None, f"none: {status.label}", (), 0)
    return Assessment(theta, loss, squares, unknown, math.inf, status, ())


def assess_descent(
    task: Task, plan: Plan, course: DescentOutcome, first: Sums, diagnosis: Diagnosis
) -> Result:
    """Return the `Result` of a descent that began with the sums ``first``."""
    end = end_state(plan, course, task.population)
    theta, sums = end.theta, end.sums
    with np.errstate(all="ignore"):
        distance = distance_to_optimum(task, plan.kernel, theta)
        found = uncertainty_of(task, theta, from_sums(plan.kernel, task.population, theta, sums))
        squares = sum_squares(task, plan.kernel, theta, sums.loss)
        # Where no noise is left, standard errors are no measure.
        distance = 0.0 if squares.perfect else distance
        hidden = is_hidden(task, theta, found.undetermined)
        status = DescentEnd(
            task, plan, course, end, first, diagnosis, distance, found.undetermined, hidden
        ).status()
    # From afar neither the distance nor an error, which hold near the optimum, means anything.
    plateau = status.name == "stalled" and bool(found.undetermined)
    told = () if plateau else _undetermined(found.undetermined, diagnosis)
    if found.undetermined and (plateau or hidden):
        found = found.withheld(without(found.undetermined))
    distance = distance if status.ok and not plateau else math.inf
    assessed = Assessment(theta, sums.loss, squares, found, distance, status, told)
    return compose(task, assessed, _way(task, plan, course, end, diagnosis))


def _way(
    task: Task, plan: Plan, course: DescentOutcome, end: EndState, diagnosis: Diagnosis
) -> RunInfo:
    # The descent was through all rows, whatever it could look at in the end.
    rows = task.drawn_from or end.sums.rows
    return RunInfo(
        optimizer=describe_optimizer(plan.optimizer),
        learning_rate=_rate_text(plan),
        batch_size=None if plan.batch_size >= rows else plan.batch_size,
        seed=plan.seed,
        kernel=plan.kernel.form,
        dtype=plan.start.dtype.name,
        steps=course.state.step,
        epochs=course.state.step // -(-rows // plan.batch_size),
        seconds=course.seconds,
        trace=_trace(plan, course, end, rows),
        # The first batch of the curvature and the last of the errors are all rows.
        rows_visited=rows * 2 + min(course.state.step * plan.batch_size, 2**62),
        diagnosis=diagnosis,
    )


def _rate_text(plan: Plan) -> str:
    schedule = plan.schedule
    if isinstance(schedule, Schedule) and schedule.name == "constant":
        return repr(schedule(0))
    return describe_schedule(schedule)


def _trace(plan: Plan, course: DescentOutcome, end: EndState, rows: int) -> Trace:
    """Return the records of the way to the end, and the end as the last row."""
    p, sums = len(plan.names), end.sums
    way = course.records[: int(np.searchsorted(course.records[:, 0], end.step))]
    way = way if plan.keep_trace else way[:0]
    step = np.append(way[:, 0], end.step).astype(np.int64)
    with np.errstate(all="ignore"):
        gradient = sums.gradient / sums.weight
    return Trace(
        names=plan.names,
        step=step,
        epoch=step // -(-rows // plan.batch_size),
        learning_rate=np.append(way[:, 1], np.nan),
        loss=np.append(way[:, 2], sums.loss / sums.weight),
        parameters=np.vstack([way[:, 3 : 3 + p], end.theta]),
        gradient=np.vstack([way[:, 3 + p :], gradient]),
    )


def _undetermined(combinations: tuple[str, ...], diagnosis: Diagnosis) -> tuple[str, ...]:
    told = any(combination in note for combination in combinations for note in diagnosis.notes)
    return () if told else undetermined_warning(combinations)


def _way_of_walk(found: Found, problem: Problem, trace_every: int | None) -> RunInfo:
    """Return what a walk of ``auto`` took, and the states that it passed."""
    course, rows = found.course, found.task.drawn_from or problem.rows
    return RunInfo(
        optimizer=AUTO,
        learning_rate="",
        batch_size=None,
        seed=problem.seed,
        kernel=problem.kernel.form,
        dtype="float64",
        steps=course.way[-1].step if course.way else 0,
        epochs=course.visited // rows,
        seconds=course.seconds,
        trace=_trace_of_walk(problem, course, trace_every, rows),
        rows_visited=sum(problem.visits) + problem.population.visited,
        search=found.search,
    )


def _trace_of_walk(
    problem: Problem, course: WalkOutcome, trace_every: int | None, rows: int
) -> Trace:
    """Return every state of the walk, or as many as were asked for."""
    every, keep = trace_interval(trace_every, max(1, len(course.way)))
    whole = course.way or (_unseen(problem, course),)
    last = len(whole) - 1
    way = [s for i, s in enumerate(whole) if i == last or (keep and i % every == 0)]
    wide = len(way), len(problem.names)
    counts = np.array([(s.step, s.visited // rows, s.rows) for s in way], dtype=np.int64).T.copy()
    numbers = np.array([(math.nan, s.loss, s.damping, s.distance) for s in way]).T.copy()
    return Trace(
        names=problem.names,
        step=counts[0],
        epoch=counts[1],
        learning_rate=numbers[0],
        loss=numbers[1],
        parameters=np.concatenate([s.theta for s in way]).reshape(wide),
        gradient=np.concatenate([s.gradient for s in way]).reshape(wide),
        rows=counts[2],
        damping=numbers[2],
        distance=numbers[3],
    )


def _unseen(problem: Problem, course: WalkOutcome) -> TraceStep:
    """Return the state of a walk that could not begin: a place without a finite loss."""
    unknown = np.full(len(course.theta), np.nan)
    rows = problem.rows
    return TraceStep(0, rows, math.nan, course.theta, unknown, 0.0, math.inf, rows)
