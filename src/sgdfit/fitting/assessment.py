"""The end of a fit: one last look at the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.bootstrap import bootstrap_intervals
from sgdfit.fitting.callbacks import CallbackCaller, Progress, StopRequested, ending_of
from sgdfit.fitting.gauss_newton import progress_of, walk
from sgdfit.fitting.multistart import misfit_warnings, rival_warnings
from sgdfit.fitting.nonsmooth import (
    SHIFT,
    kink_at,
    least_gradient,
    likely_distance,
    resolution_of,
    smoothed_curvature,
    takes_sums,
)
from sgdfit.fitting.options import AUTO, BOOTSTRAP, WALD, trace_interval
from sgdfit.fitting.problem import (
    Outcome,
    Problem,
    TraceStep,
    inspect_columns,
    kernel_of,
    merge_runs,
)
from sgdfit.fitting.profile import profile_intervals
from sgdfit.fitting.saddle import ARRIVED
from sgdfit.fitting.sgd import EndState, distance_to_optimum, end_state
from sgdfit.fitting.status import RunEnd, decide_status, edge_warnings, wall_warnings
from sgdfit.fitting.uncertainty import (
    Uncertainty,
    estimates,
    uncertainty_of,
    uncertainty_of_limit,
    undetermined_warnings,
    with_rounding,
)
from sgdfit.fitting.weights import SANDWICH, Weighting, surprise
from sgdfit.inference.covariance import correlation, sandwich_offset
from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.kernel.summation import Sums
from sgdfit.model.loss import SQUARED, as_loss
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers import describe as describe_optimizer
from sgdfit.optimizers.schedule import Schedule
from sgdfit.optimizers.schedule import describe as describe_schedule
from sgdfit.result.result import Result
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

# Farther than this, a 95% interval would miss it too often.
MOST_DISTANCE = 1.0
# Below this R² a row is looked for that keeps a parameter's sign.
LOOKS_WRONG = 0.99
# Residuals this small beside the variation of the response are rounding: what the steps of a long
# descent leave.
MANY_ROUNDINGS = 1e-12
# An estimate of exact data that is no larger than so many of its errors is 0 but for rounding.
HIDDEN = 8.0
NO_REFITS = (
    "the residuals are rounding errors, which tell no interval but Wald's: others were asked for"
)
WENT_ON = (
    "a refit for the profile intervals led to a lower minimum than the fit's: the fit went on from"
    " there"
)


class _End(NamedTuple):
    """What the rows tell at the estimates."""

    theta: np.ndarray  # float64[p]
    near: Quadratic  # the loss near them
    squares: Quadratic  # the same of the squared residuals
    sure: Uncertainty
    moved: float  # how far rounding alone may move all rows' curve: see `Problem.rounding`
    least: float  # what rounding leaves of the sum of squares
    is_exact: bool  # whether no noise is left


class Assessment(NamedTuple):
    """What is known of the estimates."""

    theta: np.ndarray  # float64[p]
    loss: float  # the mean over the rows
    residual: float  # Σ w (y − prediction)²
    merit: Goodness
    uncertainty: Uncertainty
    distance: float  # to the optimum, in standard errors; infinite where not known
    status: Status
    warnings: tuple[str, ...]
    # By profile likelihood or the bootstrap, where that was asked for and could be had.
    intervals: dict[str, tuple[float, float] | None] | None = None


def assess(problem: Problem, outcome: Outcome) -> Result:
    """Return the `Result` of a run, whatever loop it took."""
    walked, path = outcome.descent is None, outcome.path
    of_sample = bool(path) and path[-1].rows < problem.rows
    called_off = walked and outcome.is_called_off
    if (called_off and problem.data.whole is None) or (
        walked and of_sample and (called_off or outcome.ending == "steps")
    ):
        return _result(*_without_passes(problem, outcome))
    begun = time.perf_counter() - outcome.seconds

    def progress() -> Progress:
        return progress_of(problem, path, outcome.theta, outcome.visited, begun)

    if walked and not called_off:
        problem.data.listener = CallbackCaller(problem.callback, 1, progress).listener
    try:
        return _result(inspect_columns(problem), outcome)
    except (KeyboardInterrupt, StopRequested) as end:
        ending = ending_of(end)
    finally:
        problem.data.listener = None
    return _result(*_without_passes(problem, outcome._replace(ending=ending)))


def _without_passes(problem: Problem, outcome: Outcome) -> tuple[Problem, Outcome]:
    """Return what can be told without another pass: what a walk has seen, or of the subsample."""
    if outcome.descent is not None:
        if problem.data.whole is None:
            problem = problem.on_subsample("the loss, the distance and the standard errors")
        return problem, outcome
    path, data = outcome.path, problem.data
    # Estimates of all rows have their distance, but no errors without another pass.
    is_of_all = bool(path) and path[-1].rows == problem.rows
    if outcome.is_called_off and is_of_all and not data.is_unseen and problem.squared:
        # The classical errors come from what the walk has seen.
        warnings, weighting = problem.warnings, problem.weighting
        if weighting.covariance == SANDWICH:
            told = (
                "the standard errors are classical: the run ended before the pass through all rows"
                " that those of the sandwich take"
            )
            warnings, weighting = (*warnings, told), weighting._replace(covariance="auto")
        options = problem.options._replace(intervals=WALD)
        return problem._replace(weighting=weighting, warnings=warnings, options=options), outcome
    what = "the loss" if is_of_all else "the estimates"
    sample = problem.on_subsample(f"{what} and the standard errors")
    sample = sample._replace(callback=None, steps=0)
    problem.visits.append(data.visited)
    with np.errstate(all="ignore"):
        seen = walk(sample, outcome.theta, [sample.rows])
    last = [
        s._replace(step=outcome.step, visited=s.visited + outcome.visited) for s in seen.path[-1:]
    ]
    return sample, outcome._replace(
        quadratic=seen.quadratic,
        path=(*path, *last),
        seconds=outcome.seconds + seen.seconds,
        distance=seen.distance,
        known_distance=outcome.distance if is_of_all else None,
    )


def _result(problem: Problem, outcome: Outcome) -> Result:
    """Weigh what the rows tell at the end of a run: errors, distance, status and warnings."""
    state = None
    with np.errstate(all="ignore"):
        if outcome.descent is not None:
            state = end_state(problem, outcome)
        elif outcome.quadratic is None:
            return _composed(problem, outcome, _without_loss(problem, outcome), None)
        end = _end(problem, outcome, state)
        # Whoever asks for an end does not wait for further passes.
        if end.is_exact and not outcome.is_called_off:
            outcome, state, end = _zeroed(problem, outcome, state, end)
        found = _assessed(problem, outcome, state, end)
    covariance = found.uncertainty.covariance
    if problem.options.intervals != WALD and covariance is not None:
        if end.is_exact:
            found = found._replace(warnings=(*found.warnings, NO_REFITS))
        elif problem.options.intervals == BOOTSTRAP:
            errors = np.sqrt(covariance.diagonal())
            intervals, told = bootstrap_intervals(problem, found.theta, errors)
            found = found._replace(intervals=intervals, warnings=(*found.warnings, *told))
        else:
            found, lower = _profiled(problem, found)
            if lower is not None:
                way = merge_runs(outcome, lower)
                return _result(problem, way._replace(abandoned=WENT_ON))
    return _composed(problem, outcome, found, state)


def _without_loss(problem: Problem, outcome: Outcome) -> Assessment:
    """Return what is known where the loss is not finite at the start."""
    status, theta = decide_status(RunEnd(problem, outcome, math.inf, ARRIVED)), outcome.theta
    sums, rows = problem.data.sums(problem.kernel, theta), problem.rows
    left = rows - len(problem.names)
    sure = Uncertainty(None, f"none: the run ended as {status.label}", (), left)
    squares = sums if problem.squared else _squares(problem, theta)
    residual, merit = figures_of_merit(problem, squares.loss, left)
    return Assessment(theta, sums.loss / rows, residual, merit, sure, math.inf, status, ())


def _end(problem: Problem, outcome: Outcome, state: EndState | None) -> _End:
    """Look at the rows where the run ended."""
    theta, walked = outcome.theta if state is None else state.theta, outcome.quadratic
    curvature = None
    if problem.squared:
        near = squares = walked or _of_sums(problem.data.sums(problem.kernel, theta))
    else:
        # The curvature that steered the steps is not that of all losses.
        sums = problem.data.sums(problem.kernel, theta)
        if problem.kinked and walked is not None and not takes_sums(problem):
            # A kink has no curvature of its own; where no scatter is left, it has none at all.
            kink = kink_at(problem.model, problem.kernel, problem.chunk, theta)
            smooth = smoothed_curvature(kink)
            sums = sums if smooth is None else sums._replace(curvature=smooth)
        near, squares = _of_sums(sums), _of_sums(_squares(problem, theta))
        curvature = sums.curvature
    moved, unseen = problem.rounding(theta, squares.norms / math.sqrt(2))
    # Where no noise is left, standard errors are no measure.
    exact = squares.loss <= MANY_ROUNDINGS**2 * problem.variation
    if state is None and problem.squared:
        exact = problem.is_exact(theta, walked)
    # Each row of the response lies within half of its last digit: evenly, as far as is known.
    least = (unseen - moved) ** 2 / 3
    # Exact data are met by any loss.
    robust = not exact and (not problem.squared or problem.weighting.covariance == SANDWICH)
    sure = uncertainty_of(
        problem.model,
        theta,
        squares if exact else near,
        problem.rows - problem.eliminated,
        # Weights have a mean of one here, whatever they were.
        variance=1 / problem.mean_weight if problem.weighting.absolute else None,
        least=least,
        scores=(lambda: problem.data.scores(problem.kernel, theta)) if robust else None,
        curvature=curvature if robust else None,
    )
    if exact and sure.covariance is not None and not sure.is_absolute:
        sure = sure._replace(covariance=with_rounding(sure.covariance, theta))
    if outcome.on_edge and sure.covariance is not None:
        held = np.isin(problem.names, outcome.on_edge)
        covariance = np.where(held | held[:, None], np.nan, sure.covariance)
        sure = sure._replace(covariance=covariance)
    if outcome.limit is not None:
        sure = uncertainty_of_limit(problem, outcome, outcome.limit)
    return _End(theta, near, squares, sure, moved, least, exact)


def _of_sums(sums: Sums) -> Quadratic:
    """Return the quadratic of sums over rows, which may not be finite."""
    if not np.isfinite(sums.curvature).all():
        none = np.full(sums.curvature.shape, np.nan)
        return Quadratic(sums.loss, none, none[0], np.nan, np.nan, False, np.nan)
    return from_sums(sums.gradient, sums.curvature, sums.loss, 2 * sums.loss)


def _squares(problem: Problem, theta: np.ndarray) -> Sums:
    """Return the sums over all rows of another loss's squared residuals."""
    squared = replace(problem.model, loss=as_loss(SQUARED))
    return problem.data.sums(kernel_of(squared, problem.data, problem.options), theta)


