"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools

import numpy as np

from sgdfit.descent import Course, Plan
from sgdfit.diagnosis import Diagnosis, explain_divergence
from sgdfit.kernel import Sums
from sgdfit.landing import Landing
from sgdfit.schedule import Schedule
from sgdfit.status import Status, status_of
from sgdfit.task import Task
from sgdfit.trouble import Trouble, find_trouble

__all__ = ["judge"]

# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# A loss this many times that at the start is no noise of the batches.
MUCH = 10
# So many records without a move are a standstill.
STILL = 10


def judge(
    task: Task,
    plan: Plan,
    course: Course,
    landing: Landing,
    first: Sums,
    diagnosis: Diagnosis,
    distance: float,
) -> Status:
    """Return how a run ended.

    Parameters
    ----------
    landing : Landing
        Where the estimates are taken.
    first : Sums
        Over all rows, at the start.
    diagnosis : Diagnosis
        Of the curvature at the start.
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    """
    trouble = find_trouble(task, course) if landing.lost else None
    if trouble is not None:
        return _domain_status(task, course, trouble)
    if landing.lost and course.state.step == 0:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    if landing.lost or course.ending == "halted" or _grown(plan, course, landing, first, diagnosis):
        return _diverged(course, plan, landing, first, diagnosis)
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=course.state.step)
    reach = ARRIVED if plan.tolerance is None else plan.tolerance
    if distance <= reach:
        cause = f"the optimum is {distance:.2g} standard errors away, within {reach:g} of them"
        return status_of("converged", cause=cause)
    still = _still_since(course)
    if still is not None:
        return status_of("stalled", step=still)
    cause = f"all {plan.steps:,} steps were taken before the optimum was reached"
    return status_of("step_limit", cause=cause, cure=_cure(plan, diagnosis, distance, reach))


def _cure(plan: Plan, diagnosis: Diagnosis, distance: float, reach: float) -> str | None:
    """Say what leads to the optimum; None: nothing better is known than the usual advice."""
    options = dict(zip(plan.optimizer.option_names, plan.optimizer.options, strict=True))
    if options.get("weight_decay"):
        return (
            f"set weight_decay=0: {options['weight_decay']:g} pulls the estimates towards 0, away"
            " from the optimum"
        )
    if not np.isfinite(distance):
        return (
            "this loss has no curvature that would tell the distance to the optimum; let the"
            " learning rate decay (schedule='cosine') and see whether the trace has settled"
        )
    if diagnosis.noise_floor is not None and (diagnosis.noise_distance or 0) > reach:
        return (
            "average the iterates (averaged(sgd)), let the learning rate decay (a schedule), or"
            " take larger batches: at a constant rate the noise of the batches keeps it this far"
        )
    return _more_steps(plan, diagnosis, distance, reach)


def _more_steps(plan: Plan, diagnosis: Diagnosis, distance: float, reach: float) -> str | None:
    """Say how many more steps are needed, where the curvature tells it."""
    per_digit = diagnosis.steps_per_digit_at_rate
    constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
    averaging = plan.optimizer.average_from is not None
    if per_digit is None or not np.isfinite(per_digit) or not constant or averaging:
        return None
    needed = float(f"{max(1.0, per_digit * np.log10(distance / reach)):.1e}")
    more = f"about {needed:,.0f} more steps at this rate lead within {reach:g} standard errors"
    fastest = diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _domain_status(task: Task, course: Course, trouble: Trouble) -> Status:
    cure = None
    if course.state.step:
        cure = (
            "lower the learning rate, whose step left the formula's domain, or bound the parameters"
        )
    kept = " of those without missing values" if task.source.dropped else ""
    given = ", ".join(f"{value:.6g}" for value in trouble.arguments)
    at = ", ".join(f"{name} = {value:.6g}" for name, value in trouble.values.items())
    return status_of(
        "domain_error",
        cause=(
            f"{trouble.part} has no finite value on row {trouble.row + 1}{kept} at step"
            f" {course.state.step}: it was given {given} ({at})"
        ),
        cure=cure,
    )


def _grown(plan: Plan, course: Course, landing: Landing, first: Sums, diagnosis: Diagnosis) -> bool:
    """Whether the loss ends far above its start, or above it and rising for good."""
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    if after > MUCH * abs(before) > 0:
        return True
    growth = diagnosis.growth_factor
    # Adaptive steps rise at first; where the figures hold all over, they know it better.
    foreseen = growth is not None and (growth > 1 or diagnosis.local)
    if plan.batch_size < first.rows or course.ending == "interrupted" or not foreseen:
        return False
    path = [*course.records[-3:, 2], after]
    return bool(after > before and all(a < b for a, b in itertools.pairwise(path)))


def _diverged(
    course: Course, plan: Plan, landing: Landing, first: Sums, diagnosis: Diagnosis
) -> Status:
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    displacement = landing.theta - np.asarray(plan.start, dtype=np.float64)
    end = f"; the run was stopped at step {course.state.step}" if course.ending == "halted" else ""
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {landing.step}{end}."
    # The last sentence of the explanation names the rate to use.
    return status_of(
        "diverged", cause=f"{rise} {explain_divergence(diagnosis, displacement)}", cure=""
    )


def _still_since(course: Course) -> int | None:
    """Return the step from which on no parameter moved, if that is some records ago."""
    theta = np.asarray(course.state.theta)
    moved = (course.records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
    still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
    return int(course.records[len(moved) - still, 0]) if still >= STILL else None
