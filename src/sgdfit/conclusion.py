"""The end of a fit: one last pass over the rows, and everything that it tells, as a `Result`."""

from __future__ import annotations

import numpy as np

from sgdfit.assessment import correlations, distance_to_optimum, estimates, uncertainty
from sgdfit.descent import Course, Plan
from sgdfit.diagnosis import Diagnosis
from sgdfit.ending import judge
from sgdfit.evaluation import evaluate
from sgdfit.kernel import Sums
from sgdfit.model import Model
from sgdfit.optimizer import describe as describe_optimizer
from sgdfit.result import Result
from sgdfit.schedule import Schedule
from sgdfit.schedule import describe as describe_schedule
from sgdfit.statistics import goodness
from sgdfit.task import Task
from sgdfit.trace import Trace

__all__ = ["conclude"]


def conclude(task: Task, plan: Plan, course: Course, first: Sums, diagnosis: Diagnosis) -> Result:
    """Return the `Result` of a descent that began with the sums ``first``."""
    model, source, chunk = task.model, task.source, task.chunk
    theta = _chosen(plan, course)
    sums = plan.kernel.sums(theta, chunk)
    with np.errstate(all="ignore"):
        distance = distance_to_optimum(model, plan.kernel, chunk, theta, sums)
    status = judge(task, plan, course, first, sums, diagnosis, distance)
    usable = status.ok and np.isfinite(sums.loss)
    found = uncertainty(model, plan.kernel, chunk, theta, sums)
    residual, total, log_weights = _squares(task, theta)
    merit = goodness(
        residual,
        total,
        rows=source.rows if chunk.weights is None else int(np.count_nonzero(chunk.weights)),
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
        residual_sum_of_squares=residual,
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
        warnings=(*task.warnings, *_undetermined(found.undetermined, diagnosis)),
        data_label=source.label,
        weights=task.weights,
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


def _squares(task: Task, theta: np.ndarray) -> tuple[float, float, float]:
    """Return Σ w r², Σ w (y − ȳ)² and Σ ln w, with the weights as they were given."""
    model, source = task.model, task.source
    values = {**source.columns, **model.values(theta.tolist())}
    with np.errstate(all="ignore"):
        predicted = evaluate(model.formula.expression, values)
        target = np.broadcast_to(evaluate(model.formula.response, source.columns), source.rows)
        scaled = np.ones(source.rows) if task.chunk.weights is None else task.chunk.weights
        weight = task.mean_weight * scaled
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