def _zeroed(
    problem: Problem, outcome: Outcome, state: EndState | None, end: _End
) -> tuple[Outcome, EndState | None, _End]:
    """Return the end of a run on exact data, its estimates 0 where that is all but rounding."""
    unchanged, box, root = (outcome, state, end), problem.box, end.squares.spectrum.inverse_root
    covariance = 2 * end.least / problem.rows * root @ root.T
    errors = np.sqrt(with_rounding(covariance, end.theta).diagonal())
    hidden = (np.abs(end.theta) <= HIDDEN * errors) & (box.low <= 0) & (box.high >= 0)
    # First amplitudes, without which nothing tells of what they belong to.
    first = hidden & (end.theta != 0) & [name in problem.model.linear for name in problem.names]
    theta = np.where(first if first.any() else hidden, 0.0, end.theta)
    if np.array_equal(theta, end.theta):
        return unchanged
    if state is not None:
        state = state._replace(theta=theta, sums=problem.data.sums(problem.kernel, theta))
    else:
        # The others follow.
        rest = problem.holding(np.flatnonzero(theta == 0).tolist())
        rest = rest._replace(callback=None, linear=problem.linear[:0])
        path, there = outcome.path, walk(rest, theta, [problem.rows])
        if there.quadratic is None:
            return unchanged
        theta, last = there.theta, there.path[-1]
        last = path[-1]._replace(theta=theta, loss=last.loss, gradient=last.gradient)
        outcome = outcome._replace(theta=theta, quadratic=there.quadratic, path=(*path[:-1], last))
    zeroed = _end(problem, outcome, state)
    return _zeroed(problem, outcome, state, zeroed) if zeroed.is_exact else unchanged


