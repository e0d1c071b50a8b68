"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from sgdfit.descent import Course, Plan
from sgdfit.diagnosis import Diagnosis, explain_divergence
from sgdfit.evaluation import DomainError, find_domain_error
from sgdfit.kernel import Sums
from sgdfit.schedule import Schedule
from sgdfit.status import Status, status_of
from sgdfit.task import Task

__all__ = ["judge"]

# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# A loss this many times that at the start is no noise of the batches.
MUCH = 10


def judge(
    task: Task,
    plan: Plan,
    course: Course,
    first: Sums,
    last: Sums,
    diagnosis: Diagnosis,
    distance: float,
) -> Status:
    """Return how a run ended.

    Parameters
    ----------
    first, last : Sums
        Over all rows, at the start and at the estimates.
    diagnosis : Diagnosis
        Of the curvature at the start.
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    """
    broken = _broken(task, course, last)
    # An overflow after the start is what divergence looks like from within one row.
    if broken is not None and (broken.kind != "overflow" or course.state.step == 0):
        return _domain_status(course, broken)
    if course.ending == "halted" or _grown(plan, course, first, last):
        return _diverged(plan, course, first, last, diagnosis)
    reach = ARRIVED if plan.tolerance is None else plan.tolerance
    if distance <= reach:
        return status_of("converged", cause=f"within the {reach:g} standard errors that count")
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=course.state.step)
    if _stalled(course):
        return status_of("stalled", step=course.state.step)
    cause = f"all {plan.steps:,} steps were taken before the optimum was reached"
    return status_of("step_limit", cause=cause, cure=_more_steps(plan, diagnosis, distance))


def _more_steps(plan: Plan, diagnosis: Diagnosis, distance: float) -> str | None:
    """Say how many more steps are needed, where the curvature tells it."""
    per_digit = diagnosis.steps_per_digit_at_rate
    constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
    if diagnosis.noise_floor is not None and (diagnosis.noise_distance or 0) > ARRIVED:
        return (
            "average the iterates (averaged(sgd)), let the learning rate decay (a schedule), or"
            " take larger batches: at a constant rate the noise of the batches keeps it this far"
        )
    if per_digit is None or not np.isfinite(per_digit * distance) or not constant:
        return None
    needed = float(f"{max(1.0, per_digit * np.log10(distance / ARRIVED)):.1e}")
    more = f"about {needed:,.0f} more steps at this rate lead within {ARRIVED:g} standard errors"
    fastest = diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _broken(task: Task, course: Course, last: Sums) -> DomainError | None:
    """Return where the formula has no finite value, if that is why the loss has none."""
    if course.ending != "halted" and np.isfinite(last.loss):
        return None
    model = task.model
    values: dict[str, Any] = {**task.source.columns, **model.values(course.state.theta.tolist())}
    # A slope may have no finite value where the formula has one: sqrt(b) at b = 0.
    for expression in (model.formula.response, model.formula.expression, *model.gradient):
        found = find_domain_error(expression, values)
        if found is not None:
            return found
    return None


def _domain_status(course: Course, broken: DomainError) -> Status:
    at = ", ".join(f"{name} = {value:.6g}" for name, value in broken.names.items())
    given = ", ".join(f"{value:.6g}" for value in broken.arguments)
    return status_of(
        "domain_error",
        cause=(
            f"{broken.subexpression} has no finite value on row {broken.row + 1} at step"
            f" {course.state.step}: it was given {given} ({at})"
        ),
    )


def _grown(plan: Plan, course: Course, first: Sums, last: Sums) -> bool:
    """Whether the loss ends far above its start, or above it and rising."""
    before, after = first.loss / first.weight, last.loss / last.weight
    if not np.isfinite(after):
        return True
    if plan.batch_size < last.rows:
        return bool(after > MUCH * abs(before) > 0 and course.state.step > 0)
    path = [*course.records[-3:, 2], after]
    return bool(after > before and all(a < b for a, b in itertools.pairwise(path)))


def _diverged(plan: Plan, course: Course, first: Sums, last: Sums, diagnosis: Diagnosis) -> Status:
    before, after = first.loss / first.weight, last.loss / last.weight
    displacement = course.theta - np.asarray(plan.start, dtype=np.float64)
    stopped = "; the run was stopped" if course.ending == "halted" else ""
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {course.state.step}{stopped}."
    # The last sentence of the explanation names the rate to use.
    return status_of(
        "diverged", cause=f"{rise} {explain_divergence(diagnosis, displacement)}", cure=""
    )


def _stalled(course: Course) -> bool:
    """Whether the last ten recorded steps left every parameter where it was."""
    theta = np.asarray(course.state.theta)
    last = course.records[-10:, 3 : 3 + len(theta)]
    return len(last) == 10 and bool((last == theta).all())
