"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools

import numpy as np

from sgdfit.fits.descent import Course, Plan
from sgdfit.fits.landing import Landing, is_finite
from sgdfit.fits.rate import momentum_of
from sgdfit.fits.task import Task
from sgdfit.fits.trouble import Trouble, find_trouble
from sgdfit.inference.diagnosis import Diagnosis, explain_divergence
from sgdfit.inference.directions import EPS, eigen
from sgdfit.kernels.kernel import Chunk, Segment, Sums
from sgdfit.kernels.order import in_order
from sgdfit.optimization.schedule import Schedule
from sgdfit.results.status import Status, status_of

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
    begun = is_finite(first)
    trouble = find_trouble(task, course, overflow=not begun) if landing.lost else None
    if trouble is not None:
        return _domain_status(task, course, trouble)
    if not begun:
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
    if still is not None and not _moves(plan, course, task.chunk):
        return status_of("stalled", step=still, cure=_pulled(plan))
    cause = f"all {plan.steps:,} steps were taken before the optimum was reached"
    cure = _cure(plan, landing, diagnosis, distance, reach)
    return status_of("step_limit", cause=cause, cure=cure)


def _cure(
    plan: Plan, landing: Landing, diagnosis: Diagnosis, distance: float, reach: float
) -> str | None:
    """Say what leads to the optimum; None: nothing better is known than the usual advice."""
    pulled = _pulled(plan)
    if pulled is not None:
        return pulled
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
    return _outlook(plan, landing, diagnosis, distance / reach, reach)


def _pulled(plan: Plan) -> str | None:
    """Say what weight decay does, if there is any."""
    options = dict(zip(plan.optimizer.option_names, plan.optimizer.options, strict=True))
    decay = options.get("weight_decay")
    if not decay:
        return None
    return f"set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum"


def _outlook(
    plan: Plan, landing: Landing, diagnosis: Diagnosis, factor: float, reach: float
) -> str | None:
    """Say how many steps make the distance ``factor`` times smaller, if the curvature tells.

    Along each eigenvector of the curvature, here where the run ended, the distance shrinks by its
    own growth factor; the slowest of those that matter decides.
    """
    constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
    averaging = plan.optimizer.average_from is not None
    if plan.optimizer.name != "sgd" or not constant or averaging:
        return None
    curvature, vectors = eigen(landing.sums.curvature / landing.sums.weight)
    known = curvature > EPS * curvature.max(initial=0.0)
    update, rate = momentum_of(plan.optimizer)[0], plan.schedule(0)
    logs = update.log_radius(rate * curvature[known])
    if (logs >= 0).any():
        limit = update.limit(float(curvature.max()))
        return f"lower the learning rate: where the run ended, its limit is {limit:.4g}"
    gradient = vectors.T @ (landing.sums.gradient / landing.sums.weight)
    needed = _steps_needed(landing, gradient[known], curvature[known], logs, factor)
    if needed is None:
        return None
    rounded = float(f"{max(needed, 1):.1e}")
    more = f"about {rounded:,.0f} more steps at this rate lead within {reach:g} standard errors"
    fastest = diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _steps_needed(
    landing: Landing, gradient: np.ndarray, curvature: np.ndarray, logs: np.ndarray, factor: float
) -> float | None:
    # The squared distance is a sum of these shares, λ (gradient/λ)².
    share = gradient**2 / curvature
    # Standard errors shrink on the way as well, since the loss falls by half of the shares.
    loss = landing.sums.loss / landing.sums.weight
    least = loss - share.sum() / 2
    if not least > 1e-9 * loss:
        return None
    some = share > 0
    sizes = factor * np.sqrt(loss / least * share[some] / share.sum())
    needed = float(np.max(np.log(sizes) / -logs[some], initial=0.0))
    return needed if np.isfinite(needed) else None


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


def _moves(plan: Plan, course: Course, chunk: Chunk) -> bool:
    """Whether one more step moves a parameter: records may meet a swing at equal phases."""
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