def _assessed(problem: Problem, outcome: Outcome, state: EndState | None, end: _End) -> Assessment:
    """Return what is known of the estimates, and how the run ended."""
    sure = end.sure
    residual, merit = figures_of_merit(problem, end.squares.loss, sure.degrees_of_freedom)
    distance = 0.0 if end.is_exact else _distance(problem, outcome, end)
    usual = SHIFT if state is None and takes_sums(problem) else ARRIVED
    reach = problem.options.tolerance or usual
    # Where the curve meets all rows, flat ground hides nothing better.
    flat_along = () if end.is_exact else sure.undetermined
    run_end = RunEnd(problem, outcome, distance, reach, flat_along, state)
    status = decide_status(run_end)
    told: tuple[str, ...] = ()
    if outcome.descent is not None:
        # From afar neither the distance nor an error, which hold near the optimum, means anything;
        # the diagnosis may have said what is not determined.
        flat = bool(sure.undetermined) and status.name == "stalled"
        distance = distance if status.ok and not flat else math.inf
        if not flat and not np.isfinite(distance):
            sure = sure._replace(undetermined=())
        if not flat and not outcome.descent.diagnosis.undetermined:
            told = undetermined_warnings(sure)
    else:
        flat = bool(sure.undetermined) and status.name not in ("converged", "at_infinity")
        if status.name == "local_minimum" and distance > ARRIVED:
            # Short of a minimum there is neither an error nor a distance to tell.
            sure = sure.withheld("the estimates are not at a minimum")
            distance = math.inf
        if status.name in ("converged", "local_minimum"):
            stepped = stepped_names(problem.model.prediction)
            told = undetermined_warnings(sure, stepped, outcome.gaps)
            told += () if end.is_exact else misfit_warnings(problem, outcome)
            told += rival_warnings(problem, outcome.search, end.near.loss / problem.rows)
            told += edge_warnings(run_end)
            told += wall_warnings(run_end) if (merit.r_squared or 1.0) < LOOKS_WRONG else ()
    if outcome.limit is not None:
        distance = math.inf
    if flat:
        # Flat ground tells neither errors nor a distance.
        sure, distance = sure.withheld_as_open(), math.inf
    sure, loss = _certain(problem, sure, status, distance, state is not None), end.near.loss
    return Assessment(end.theta, loss / problem.rows, residual, merit, sure, distance, status, told)


