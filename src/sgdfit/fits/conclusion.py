"""The end of a fit: one last pass over the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fits.assessment import (
    SQUARED,
    Uncertainty,
    correlations,
    distance_to_optimum,
    estimates,
    from_sums,
    is_hidden,
    uncertainty,
)
from sgdfit.fits.descent import Course, Plan
from sgdfit.fits.ending import judge
from sgdfit.fits.landing import Landing, land
from sgdfit.fits.squares import sum_squares
from sgdfit.fits.task import Task, counted
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.statistics import goodness
from sgdfit.kernels.kernel import Sums
from sgdfit.optimization.optimizer import describe as describe_optimizer
from sgdfit.optimization.schedule import Schedule
from sgdfit.optimization.schedule import describe as describe_schedule
from sgdfit.results.result import Result
from sgdfit.results.status import Status
from sgdfit.results.trace import Trace

__all__ = ["conclude"]

# Farther than this from the optimum, in standard errors, a 95% interval would miss it too often.
FAR = 1.0


def conclude(task: Task, plan: Plan, course: Course, first: Sums, diagnosis: Diagnosis) -> Result:
    """Return the `Result` of a descent that began with the sums ``first``."""
    model, source, chunk = task.model, task.source, task.chunk
    landing = land(plan, course, chunk)
    theta, sums = landing.theta, landing.sums
    with np.errstate(all="ignore"):
        distance = distance_to_optimum(model, plan.kernel, chunk, theta, sums)
        found = uncertainty(model, chunk, theta, from_sums(plan.kernel, chunk, theta, sums))
        squares = sum_squares(task, landing)
        # Where no noise is left, standard errors are no measure.
        distance = 0.0 if squares.perfect else distance
        hidden = is_hidden(task, theta, found.undetermined)
        status = judge(
            task, plan, course, landing, first, diagnosis, distance, found.undetermined, hidden
        )
    # From afar neither the distance nor an error, which hold near the optimum, means anything.
    plateau = status.name == "stalled" and bool(found.undetermined)
    told = () if plateau else _undetermined(found.undetermined, diagnosis)
    distance = distance if status.ok and not plateau else math.inf
    found = _withheld(found, status, distance)
    merit = goodness(
        squares.residual,
        squares.total,
        rows=counted(chunk),
        free=len(model.free),
        sum_log_weights=squares.log_weights,
    )
    squared = model.loss.name == SQUARED
    return Result(
        formula=str(model.formula),
        loss_name=model.loss.name,
        optimizer=describe_optimizer(plan.optimizer),
        learning_rate=_rate_text(plan),
        batch_size=None if plan.batch_size >= sums.rows else plan.batch_size,
        seed=plan.seed,
        kernel=plan.kernel.form,
        dtype=plan.start.dtype.name,
        estimates=estimates(model, theta, found),
        free=model.free,
        covariance=found.covariance,
        correlation=correlations(found.covariance),
        covariance_method=found.method,
        loss=sums.loss / sums.weight,
        residual_sum_of_squares=squares.residual,
        rows=sums.rows,
        rows_dropped=source.dropped,
        degrees_of_freedom=merit.degrees_of_freedom,
        # These figures take the residuals for normal, which other losses do not.
        reduced_chi_square=merit.reduced_chi_square if squared else None,
        r_squared=merit.r_squared if squared else None,
        aic=merit.aic if squared else None,
        aicc=merit.aicc if squared else None,
        bic=merit.bic if squared else None,
        steps=course.state.step,
        epochs=course.state.step // -(-sums.rows // plan.batch_size),
        seconds=course.seconds,
        status=status,
        distance=distance if np.isfinite(distance) else None,
        diagnosis=diagnosis,
        trace=_trace(plan, course, landing),
        warnings=(*task.warnings, *told),
        data_label=source.label,
        weights=task.weights,
    )


def _withheld(found: Uncertainty, status: Status, distance: float) -> Uncertainty:
    """Take the errors back where the estimates are not those that they belong to."""
    if not status.ok:
        return found._replace(covariance=None, method=f"none: the run ended as {status.label}")
    if np.isfinite(distance) and distance > FAR:
        away = f"the estimates are still {distance:.2g} standard errors from the optimum"
        return found._replace(covariance=None, method=f"none: {away}")
    return found


def _rate_text(plan: Plan) -> str:
    schedule = plan.schedule
    if isinstance(schedule, Schedule) and schedule.name == "constant":
        return repr(schedule(0))
    return describe_schedule(schedule)


def _trace(plan: Plan, course: Course, landing: Landing) -> Trace:
    """Return the records of the way to the landing, and the landing as the last row."""
    p, sums = len(plan.names), landing.sums
    way = course.records[: int(np.searchsorted(course.records[:, 0], landing.step))]
    way = way if plan.keep_trace else way[:0]
    step = np.append(way[:, 0], landing.step).astype(np.int64)
    with np.errstate(all="ignore"):
        gradient = sums.gradient / sums.weight
    return Trace(
        names=plan.names,
        step=step,
        epoch=step // -(-sums.rows // plan.batch_size),
        learning_rate=np.append(way[:, 1], np.nan),
        loss=np.append(way[:, 2], sums.loss / sums.weight),
        parameters=np.vstack([way[:, 3 : 3 + p], landing.theta]),
        gradient=np.vstack([way[:, 3 + p :], gradient]),
    )


def _undetermined(combinations: tuple[str, ...], diagnosis: Diagnosis) -> tuple[str, ...]:
    told = any(combination in note for combination in combinations for note in diagnosis.notes)
    if not combinations or told:
        return ()
    return (
        f"the data do not determine {', '.join(combinations)}: any value of it fits as well, so no"
        " standard errors are given; fix or tie one of the parameters",
    )
