"""What ``auto`` knows when it has arrived, as a `Result`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sgdfit.fits.arguments import AUTO, PROFILE, trace_interval
from sgdfit.fits.assessment import (
    Uncertainty,
    distance_to_optimum,
    from_root,
    uncertainty,
    without,
)
from sgdfit.fits.centring import centred, far_columns
from sgdfit.fits.composition import Landed, Way, compose, undetermined_warning, withheld
from sgdfit.fits.gauss_newton import Course, Problem, condition
from sgdfit.fits.profile import profile_intervals
from sgdfit.fits.profile_trace import Optimum
from sgdfit.fits.routes import Found
from sgdfit.fits.squares import sum_squares
from sgdfit.fits.task import Task, counted
from sgdfit.fits.verdict import pronounce
from sgdfit.inference.quadratic import Quadratic
from sgdfit.results.result import Result
from sgdfit.results.trace import Trace

__all__ = ["Asked", "result_of"]

# Singular values of the scaled root that differ so much leave half of the digits.
HALF_THE_DIGITS = 1e8


class Asked(NamedTuple):
    """What the user wants to know.

    Attributes
    ----------
    reach : float or None
        The distance to the optimum that is near enough, in standard errors.
    intervals : str
        ``wald`` or ``profile``.
    trace_every : int or None
        Which states to keep.
    """

    reach: float | None
    intervals: str
    trace_every: int | None


def result_of(found: Found, problem: Problem, asked: Asked) -> Result:
    """Return the `Result` of a walk."""
    way = _way(found, problem, asked.trace_every)
    if found.course.quadratic is None:
        return compose(found.task, _nowhere(found, problem), way)
    landed = _landed(found, problem, asked.reach)
    if asked.intervals == PROFILE:
        landed = _profiled(found.task, problem, landed)
    return compose(found.task, landed, way)


def _landed(found: Found, problem: Problem, reach: float | None) -> Landed:
    task, course = found.task, found.course
    theta, quadratic = course.theta, course.quadratic
    assert quadratic is not None  # the caller has looked
    with np.errstate(all="ignore"):
        evidence = from_root(problem.kernel, task.chunk, theta, quadratic)
        uncertain = uncertainty(task, theta, evidence)
        squares = sum_squares(task, theta, quadratic.loss)
        distance = _distance(task, problem, course)
        # Where no noise is left, standard errors are no measure.
        distance = 0.0 if squares.exact else distance
        status = pronounce(task, course, distance, uncertain.undetermined, found.better, reach)
    told = undetermined_warning(uncertain.undetermined)
    if told and status.name == "stalled":
        why = without(uncertain.undetermined)
        uncertain, told = uncertain._replace(covariance=None, determined=(), method=why), ()
    told = (*told, *_nearly_hidden(task, quadratic, uncertain))
    return Landed(theta, quadratic.loss, squares, uncertain, distance, status, told)


def _profiled(task: Task, problem: Problem, landed: Landed) -> Landed:
    """Profile every parameter, where the estimates are those of a minimum."""
    certain = withheld(landed.found, landed.status, landed.distance)
    if certain.covariance is None or landed.squares.perfect:
        return landed
    left = certain.degrees_of_freedom
    noise = landed.loss / left if np.isfinite(left) else 1 / task.mean_weight
    optimum = Optimum(landed.theta, certain.covariance, noise, left)
    profiles = profile_intervals(problem, optimum)
    warnings = (*landed.warnings, *profiles.warnings)
    return landed._replace(intervals=profiles.intervals, warnings=warnings)


def _nearly_hidden(task: Task, quadratic: Quadratic, found: Uncertainty) -> tuple[str, ...]:
    """Say where rounding takes more than half of the digits, and how to write it otherwise."""
    overflown = found.covariance is not None and bool(np.isinf(found.covariance).any())
    lost = 0.0 if quadratic.regular else condition(quadratic)
    if found.undetermined or not (overflown or lost > HALF_THE_DIGITS):
        return ()
    middles = far_columns(task)
    if not middles:
        return ()
    names, digits = ", ".join(middles), math.log10(min(lost, 1e16)) if lost else 0
    what = "a parameter overflows" if overflown else f"rounding costs {digits:.0f} of 16 digits"
    return (
        f"{names} lies far from 0, where {what}; fit"
        f" '{centred(task.model.formula, middles)}' instead",
    )


def _distance(task: Task, problem: Problem, course: Course) -> float:
    if problem.squared:
        rows, weighting = counted(task.chunk), task.weighting
        if not weighting.absolute or course.quadratic is None:
            return course.distance
        # Measured in the errors that are reported, which the residuals do not scale.
        noise = course.quadratic.loss / max(1, rows - len(problem.names))
        return course.distance * math.sqrt(noise * task.mean_weight)
    sums = problem.kernel.sums(course.theta, task.chunk)
    return distance_to_optimum(task.model, problem.kernel, task.chunk, course.theta, sums)


def _nowhere(found: Found, problem: Problem) -> Landed:
    """Return what is known where no walk could begin."""
    task, theta = found.task, found.course.theta
    status = pronounce(task, found.course, math.inf, (), None, None)
    with np.errstate(all="ignore"):
        loss = problem.kernel.sums(theta, task.chunk).loss
        squares = sum_squares(task, theta, loss)
    unknown = Uncertainty(None, f"none: {status.label}", (), 0)
    return Landed(theta, loss, squares, unknown, math.inf, status, ())


def _way(found: Found, problem: Problem, trace_every: int | None) -> Way:
    course, rows = found.course, problem.chunk.rows
    return Way(
        optimizer=AUTO,
        learning_rate="",
        batch_size=None,
        seed=problem.seed,
        kernel=problem.kernel.form,
        dtype="float64",
        steps=course.way[-1].step if course.way else 0,
        epochs=course.visited // rows,
        seconds=course.seconds,
        trace=_trace(problem, course, trace_every),
        rows_visited=course.visited,
        search=found.search,
    )


def _trace(problem: Problem, course: Course, trace_every: int | None) -> Trace:
    """Return every state of the walk, or as many as were asked for."""
    every, keep = trace_interval(trace_every, max(1, len(course.way)))
    last = len(course.way) - 1
    way = [s for i, s in enumerate(course.way) if i == last or (keep and i % every == 0)]
    p, k = len(problem.names), len(way)
    return Trace(
        names=problem.names,
        step=np.array([s.step for s in way], dtype=np.int64),
        epoch=np.array([s.visited // problem.chunk.rows for s in way], dtype=np.int64),
        learning_rate=np.full(k, np.nan),
        loss=np.array([s.loss for s in way]),
        parameters=np.array([s.theta for s in way]).reshape(k, p),
        gradient=np.array([s.gradient for s in way]).reshape(k, p),
        rows=np.array([s.rows for s in way], dtype=np.int64),
        damping=np.array([s.damping for s in way]),
        distance=np.array([s.distance for s in way]),
    )