def _distance(problem: Problem, outcome: Outcome, end: _End) -> float:
    """Return how far the optimum is, in the standard errors that are reported."""
    if outcome.known_distance is not None:
        return outcome.known_distance
    theta, near, distance = end.theta, end.near, outcome.distance
    free = problem.box.free(theta, near.gradient)
    if problem.squared:
        noise = near.loss / max(1, end.sure.degrees_of_freedom)
        if outcome.quadratic is None:
            distance = distance_to_optimum(problem, theta)
        elif problem.weighting.absolute:
            # Measured in the errors that are reported, which the residuals do not scale. Where
            # residuals are larger than sigma says, rounding is measured by them.
            distance *= min(1.0, math.sqrt(noise * problem.mean_weight))
        known = 1 / problem.mean_weight if problem.weighting.absolute else 0.0
        noise = max(known, noise, end.least / max(1, end.sure.degrees_of_freedom))
        # A number next to the estimate may be nearer to the optimum.
        count = int(np.count_nonzero(free))
        moved = end.moved / math.sqrt(count * noise) if noise > 0 and count else 0.0
        return max(distance, moved)
    if outcome.quadratic is None or not problem.kinked:
        return distance_to_optimum(problem, theta)
    by_sums, left = takes_sums(problem), near.gradient[free]
    if not by_sums:
        kink = kink_at(problem.model, problem.kernel, problem.chunk, theta)
        least = least_gradient(kink, free)
        if least is None:
            return math.inf
        left = least
    scores = problem.data.scores(problem.kernel, theta)[np.ix_(free, free)]
    root = near.root[:, free]
    measured = sandwich_offset(left, root.T @ root, theta[free], scores)
    resolution = resolution_of(problem.rows, problem.model)
    return likely_distance(measured, resolution) if by_sums else measured


