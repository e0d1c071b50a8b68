"""The end of a fit: one last look at the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.callbacks import CallbackCaller, Progress, StopRequested
from sgdfit.fitting.gauss_newton import condition, walk
from sgdfit.fitting.multistart import misfit_warnings
from sgdfit.fitting.nonsmooth import (
    SHIFT,
    blur_of,
    kink_at,
    least_gradient,
    likely_distance,
    smoothed_curvature,
    takes_sums,
)
from sgdfit.fitting.options import AUTO, PROFILE, WALD, trace_interval
from sgdfit.fitting.problem import Outcome, Problem, TraceStep, examined
from sgdfit.fitting.profile import Optimum, profile_intervals
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.sgd import EndState, distance_to_optimum, end_state
from sgdfit.fitting.status import RunEnd, centred, decide_status, far_columns
from sgdfit.fitting.uncertainty import (
    Evidence,
    Squares,
    Uncertainty,
    correlations,
    estimates,
    from_root,
    from_sums,
    is_hidden,
    sum_squares,
    uncertainty_of,
    undetermined_warning,
    withheld,
    without,
)
from sgdfit.fitting.weights import SANDWICH, surprise
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.covariance import as_spectrum, sandwich_offset
from sgdfit.inference.intervals import quantile
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import named
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers import describe as describe_optimizer
from sgdfit.optimizers.schedule import Schedule
from sgdfit.optimizers.schedule import describe as describe_schedule
from sgdfit.result.result import Result
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# Singular values of the scaled root that differ so much leave half of the digits.
HALF_THE_DIGITS = 1e8
# A parameter whose whole value changes the curve by less than this share has no effect.
WEAK = 1e-10


class Assessment(NamedTuple):
    """What is known of the estimates."""

    theta: np.ndarray  # float64[p]
    loss: float  # summed over the rows
    squares: Squares
    uncertainty: Uncertainty
    distance: float  # to the optimum, in standard errors; infinite where not known
    status: Status
    warnings: tuple[str, ...]
    state: EndState | None = None  # of a descent
    # Of the free parameters by profile likelihood, where that was asked for.
    intervals: dict[str, tuple[float, float] | None] | None = None


def assess(problem: Problem, outcome: Outcome) -> Result:
    """Return the `Result` of a run, whatever loop it took."""
    cut = outcome.descent is None and outcome.ending in ("steps", "interrupted", "stopped")
    of_sample = bool(outcome.path) and outcome.path[-1].rows < problem.rows
    called_off = outcome.is_called_off and outcome.descent is None
    if cut and (of_sample or (called_off and problem.data.whole is None)):
        # Whoever asks for an end does not wait for further passes.
        return _result(*_without_passes(problem, outcome))
    try:
        with _telling_of_passes(problem, outcome):
            return _result(examined(problem), outcome)
    except (KeyboardInterrupt, StopRequested) as end:
        ending = "stopped" if isinstance(end, StopRequested) else "interrupted"
    return _result(*_without_passes(problem, outcome._replace(ending=ending)))


@contextlib.contextmanager
def _telling_of_passes(problem: Problem, outcome: Outcome) -> Iterator[None]:
    """Tell the callback of every pass in the block, unless it has asked for an end."""
    last = outcome.path[-1] if outcome.path else None
    begun = time.perf_counter() - outcome.seconds

    def progress() -> Progress:
        return Progress(
            step=outcome.step,
            steps=problem.steps,
            epoch=outcome.visited // problem.rows,
            loss=math.nan if last is None else last.loss,
            parameters=dict(zip(problem.names, map(float, outcome.theta), strict=True)),
            seconds=time.perf_counter() - begun,
            distance=outcome.distance,
        )

    caller = CallbackCaller(problem.callback, 1, progress)
    silent = outcome.descent is not None or outcome.is_called_off
    problem.data.listener = None if silent else caller.listener
    try:
        yield
    finally:
        problem.data.listener = None


def _without_passes(problem: Problem, outcome: Outcome) -> tuple[Problem, Outcome]:
    """Return what can be told without another pass: what a walk has seen, or of the subsample."""
    if outcome.descent is not None:
        if problem.data.whole is None:
            problem = problem.on_subsample("the loss, the distance and the standard errors")
        return problem, outcome
    path, data = outcome.path, problem.data
    # Estimates of all rows have their distance, but no errors without another pass.
    is_of_all = bool(path) and path[-1].rows == problem.rows
    called_off = outcome.is_called_off and is_of_all
    if called_off and not data.is_unseen and problem.squared:
        # The classical errors come from what the walk has seen.
        warnings, options = problem.warnings, problem.options._replace(intervals=WALD)
        if problem.weighting.covariance == SANDWICH:
            told = (
                "the standard errors are classical: the run ended before the pass through all rows"
                " that those of the sandwich take"
            )
            warnings = (*warnings, told)
        weighting = problem.weighting._replace(covariance="auto")
        return problem._replace(weighting=weighting, warnings=warnings, options=options), outcome
    what = "the loss" if is_of_all else "the estimates"
    sample = problem.on_subsample(f"{what} and the standard errors")
    sample = sample._replace(callback=None, steps=0)
    problem.visits.append(data.visited)
    with np.errstate(all="ignore"):
        seen = walk(sample, outcome.theta, [sample.rows])
    last = tuple(
        s._replace(step=outcome.step, visited=s.visited + outcome.visited) for s in seen.path[-1:]
    )
    outcome = seen._replace(
        path=(*path, *last),
        ending=outcome.ending,
        first=outcome.first,
        seconds=outcome.seconds + seen.seconds,
        known_distance=outcome.distance if is_of_all else None,
        search=outcome.search,
        better=outcome.better,
    )
    return sample, outcome


def _result(problem: Problem, outcome: Outcome) -> Result:
    with np.errstate(all="ignore"):
        if outcome.descent is None and outcome.quadratic is None:
            found = _nowhere(problem, outcome)
        else:
            found = _assessed(problem, outcome)
    if problem.options.intervals == PROFILE and outcome.quadratic is not None:
        found = _profiled(problem, found)
    return _composed(problem, outcome, found)


def _nowhere(problem: Problem, outcome: Outcome) -> Assessment:
    """Return what is known where no walk could begin."""
    theta, ended = outcome.theta, decide_status(RunEnd(problem, outcome, math.inf, ARRIVED))
    loss = problem.data.sums(problem.kernel, theta).loss
    squares = sum_squares(problem, theta, loss)
    unknown = Uncertainty(None, f"none: {ended.label}", (), 0)
    return Assessment(theta, loss, squares, unknown, math.inf, ended, ())


def _assessed(problem: Problem, outcome: Outcome) -> Assessment:
    """Weigh what the rows tell at the end of a run: errors, distance, status and warnings."""
    quadratic = outcome.quadratic
    state = None if outcome.descent is None else end_state(problem, outcome)
    theta = outcome.theta if state is None else state.theta
    evidence = _evidence(problem, outcome, theta)
    found = uncertainty_of(problem, theta, evidence)
    squares = sum_squares(problem, theta, evidence.loss)
    # Where no noise is left, standard errors are no measure.
    if squares.exact if state is None else squares.perfect:
        exact = _rewards_exactness(problem, theta)
    else:
        exact = False
    distance = 0.0 if exact else _distance(problem, outcome, theta, evidence)
    end = RunEnd(
        problem,
        outcome,
        distance,
        _reach(problem),
        found.undetermined,
        () if problem.squared or state is not None else _downhill(problem, theta, evidence),
        state,
        state is not None and is_hidden(problem, theta, found.undetermined),
    )
    ended = decide_status(end)
    if state is None:
        told = _told_of_walk(problem, outcome, found, ended)
        if ended.name == "local_minimum" and distance > ARRIVED:
            # Short of a minimum there is neither an error nor a distance to tell.
            found = found.withheld("none: the estimates are not at a minimum")
            distance = math.inf
        flat = bool(found.undetermined) and ended.name != "converged"
        if squares.exact and found.covariance is not None and quadratic is not None:
            weak = _without_effect(problem, theta, quadratic)
            gone = weak | weak[:, None]
            found = found._replace(covariance=np.where(gone, np.nan, found.covariance))
    else:
        # From afar neither the distance nor an error, which hold near the optimum, means anything.
        away = ended.name == "stalled" and bool(found.undetermined)
        told = () if away else _told_of_descent(outcome, found)
        flat = bool(found.undetermined) and (away or end.is_hidden)
        distance = distance if ended.ok and not away else math.inf
    if flat:
        # Flat ground tells neither errors nor a distance.
        found = found.withheld(without(found.undetermined))
        distance = math.inf if state is None else distance
    return Assessment(theta, evidence.loss, squares, found, distance, ended, told, state)


def _reach(problem: Problem) -> float:
    """Return the distance that was asked for, or else the one that counts as arrived."""
    usual = SHIFT if problem.options.optimizer is None and takes_sums(problem) else ARRIVED
    return problem.options.tolerance or usual


def _evidence(problem: Problem, outcome: Outcome, theta: np.ndarray) -> Evidence:
    """Return what the rows tell; the curvature that steered the steps is not that of all losses."""
    kernel, data, quadratic = problem.kernel, problem.data, outcome.quadratic
    if problem.squared and quadratic is not None:
        return from_root(kernel, data, theta, quadratic)
    evidence = from_sums(kernel, data, theta, data.sums(kernel, theta))
    if not problem.kinked or quadratic is None or takes_sums(problem):
        return evidence
    curvature = smoothed_curvature(kink_at(problem.model, kernel, problem.chunk, theta))
    if curvature is None:
        return evidence
    return evidence._replace(curvature=lambda free: curvature[np.ix_(free, free)])


def _distance(problem: Problem, outcome: Outcome, theta: np.ndarray, evidence: Evidence) -> float:
    """Return how far the optimum is, in the standard errors that are reported."""
    if outcome.known_distance is not None:
        return outcome.known_distance
    if outcome.quadratic is None or not (problem.squared or problem.kinked):
        return distance_to_optimum(problem, theta)
    if problem.squared:
        if not problem.weighting.absolute:
            return outcome.distance
        # Measured in the errors that are reported, which the residuals do not scale.
        noise = outcome.quadratic.loss / max(1, problem.rows - len(problem.names))
        # Where residuals are larger than sigma says, rounding is measured by them.
        return outcome.distance * min(1.0, math.sqrt(noise * problem.mean_weight))
    free = problem.box.free(theta, evidence.gradient)
    by_sums = takes_sums(problem)
    left: np.ndarray | None = evidence.gradient[free]
    if not by_sums:
        left = least_gradient(kink_at(problem.model, problem.kernel, problem.chunk, theta), free)
    curvature = evidence.curvature(free)
    if left is None or not isinstance(curvature, np.ndarray):
        return math.inf
    scores = evidence.scores()[np.ix_(free, free)]
    measured = sandwich_offset(left, curvature, theta[free], scores)
    return likely_distance(measured, blur_of(problem.rows, problem.model)) if by_sums else measured


def _without_effect(problem: Problem, theta: np.ndarray, quadratic: Quadratic) -> np.ndarray:
    """Return which parameters curve nothing but rounding, bool[p], where the data are perfect."""
    nonlinear = np.array([name not in problem.model.linear for name in problem.names])
    effect = np.abs(theta) * quadratic.norms
    return np.asarray(nonlinear & (effect <= WEAK * effect.max(initial=0.0)))


def _rewards_exactness(problem: Problem, theta: np.ndarray) -> bool:
    """Whether the loss is least where the residuals are zero, as any usual one is."""
    if problem.squared:
        return True
    some = problem.data.sample(FEW, problem.seed)
    spread = float(np.ptp(problem.kernel.rows(theta, some).target)) or 1.0
    below, above = (
        float(evaluate(problem.model.slope, {PREDICTION: side, TARGET: 0.0}))
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


def _told_of_walk(
    problem: Problem, outcome: Outcome, found: Uncertainty, ended: Status
) -> tuple[str, ...]:
    """Return what the user should know of a fit that can be used."""
    if ended.name not in ("converged", "local_minimum") or outcome.quadratic is None:
        return ()
    stepped = stepped_names(problem.model.prediction)
    return (
        *undetermined_warning(found.undetermined, stepped),
        *_nearly_hidden(problem, outcome.quadratic, found),
        *misfit_warnings(problem, outcome),
    )


def _told_of_descent(outcome: Outcome, found: Uncertainty) -> tuple[str, ...]:
    """Return the same of a descent, whose diagnosis may have said it."""
    assert outcome.descent is not None  # the caller has looked
    notes = outcome.descent.diagnosis.notes
    told = any(combination in note for combination in found.undetermined for note in notes)
    return () if told else undetermined_warning(found.undetermined)


def _nearly_hidden(problem: Problem, quadratic: Quadratic, found: Uncertainty) -> tuple[str, ...]:
    """Say where rounding takes more than half of the digits, and how to write it otherwise."""
    overflown = found.covariance is not None and bool(np.isinf(found.covariance).any())
    lost = 0.0 if quadratic.regular else condition(quadratic)
    if found.undetermined or not (overflown or lost > HALF_THE_DIGITS):
        return ()
    middles = far_columns(problem)
    if not middles:
        return ()
    names, digits = ", ".join(middles), math.log10(min(lost, 1e16)) if lost else 0
    what = "a parameter overflows" if overflown else f"rounding costs {digits:.0f} of 16 digits"
    return (
        f"{names} lies far from 0, where {what}; fit"
        f" '{centred(problem.model.formula, middles)}' instead",
    )


def _profiled(problem: Problem, found: Assessment) -> Assessment:
    """Profile every parameter, where the estimates are those of a minimum."""
    certain = withheld(found.uncertainty, found.status, found.distance)
    if certain.covariance is None or found.squares.perfect:
        return found
    left = certain.degrees_of_freedom
    noise = found.loss / left if np.isfinite(left) else 1 / problem.mean_weight
    optimum = Optimum(found.theta, certain.covariance, noise, left)
    profiles = profile_intervals(problem, optimum)
    warnings = (*found.warnings, *profiles.warnings)
    usual = 2 * quantile(left) * np.sqrt(np.diag(optimum.covariance))
    narrow = [
        name
        for name, width in zip(problem.names, usual, strict=True)
        if (ends := profiles.intervals.get(name)) is not None and ends[1] - ends[0] < width / 2
    ]
    if narrow:
        told = (
            f"the profile of {', '.join(narrow)} is less than half as wide as the standard error"
            " says: a refit on the way may have missed its minimum, so compare with"
            " intervals='wald'"
        )
        warnings = (*warnings, told)
    return found._replace(intervals=dict(profiles.intervals), warnings=warnings)


def _composed(problem: Problem, outcome: Outcome, found: Assessment) -> Result:
    """Return the `Result` of what is known."""
    model, weighting, squares = problem.model, problem.weighting, found.squares
    sure = withheld(_without_noise(found), found.status, found.distance)
    merit = goodness(
        squares.residual,
        squares.total,
        rows=problem.rows,
        free=len(problem.names),
        sum_log_weights=squares.log_weights,
        known_variance=weighting.absolute,
    )
    if not problem.squared:
        # Most figures take residuals for normal, which only one loss does.
        merit = Goodness(merit.degrees_of_freedom, None, None, None, None, None)
    told = surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom)
    table = estimates(model, found.theta, sure)
    for name, ends in (found.intervals or {}).items():
        table[name] = replace(table[name], interval=ends)
    how = _run_of_walk if outcome.descent is None else _run_of_descent
    return Result(
        formula=str(model.formula),
        loss_name=model.loss.name,
        **how(problem, outcome, found),
        seed=problem.seed,
        kernel=problem.kernel.form,
        steps=outcome.step,
        seconds=outcome.seconds,
        search=outcome.search,
        estimates=table,
        free=problem.names,
        covariance=sure.covariance,
        correlation=correlations(sure.covariance),
        covariance_method=sure.method,
        loss=found.loss / problem.rows,
        residual_sum_of_squares=squares.residual,
        rows=problem.rows_read,
        rows_dropped=problem.dropped,
        drawn_from=problem.drawn_from,
        **vars(merit),
        status=found.status,
        distance=found.distance if np.isfinite(found.distance) else None,
        warnings=(*problem.warnings, *found.warnings, *told),
        data_label=problem.label,
        weights=weighting.text,
        undetermined=sure.undetermined,
        determined=sure.determined,
        noise_variance=1.0 if weighting.absolute and problem.squared else merit.reduced_chi_square,
        sigma=weighting.sigma,
        absolute_sigma=weighting.absolute,
        intervals=WALD if found.intervals is None else PROFILE,
    )


def _without_noise(found: Assessment) -> Uncertainty:
    """Return no error at all where the residuals are nothing but rounding."""
    sure = found.uncertainty
    if sure.covariance is None or sure.degrees_of_freedom == np.inf:
        return sure
    if found.squares.exact:
        return sure._replace(covariance=sure.covariance * 0.0)
    # A variance below the range of floating point is not none.
    gone = sure.covariance.diagonal() == 0
    if not gone.any():
        return sure
    return sure._replace(covariance=np.where(gone | gone[:, None], np.nan, sure.covariance))


def _run_of_walk(problem: Problem, outcome: Outcome, found: Assessment) -> dict[str, Any]:
    """Return how ``auto`` went, in the words of `Result`."""
    rows = problem.drawn_from or problem.rows
    every, keep = trace_interval(problem.options.trace_every, max(1, len(outcome.path)))
    whole = outcome.path
    if not whole:
        unknown = np.full(len(outcome.theta), np.nan)
        nowhere = TraceStep(
            0, problem.rows, math.nan, outcome.theta, unknown, 0.0, math.inf, problem.rows
        )
        whole = (nowhere,)
    path = [s for i, s in enumerate(whole) if i == len(whole) - 1 or (keep and i % every == 0)]
    wide = len(path), len(problem.names)
    trace = Trace(
        names=problem.names,
        step=np.array([s.step for s in path], dtype=np.int64),
        epoch=np.array([s.visited // rows for s in path], dtype=np.int64),
        learning_rate=np.full(len(path), math.nan),
        loss=np.array([s.loss for s in path]),
        parameters=np.concatenate([s.theta for s in path]).reshape(wide),
        gradient=np.concatenate([s.gradient for s in path]).reshape(wide),
        rows=np.array([s.rows for s in path], dtype=np.int64),
        damping=np.array([s.damping for s in path]),
        distance=np.array([s.distance for s in path]),
    )
    return {
        "optimizer": AUTO,
        "learning_rate": "",
        "batch_size": None,
        "dtype": "float64",
        "epochs": outcome.visited // rows,
        "trace": trace,
        "diagnosis": None,
        "rows_visited": sum(problem.visits) + problem.data.visited,
    }


def _run_of_descent(problem: Problem, outcome: Outcome, found: Assessment) -> dict[str, Any]:
    """Return how textbook descent went, its trace with the end as the last row."""
    facts, end, optimizer = outcome.descent, found.state, problem.options.optimizer
    assert facts is not None
    assert end is not None
    assert optimizer is not None
    # The descent was through all rows, whatever could be looked at in the end.
    rows, p, size, schedule = facts.first.rows, len(problem.names), facts.batch_size, facts.schedule
    path = facts.records[: int(np.searchsorted(facts.records[:, 0], end.step))]
    path = path if facts.keep_trace else path[:0]
    step = np.append(path[:, 0], end.step).astype(np.int64)
    with np.errstate(all="ignore"):
        gradient = end.sums.gradient / end.sums.weight
    trace = Trace(
        names=problem.names,
        step=step,
        epoch=step // -(-rows // size),
        learning_rate=np.append(path[:, 1], np.nan),
        loss=np.append(path[:, 2], end.sums.loss / end.sums.weight),
        parameters=np.vstack([path[:, 3 : 3 + p], end.theta]),
        gradient=np.vstack([path[:, 3 + p :], gradient]),
    )
    constant = isinstance(schedule, Schedule) and schedule.name == "constant"
    return {
        "optimizer": describe_optimizer(optimizer),
        "learning_rate": repr(schedule(0)) if constant else describe_schedule(schedule),
        "batch_size": None if size >= rows else size,
        "dtype": facts.start.dtype.name,
        "epochs": outcome.step // -(-rows // size),
        "trace": trace,
        # The first batch of the curvature and the last of the errors are all rows.
        "rows_visited": rows * 2 + min(outcome.step * size, 2**62),
        "diagnosis": facts.diagnosis,
    }
