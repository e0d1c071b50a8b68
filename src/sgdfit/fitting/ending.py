"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools

import numpy as np

from sgdfit.fitting.course import Course
from sgdfit.fitting.descent import Plan
from sgdfit.fitting.landing import Landing, is_finite
from sgdfit.fitting.outlook import cure_of, pulled_by
from sgdfit.fitting.population import Population
from sgdfit.fitting.task import Task
from sgdfit.fitting.trouble import Trouble, find_trouble
from sgdfit.inference.diagnosis import Diagnosis, explain_divergence, rate_advice
from sgdfit.kernel.kernel import Segment, Sums
from sgdfit.kernel.order import in_order
from sgdfit.result.status import Status, status_of

__all__ = ["ARRIVED", "FLAT", "judge", "out_of_domain"]

# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# A loss this many times that at the start is no noise of the batches.
MUCH = 10
FLAT = (
    "start elsewhere: the gradient is zero here, so no learning rate moves the parameters (a floor,"
    " a sign or a condition has no slope)"
)
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
    undetermined: tuple[str, ...],
    hidden: bool,
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
    undetermined : tuple of str
        Combinations of parameters on which the loss does not depend at the estimates.
    hidden : bool
        Whether the rows do determine them, and only the sums over rows cannot tell.
    """
    return _failed(task, plan, course, landing, first, diagnosis) or _short_of_it(
        task, plan, course, landing, first, diagnosis, distance, undetermined, hidden
    )


def _failed(
    task: Task, plan: Plan, course: Course, landing: Landing, first: Sums, diagnosis: Diagnosis
) -> Status | None:
    """Return how a run failed, or None where it did not."""
    begun = is_finite(first)
    trouble = find_trouble(task, _tried(course), overflow=not begun) if landing.lost else None
    if trouble is not None:
        return _domain_status(task, course, landing, trouble)
    if not begun:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    loss = landing.sums.loss / landing.sums.weight
    if loss < -plan.ceiling:
        return status_of(
            "diverged",
            cause=f"the loss fell to {loss:.6g} and goes on",
            cure="use a loss that has a minimum: this one falls without bound",
        )
    if landing.lost or course.ending == "halted" or _grown(plan, course, landing, first, diagnosis):
        return _diverged(course, plan, landing, first, diagnosis)
    return None


def _short_of_it(
    task: Task,
    plan: Plan,
    course: Course,
    landing: Landing,
    first: Sums,
    diagnosis: Diagnosis,
    distance: float,
    undetermined: tuple[str, ...],
    hidden: bool,
) -> Status:
    """Return how near to the optimum a run came that did not fail."""
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=course.state.step)
    if hidden:
        return _hidden(task, landing, undetermined)
    plateau = _plateau(plan, landing, first, diagnosis, undetermined)
    if plateau is not None:
        return plateau
    reach = ARRIVED if plan.tolerance is None else plan.tolerance
    if distance <= reach:
        cause = f"nearer than the {reach:g} standard errors that count"
        return status_of("converged", cause=cause)
    still = _still_since(course)
    if still is not None and not _moves(plan, course, task.population):
        flat = None if landing.sums.gradient.any() else FLAT
        return status_of("stalled", step=still, cure=flat or pulled_by(plan))
    cause = f"all {plan.steps:,} steps were taken before the optimum was reached"
    cure = cure_of(plan, course, landing, diagnosis, distance, reach)
    return status_of("step_limit", cause=cause, cure=cure)


def _tried(course: Course) -> list[np.ndarray]:
    """Return the states that a run ended in: that of the last step, and what it averaged."""
    last = course.state.theta
    return [last] if course.ending == "halted" else [course.theta, last]


def _hidden(task: Task, landing: Landing, undetermined: tuple[str, ...]) -> Status:
    """Return a stall of arithmetic: columns far from zero hide what their differences tell."""
    centres = ", ".join(
        f"({name} - {float(np.mean(column, dtype=np.float64)):.4g})"
        for name, column in zip(task.model.columns, task.population.some.columns, strict=True)
        if name in task.model.variables
    )
    return status_of(
        "stalled",
        step=landing.step,
        cause=(
            f"sums over the rows cannot tell {', '.join(undetermined)} from rounding at the scale"
            " of these columns, so steps along it lead nowhere"
        ),
        cure=f"centre and rescale the columns: in the formula write {centres} for each",
    )


def _plateau(
    plan: Plan,
    landing: Landing,
    first: Sums,
    diagnosis: Diagnosis,
    undetermined: tuple[str, ...],
) -> Status | None:
    """Return a stall on flat ground, which looks like an optimum from within."""
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    lost = bool(undetermined) and not diagnosis.undetermined
    higher = plan.batch_size >= first.rows and after > before * (1 + 1e-9)
    if not lost and not (higher and diagnosis.local):
        return None
    trail = "the steps led to a plateau, not the optimum: "
    flat = f"there the loss no longer depends on {', '.join(undetermined)}" if lost else ""
    above = f"its loss {after:.6g} is above the {before:.6g} at the start" if higher else ""
    return status_of(
        "stalled",
        step=landing.step,
        cause=trail + "; ".join(filter(None, [flat, above])),
        cure="lower the learning rate, which threw the parameters there, or start nearer",
    )


def _domain_status(task: Task, course: Course, landing: Landing, trouble: Trouble) -> Status:
    cure = None
    if course.state.step:
        cure = (
            "lower the learning rate, whose step left the formula's domain, or bound the parameters"
        )
    earlier = ""
    if landing.step != course.state.step:
        earlier = f"; the estimates are those of step {landing.step}, the last with a finite loss"
    return out_of_domain(task, trouble, course.state.step, earlier, cure)


def out_of_domain(
    task: Task, trouble: Trouble, step: int, earlier: str = "", cure: str | None = None
) -> Status:
    """Return the status of a formula that has no finite value on a row, at a step."""
    kept = " of those without missing values" if task.dropped else ""
    kept += " of those with a weight above 0" if task.counted < task.rows else ""
    given = ", ".join(f"{value:.6g}" for value in trouble.arguments)
    at = ", ".join(f"{name} = {value:.6g}" for name, value in trouble.values.items())
    return status_of(
        "domain_error",
        cause=(
            f"{trouble.part} has no finite value on row {trouble.row + 1}{kept} at step"
            f" {step}: it was given {given} ({at}){earlier}"
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
    end = f"; the run was stopped at step {course.state.step}" if course.ending == "halted" else ""
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {landing.step}{end}."
    if not after > before:
        rise = f"after step {landing.step} a step left the range of floating point{end}."
    advice = rate_advice(diagnosis)
    told = explain_divergence(diagnosis, _last_move(plan, course, landing)).removesuffix(advice)
    return status_of("diverged", cause=f"{rise} {told.strip()}", cure=advice)


def _last_move(plan: Plan, course: Course, landing: Landing) -> np.ndarray:
    """Return the last recorded move: what blew up has outgrown what converged by then."""
    way = course.records[course.records[:, 0] < landing.step, 3 : 3 + len(landing.theta)]
    before = way[-1] if len(way) else np.asarray(plan.start, dtype=np.float64)
    return np.asarray(landing.theta - before)


def _still_since(course: Course) -> int | None:
    """Return the step from which on no parameter moved, if that is some records ago."""
    if course.state.averaged:
        return None
    theta = np.asarray(course.state.theta)
    moved = (course.records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
    still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
    return int(course.records[len(moved) - still, 0]) if still >= STILL else None


def _moves(plan: Plan, course: Course, population: Population) -> bool:
    """Whether one more step moves a parameter: records may meet a swing at equal phases."""
    chunk = population.some if population.whole is None else population.whole
    segment = Segment(
        order=in_order(chunk.rows),
        batch_size=plan.batch_size,
        rates=course.records[-1:, 1],
        ceiling=np.inf,
        record_every=0,
        low=plan.low,
        high=plan.high,
    )
    after = plan.kernel.sweep(course.state._replace(position=0), chunk, segment)
    return bool((after.state.theta != course.state.theta).any())
