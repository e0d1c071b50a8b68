"""The end of a fit: one last pass over the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.assessment import (
    distance_to_optimum,
    from_sums,
    is_hidden,
    uncertainty,
    without,
)
from sgdfit.fitting.composition import Landed, Way, compose, undetermined_warning
from sgdfit.fitting.course import Course
from sgdfit.fitting.descent import Plan
from sgdfit.fitting.ending import judge
from sgdfit.fitting.landing import Landing, land
from sgdfit.fitting.squares import sum_squares
from sgdfit.fitting.task import Task
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.kernel import Sums
from sgdfit.optimizers import describe as describe_optimizer
from sgdfit.optimizers.schedule import Schedule
from sgdfit.optimizers.schedule import describe as describe_schedule
from sgdfit.result.result import Result
from sgdfit.result.trace import Trace

__all__ = ["conclude"]


def conclude(task: Task, plan: Plan, course: Course, first: Sums, diagnosis: Diagnosis) -> Result:
    """Return the `Result` of a descent that began with the sums ``first``."""
    landing = land(plan, course, task.population)
    theta, sums = landing.theta, landing.sums
    with np.errstate(all="ignore"):
        distance = distance_to_optimum(task, plan.kernel, theta)
        found = uncertainty(task, theta, from_sums(plan.kernel, task.population, theta, sums))
        squares = sum_squares(task, plan.kernel, theta, sums.loss)
        # Where no noise is left, standard errors are no measure.
        distance = 0.0 if squares.perfect else distance
        hidden = is_hidden(task, theta, found.undetermined)
        status = judge(
            task, plan, course, landing, first, diagnosis, distance, found.undetermined, hidden
        )
    # From afar neither the distance nor an error, which hold near the optimum, means anything.
    plateau = status.name == "stalled" and bool(found.undetermined)
    told = () if plateau else _undetermined(found.undetermined, diagnosis)
    if found.undetermined and (plateau or hidden):
        found = found._replace(covariance=None, determined=(), method=without(found.undetermined))
    distance = distance if status.ok and not plateau else math.inf
    landed = Landed(theta, sums.loss, squares, found, distance, status, told)
    return compose(task, landed, _way(task, plan, course, landing, diagnosis))


def _way(task: Task, plan: Plan, course: Course, landing: Landing, diagnosis: Diagnosis) -> Way:
    # The descent was through all rows, whatever it could look at in the end.
    rows = task.drawn_from or landing.sums.rows
    return Way(
        optimizer=describe_optimizer(plan.optimizer),
        learning_rate=_rate_text(plan),
        batch_size=None if plan.batch_size >= rows else plan.batch_size,
        seed=plan.seed,
        kernel=plan.kernel.form,
        dtype=plan.start.dtype.name,
        steps=course.state.step,
        epochs=course.state.step // -(-rows // plan.batch_size),
        seconds=course.seconds,
        trace=_trace(plan, course, landing, rows),
        # The first batch of the curvature and the last of the errors are all rows.
        rows_visited=rows * 2 + min(course.state.step * plan.batch_size, 2**62),
        diagnosis=diagnosis,
    )


def _rate_text(plan: Plan) -> str:
    schedule = plan.schedule
    if isinstance(schedule, Schedule) and schedule.name == "constant":
        return repr(schedule(0))
    return describe_schedule(schedule)


def _trace(plan: Plan, course: Course, landing: Landing, rows: int) -> Trace:
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
        epoch=step // -(-rows // plan.batch_size),
        learning_rate=np.append(way[:, 1], np.nan),
        loss=np.append(way[:, 2], sums.loss / sums.weight),
        parameters=np.vstack([way[:, 3 : 3 + p], landing.theta]),
        gradient=np.vstack([way[:, 3 + p :], gradient]),
    )


def _undetermined(combinations: tuple[str, ...], diagnosis: Diagnosis) -> tuple[str, ...]:
    told = any(combination in note for combination in combinations for note in diagnosis.notes)
    return () if told else undetermined_warning(combinations)
