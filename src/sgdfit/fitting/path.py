"""The way that a walk of ``auto`` took, in the words of a result."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.multistart import Found
from sgdfit.fitting.options import AUTO, trace_interval
from sgdfit.fitting.problem import Course, Problem, Stand
from sgdfit.fitting.uncertainty import Way
from sgdfit.result.trace import Trace

__all__ = ["path_of"]


def path_of(found: Found, problem: Problem, trace_every: int | None) -> Way:
    """Return what a walk of ``auto`` took, and the states that it passed.

    Parameters
    ----------
    found : Found
    problem : Problem
    trace_every : int or None
        Which states to keep.
    """
    course, rows = found.course, found.task.drawn_from or problem.rows
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
        trace=_trace(problem, course, trace_every, rows),
        rows_visited=sum(problem.visits) + problem.population.visited,
        search=found.search,
    )


def _trace(problem: Problem, course: Course, trace_every: int | None, rows: int) -> Trace:
    """Return every state of the walk, or as many as were asked for."""
    every, keep = trace_interval(trace_every, max(1, len(course.way)))
    whole = course.way or (_unseen(problem, course),)
    last = len(whole) - 1
    way = [s for i, s in enumerate(whole) if i == last or (keep and i % every == 0)]
    wide = len(way), len(problem.names)
    counts = np.array([(s.step, s.visited // rows, s.rows) for s in way], dtype=np.int64).T.copy()
    numbers = np.array([(math.nan, s.loss, s.damping, s.distance) for s in way]).T.copy()
    return Trace(
        names=problem.names,
        step=counts[0],
        epoch=counts[1],
        learning_rate=numbers[0],
        loss=numbers[1],
        parameters=np.concatenate([s.theta for s in way]).reshape(wide),
        gradient=np.concatenate([s.gradient for s in way]).reshape(wide),
        rows=counts[2],
        damping=numbers[2],
        distance=numbers[3],
    )


def _unseen(problem: Problem, course: Course) -> Stand:
    """Return the state of a walk that could not begin: a place without a finite loss."""
    unknown = np.full(len(course.theta), np.nan)
    rows = problem.rows
    return Stand(0, rows, math.nan, course.theta, unknown, 0.0, math.inf, rows)
