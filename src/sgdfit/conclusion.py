"""The end of a fit: one last pass over the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import numpy as np

from sgdfit.assessment import (
    SQUARED,
    correlations,
    distance_to_optimum,
    estimates,
    uncertainty,
)
from sgdfit.descent import Course, Plan
from sgdfit.diagnosis import Diagnosis, explain_divergence
from sgdfit.evaluation import DomainError, evaluate, find_domain_error
from sgdfit.formula import symbol
from sgdfit.kernel import Chunk, Sums
from sgdfit.model import Model
from sgdfit.optimizer import describe as describe_optimizer
from sgdfit.result import Result
from sgdfit.schedule import Schedule
from sgdfit.schedule import describe as describe_schedule
from sgdfit.source import Source
from sgdfit.statistics import goodness
from sgdfit.status import Status, status_of
from sgdfit.trace import Trace

__all__ = ["conclude"]

# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01


def conclude(
    model: Model,
    source: Source,
    chunk: Chunk,
    plan: Plan,
    course: Course,
    diagnosis: Diagnosis,
    first: Sums,
    mean_weight: float,
    weights: str | None,
    warnings: tuple[str, ...],
    tolerance: float | None,
) -> Result:
    """Return the `Result` of a descent."""
    theta = _chosen(plan, course)
    sums = plan.kernel.sums(theta, chunk)
    with np.errstate(all="ignore"):
        distance = distance_to_optimum(model, plan.kernel, chunk, theta, sums)
    status = _status(model, source, plan, course, diagnosis, first, sums, distance, tolerance)
    usable = status.ok and np.isfinite(sums.loss)
    found = uncertainty(model, plan.kernel, chunk, theta, sums)
    residual, total, log_weights = _squares(model, source, chunk, theta)
    merit = goodness(
        residual * mean_weight,
        total * mean_weight,
        rows=sums.rows,
        free=len(model.free),
        sum_log_weights=log_weights,
    )
    return Result(
        formula=str(model.formula),
        loss_name=model.loss.name,
        optimizer=describe_optimizer(plan.optimizer),
        learning_rate=_rate_text(plan),
        batch_size=None if plan.batch_size >= sums.rows else plan.batch_size,
        seed=plan.seed,
        kernel=plan.kernel.form,
        dtype=plan.start.dtype.name,
        estimates=estimates(model, theta, found if usable else found._replace(covariance=None)),
        free=model.free,
        covariance=found.covariance if usable else None,
        correlation=correlations(found.covariance) if usable else None,
        covariance_method=found.method if usable else f"none: the run ended as {status.label}",
        loss=sums.loss / sums.weight,
        residual_sum_of_squares=residual * mean_weight,
        rows=sums.rows,
        rows_dropped=source.dropped,
        degrees_of_freedom=merit.degrees_of_freedom,
        reduced_chi_square=merit.reduced_chi_square,
        r_squared=merit.r_squared,
        aic=merit.aic,
        aicc=merit.aicc,
        bic=merit.bic,
        steps=course.state.step,
        epochs=course.state.step // -(-sums.rows // plan.batch_size),
        seconds=course.seconds,
        status=status,
        distance=distance if np.isfinite(distance) else None,
        diagnosis=diagnosis,
        trace=_trace(model, plan, course, theta, sums),
        warnings=(*warnings, *_undetermined(found.undetermined, diagnosis)),
        data_label=source.label,
        weights=weights,
    )


def _chosen(plan: Plan, course: Course) -> np.ndarray:
    """Return the estimates; of an interrupted full-batch run the best on its way."""
    records = course.records
    full = plan.batch_size >= course.order.rows
    if course.ending == "interrupted" and full and len(records) and not course.state.averaged:
        best = records[np.argmin(records[:, 2])]
        newest = records[-1]
        if best[2] < newest[2]:
            return np.asarray(best[3 : 3 + len(plan.start)])
    return course.theta


def _rate_text(plan: Plan) -> str:
    schedule = plan.schedule
    if isinstance(schedule, Schedule) and schedule.name == "constant":
        return f"{schedule(0):.6g}"
    return describe_schedule(schedule)


def _squares(
    model: Model, source: Source, chunk: Chunk, theta: np.ndarray
) -> tuple[float, float, float]:
    """Return Σ w r², Σ w (y − ȳ)² (w of mean one) and Σ ln w of the weights as given."""
    values = {**source.columns, **model.values(theta)}
    rows = source.rows
    with np.errstate(all="ignore"):
        predicted = evaluate(model.formula.expression, values)
        target = np.broadcast_to(evaluate(model.formula.response, source.columns), rows)
        weight = np.ones(rows) if chunk.weights is None else chunk.weights
        residual = float(np.sum(weight * (target - predicted) ** 2, dtype=np.float64))
        mean = float(np.sum(weight * target, dtype=np.float64) / weight.sum())
        total = float(np.sum(weight * (target - mean) ** 2, dtype=np.float64))
        logs = float(np.sum(np.log(weight[weight > 0])))
    return residual, total, logs


def _trace(model: Model, plan: Plan, course: Course, theta: np.ndarray, sums: Sums) -> Trace:
    """Return every recorded step, and the end of the run as the last row."""
    p, records = len(model.free), course.records
    per_epoch = -(-sums.rows // plan.batch_size)
    step = np.append(records[:, 0], course.state.step).astype(np.int64)
    with np.errstate(all="ignore"):
        gradient = sums.gradient / sums.weight
    return Trace(
        names=model.free,
        step=step,
        epoch=step // per_epoch,
        learning_rate=np.append(records[:, 1], np.nan),
        loss=np.append(records[:, 2], sums.loss / sums.weight),
        parameters=np.vstack([records[:, 3 : 3 + p], theta]),
        gradient=np.vstack([records[:, 3 + p :], gradient]),
    )


def _undetermined(combinations: tuple[str, ...], diagnosis: Diagnosis) -> tuple[str, ...]:
    told = any(combination in note for combination in combinations for note in diagnosis.notes)
    if not combinations or told:
        return ()
    return (
        f"the data do not determine {', '.join(combinations)}: any value of it fits as well, so no"
        " standard errors are given; fix or tie one of the parameters",
    )


def _status(
    model: Model,
    source: Source,
    plan: Plan,
    course: Course,
    diagnosis: Diagnosis,
    first: Sums,
    sums: Sums,
    distance: float,
    tolerance: float | None,
) -> Status:
    step, steps = course.state.step, plan.steps
    broken = _broken(model, source, course, sums)
    if broken is not None and broken.kind != "overflow":
        return _domain_status(model, course, broken)
    if course.ending == "halted" or _grown(plan, course, first, sums):
        return _diverged(plan, course, diagnosis, first, sums)
    if distance <= (ARRIVED if tolerance is None else tolerance):
        return status_of("converged", cause=f"{_errors(distance)} from the optimum", cure="")
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=step)
    away = f"still {_errors(distance)} from the optimum" if np.isfinite(distance) else ""
    if _stalled(course):
        return status_of(
            "stalled", step=step, cause=f"the steps no longer move the estimates, {away}"
        )
    cause = f"all {steps:,} steps were taken" + (f", {away}" if away else "")
    return status_of("step_limit", cause=cause, cure=_more_steps(plan, diagnosis, distance))


def _errors(distance: float) -> str:
    if distance == 0:
        return "no distance (to rounding)"
    return f"{distance:.2g} standard errors"


def _more_steps(plan: Plan, diagnosis: Diagnosis, distance: float) -> str | None:
    """Say how many more steps are needed, where the curvature tells it."""
    per_digit = diagnosis.steps_per_digit_at_rate
    constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
    full = plan.batch_size >= 1 and diagnosis.noise_floor is None
    if per_digit is None or not np.isfinite(per_digit * distance) or not constant or not full:
        return None
    needed = per_digit * np.log10(distance / ARRIVED)
    figure = float(f"{max(needed, 1):.1e}")
    return f"about {figure:,.0f} more steps at this rate would end within 0.01 standard errors"


def _broken(model: Model, source: Source, course: Course, sums: Sums) -> DomainError | None:
    """Return where the formula has no finite value, if that is why the loss has none."""
    if course.ending != "halted" and np.isfinite(sums.loss):
        return None
    values = {**source.columns, **model.values(course.state.theta)}
    for expression in (model.formula.expression, model.formula.response, *_slopes(model)):
        found = find_domain_error(expression, values)
        if found is not None:
            return found
    return None


def _slopes(model: Model) -> list[object]:
    """The Jacobian with fixed and tied values put in (a slope may break where the value does not)."""
    held = {symbol(p.name): p.start for p in model.parameters.values() if p.role == "fixed"}
    return [slope.subs(held) for slope in model.gradient]


def _domain_status(model: Model, course: Course, broken: DomainError) -> Status:
    at = ", ".join(f"{name} = {value:.6g}" for name, value in broken.names.items())
    given = ", ".join(f"{value:.6g}" for value in broken.arguments)
    return status_of(
        "domain_error",
        cause=(
            f"{broken.subexpression} has no finite value on row {broken.row + 1} at step"
            f" {course.state.step}: it was given {given} ({at})"
        ),
    )


def _grown(plan: Plan, course: Course, first: Sums, sums: Sums) -> bool:
    """Whether the loss ends far above its start, or above it and rising."""
    before, after = first.loss / first.weight, sums.loss / sums.weight
    if not np.isfinite(after):
        return True
    if plan.batch_size < sums.rows:
        return bool(after > 10 * abs(before) and course.state.step > 0 and before > 0)
    last = [*course.records[-3:, 2], after]
    return bool(after > before and all(a < b for a, b in zip(last, last[1:], strict=False)))


def _diverged(plan: Plan, course: Course, diagnosis: Diagnosis, first: Sums, sums: Sums) -> Status:
    before, after = first.loss / first.weight, sums.loss / sums.weight
    displacement = course.theta - np.asarray(plan.start, dtype=np.float64)
    stopped = "; the run was stopped" if course.ending == "halted" else ""
    text = f"the loss rose from {before:.6g} to {after:.6g} by step {course.state.step}{stopped}."
    return status_of("diverged", cause=f"{text} {explain_divergence(diagnosis, displacement)}")


def _stalled(course: Course) -> bool:
    """Whether the last recorded steps left every parameter where it was."""
    p = len(course.theta)
    last = course.records[-10:, 3 : 3 + p]
    return len(last) == 10 and bool(
        np.all(last == last[0]) and np.all(last[0] == course.state.theta)
    )