def _certain(
    problem: Problem, sure: Uncertainty, status: Status, distance: float, of_descent: bool
) -> Uncertainty:
    """Take errors back where the estimates are not those that they belong to."""
    if not status.ok:
        return sure.withheld(f"the run ended as {status.label}")
    if np.isfinite(distance) and distance > MOST_DISTANCE:
        about = float(f"{distance:.2g}")  # 300, not 3e+02
        return sure.withheld(f"the estimates are still {about:,g} standard errors from the optimum")
    if of_descent and not np.isfinite(distance):
        return sure.withheld("how far the optimum is from the estimates is not known")
    # Zeros alone as response leave no error.
    if sure.covariance is None or sure.is_absolute or problem.variation == 0:
        return sure
    # A variance below the range of floating point is not none.
    gone = sure.covariance.diagonal() == 0
    return sure._replace(covariance=np.where(gone | gone[:, None], np.nan, sure.covariance))


def _profiled(problem: Problem, found: Assessment) -> tuple[Assessment, Outcome | None]:
    """Profile every parameter; where a refit leads lower than the fit, return also its minimum."""
    sure, left = found.uncertainty, found.uncertainty.degrees_of_freedom
    assert sure.covariance is not None  # the caller has looked
    noise = found.loss * problem.rows / left
    if sure.is_absolute:
        noise, left = 1 / problem.mean_weight, math.inf
    intervals, remarks, lower = profile_intervals(
        problem, found.theta, sure.covariance, noise, left
    )
    return found._replace(intervals=intervals, warnings=(*found.warnings, *remarks)), lower


def _composed(
    problem: Problem, outcome: Outcome, found: Assessment, state: EndState | None
) -> Result:
    """Return the `Result` of what is known of the estimates, and how the run went."""
    if state is None:
        how = _run_of_walk(problem, outcome)
    else:
        how = _run_of_descent(problem, outcome, state)
    form, device = problem.kernel.form, problem.options.device
    how |= {
        "seed": problem.seed,
        "level": problem.options.level,
        "intervals": WALD if found.intervals is None else problem.options.intervals,
        "bootstrap": str(asked)
        if (asked := problem.options.bootstrap) and found.intervals
        else None,
        "kernel": f"{form} on {device}" if form == "torch" and device != "cpu" else form,
        "steps": outcome.step,
        "seconds": outcome.seconds,
        "search": outcome.search,
        "rows": problem.rows_read,
        "rows_dropped": problem.dropped,
        "drawn_from": problem.drawn_from,
        "data_label": problem.label,
        "time_scales": problem.scales,
        "levels": dict(problem.model.formula.levels),
    }
    abandoned = () if outcome.abandoned is None else (outcome.abandoned,)
    found = found._replace(warnings=(*problem.warnings, *abandoned, *found.warnings))
    return make_result(problem.model, problem.weighting, found, how, problem.mean_weight)


def make_result(
    model: Model,
    weighting: Weighting,
    found: Assessment,
    how: dict[str, Any],
    mean_weight: float = 1.0,
) -> Result:
    """Return a `Result`; ``how`` says by the names of its fields how the run went, on what rows.

    ``mean_weight`` is what the weights were divided by.
    """
    sure, merit, absolute = found.uncertainty, found.merit, weighting.absolute
    noise = 1.0 if absolute else merit.reduced_chi_square
    if noise is not None:
        noise = max(noise, mean_weight * sure.rounding)
    table = estimates(model, found.theta, sure, how["level"])
    for name, ends in (found.intervals or {}).items():
        table[name] = replace(table[name], interval=ends)
    told = surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom)
    loss_scale = model.loss.scale
    if loss_scale is not None:
        loss_scale *= math.sqrt(mean_weight)
    external = model.external
    result = Result(
        formula=str(model.formula),
        function=None if external is None else external.qualified_name,
        called=None if external is None else external.description,
        loss_name=model.loss.name,
        loss_scale=loss_scale,
        estimates=table,
        free=model.free,
        covariance=sure.covariance,
        correlation=None if sure.covariance is None else correlation(sure.covariance),
        covariance_method=sure.method,
        loss=found.loss,
        residual_sum_of_squares=found.residual,
        **vars(merit),
        status=found.status,
        distance=found.distance if np.isfinite(found.distance) else None,
        warnings=(*found.warnings, *told),
        weights=weighting.text,
        undetermined=sure.undetermined,
        determined=sure.determined,
        noise_variance=noise,
        sigma=weighting.sigma,
        correlations=weighting.correlations,
        absolute_sigma=absolute,
        **how,
    )
    if external is not None:
        object.__setattr__(result, "callable", model.formula)
    return result


