"""What leads to the optimum from where a run ended short of it."""

from __future__ import annotations

import numpy as np

from sgdfit.fitting.course import Course
from sgdfit.fitting.descent import Plan
from sgdfit.fitting.landing import Landing
from sgdfit.fitting.rate import momentum_of
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.directions import EPS, eigen
from sgdfit.optimizers.schedule import Schedule

__all__ = ["cure_of", "pulled_by"]

# Within this many times the noise that was foreseen, noise is what keeps a run from the optimum.
NEAR_NOISE = 2.0
# Nobody takes more steps than this; something else is wrong.
TOO_MANY = 1e7


def cure_of(
    plan: Plan,
    course: Course,
    landing: Landing,
    diagnosis: Diagnosis,
    distance: float,
    reach: float,
) -> str | None:
    """Say what leads to the optimum; None: nothing better is known than the usual advice."""
    pulled = pulled_by(plan)
    if pulled is not None:
        return pulled
    if not np.isfinite(distance):
        return (
            "this loss has no curvature that would tell the distance to the optimum; let the"
            " learning rate decay (schedule='cosine') and see whether the trace has settled"
        )
    noise = diagnosis.noise_distance or 0.0
    constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
    if plan.optimizer.average_from is not None:
        return "take more steps, or begin averaging later: averaged(…, start=…)"
    if plan.optimizer.name != "sgd" or not constant:
        return None
    if noise > reach and distance <= NEAR_NOISE * noise:
        return (
            "let the learning rate decay (a schedule), average the later iterates"
            " (averaged(sgd, start=…)), or take larger batches: at a constant rate the noise of"
            " the batches keeps it this far"
        )
    return _outlook(plan, course, landing, diagnosis, distance, max(reach, noise))


def pulled_by(plan: Plan) -> str | None:
    """Say what weight decay does, if there is any."""
    options = dict(zip(plan.optimizer.option_names, plan.optimizer.options, strict=True))
    decay = options.get("weight_decay")
    if not decay:
        return None
    return f"set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum"


def _outlook(
    plan: Plan,
    course: Course,
    landing: Landing,
    diagnosis: Diagnosis,
    distance: float,
    reach: float,
) -> str | None:
    """Say how many steps lead within ``reach``, if the curvature tells.

    Along each eigenvector of the curvature, here where the run ended, the distance shrinks by its
    own growth factor; the slowest of those that matter decides.
    """
    curvature, vectors = eigen(landing.sums.curvature / landing.sums.weight)
    known = curvature > EPS * curvature.max(initial=0.0)
    update, rate = momentum_of(plan.optimizer)[0], plan.schedule(0)
    logs = update.log_radius(rate * curvature[known])
    if (logs >= 0).any():
        limit = update.limit(float(curvature.max()))
        return f"lower the learning rate: where the run ended, its limit is {limit:.4g}"
    if diagnosis.local and _hovers(plan, course, landing):
        return "halve the learning rate: over the last quarter of the steps the loss did not fall"
    gradient = vectors.T @ (landing.sums.gradient / landing.sums.weight)
    needed = _steps_needed(gradient[known], curvature[known], logs, distance / reach)
    if needed is None:
        return None
    if needed > TOO_MANY:
        condition = float(curvature.max() / curvature[known].min())
        return (
            f"centre and rescale the columns: one learning rate cannot serve curvatures that"
            f" differ {condition:.1e} times"
        )
    rounded = float(f"{max(needed, 1):.1e}")
    more = f"about {rounded:,.0f} more steps at this rate lead within {reach:.2g} standard errors"
    fastest = None if diagnosis.local else diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _hovers(plan: Plan, course: Course, landing: Landing) -> bool:
    """Whether a full batch ends no lower than it stood three quarters of the way."""
    losses = course.records[:, 2]
    after = landing.sums.loss / landing.sums.weight
    full = plan.batch_size >= landing.sums.rows
    return bool(full and len(losses) >= 8 and after >= losses[len(losses) * 3 // 4])


def _steps_needed(
    gradient: np.ndarray, curvature: np.ndarray, logs: np.ndarray, factor: float
) -> float | None:
    """Return the steps that make the distance ``factor`` times smaller."""
    # The squared distance is a sum of these shares, λ (gradient/λ)².
    share = gradient**2 / curvature
    some = share > 0
    sizes = factor * np.sqrt(share[some] / share.sum())
    needed = float(np.max(np.log(sizes) / -logs[some], initial=0.0))
    return needed if np.isfinite(needed) else None