def _run_of_walk(problem: Problem, outcome: Outcome) -> dict[str, Any]:
    """Return how ``auto`` went, in the words of `Result`."""
    rows, path, unknown = problem.drawn_from or problem.rows, outcome.path, math.nan
    if not path:
        theta = outcome.theta
        gradient = np.full(len(theta), unknown)
        nowhere = TraceStep(0, problem.rows, unknown, theta, gradient, 0.0, math.inf, problem.rows)
        path = (nowhere,)
    every, keep = trace_interval(problem.options.trace_every, len(path))
    kept = [*(path[:-1][::every] if keep else ()), path[-1]]
    wide = len(kept), len(problem.names)
    trace = Trace(
        names=problem.names,
        step=np.array([s.step for s in kept], dtype=np.int64),
        epoch=np.array([s.visited // rows for s in kept], dtype=np.int64),
        learning_rate=np.full(len(kept), math.nan),
        loss=np.array([s.loss for s in kept]),
        parameters=np.concatenate([s.theta for s in kept]).reshape(wide),
        gradient=np.concatenate([s.gradient for s in kept]).reshape(wide),
        rows=np.array([s.rows for s in kept], dtype=np.int64),
        damping=np.array([s.damping for s in kept]),
        distance=np.array([s.distance for s in kept]),
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


def _run_of_descent(problem: Problem, outcome: Outcome, end: EndState) -> dict[str, Any]:
    """Return how textbook descent went, its trace with the end as the last row."""
    facts = outcome.descent
    assert facts is not None  # a walk has no such end
    # The descent was through all rows, whatever could be looked at in the end.
    rows, p, size, schedule = facts.first.rows, len(problem.names), facts.batch_size, facts.schedule
    before = int(np.searchsorted(facts.records[:, 0], end.step)) if facts.keep_trace else 0
    path, sums, per_epoch = facts.records[:before], end.sums, -(-rows // size)
    step = np.append(path[:, 0], end.step).astype(np.int64)
    with np.errstate(all="ignore"):
        gradient = sums.gradient / sums.weight
    trace = Trace(
        names=problem.names,
        step=step,
        epoch=step // per_epoch,
        learning_rate=np.append(path[:, 1], np.nan),
        loss=np.append(path[:, 2], sums.loss / sums.weight),
        parameters=np.vstack([path[:, 3 : 3 + p], end.theta]),
        gradient=np.vstack([path[:, 3 + p :], gradient]),
    )
    constant = isinstance(schedule, Schedule) and schedule.name == "constant"
    return {
        "optimizer": describe_optimizer(facts.optimizer),
        "learning_rate": repr(schedule(0)) if constant else describe_schedule(schedule),
        "batch_size": None if size >= rows else size,
        "shards": facts.shards,
        "dtype": facts.start.dtype.name,
        "epochs": outcome.step // per_epoch,
        "trace": trace,
        # The first batch of the curvature and the last of the errors are all rows.
        "rows_visited": rows * 2 + min(outcome.step * size, 2**62),
        "diagnosis": facts.diagnosis,
    }


def figures_of_merit(problem: Problem, residual: float, left: float) -> tuple[float, Goodness]:
    """Return Σ w (y − prediction)² as the weights were given, and the figures of merit.

    ``left`` are the degrees of freedom that are left.
    """
    seen, rows, mean = problem.data.moments, problem.rows, problem.mean_weight
    total = max(0.0, seen.second - seen.first * seen.first / rows)
    logs = seen.logs + rows * math.log(mean) if problem.weighting.text else 0.0
    fitted, absolute = rows - int(left), problem.weighting.absolute
    merit = goodness(mean * residual, mean * total, rows, fitted, logs, absolute)
    if not problem.squared:
        # Most figures take residuals for normal, which only one loss does.
        merit = Goodness(merit.degrees_of_freedom)
    return mean * residual, merit
