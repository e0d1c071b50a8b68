"""Whether residuals look like noise, or like something that the curve misses."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.growth import FEW
from sgdfit.fitting.problem import Course, Misfit, Problem
from sgdfit.fitting.task import Task

__all__ = ["looked_at", "misfit_of", "misfit_warnings"]

# Neighbouring residuals correlate so many standard deviations beyond chance, or the curve leaves so
# much of the variation, that the user is told.
TOLD, HARDLY = 4.0, 0.9
# Fewer rows tell nothing of the kind.
FEWEST = 10


def misfit_of(task: Task, problem: Problem, theta: np.ndarray) -> Misfit:
    """Look at the residuals of some of the rows."""
    chunk = problem.population.sample(FEW // 2, problem.seed)
    rows = problem.kernel.rows(theta, chunk)
    residual, apart = rows.target - rows.prediction, rows.target - _mean(rows.target, chunk.weights)
    if chunk.weights is not None:
        root = np.sqrt(chunk.weights)
        residual, apart = residual * root, apart * root
    total = float(residual @ residual)
    variation = float(apart @ apart)
    along = (*chunk.columns[: len(task.model.variables)], rows.prediction)
    correlation = max(_neighbours(residual, column) for column in along) / (total or 1.0)
    unexplained = total / variation if variation > 0 else 0.0
    return Misfit(correlation, correlation * math.sqrt(len(residual)), unexplained)


def looked_at(task: Task, problem: Problem, course: Course) -> Course:
    """Return the course with what its residuals tell, where the loss is their square."""
    if not problem.squared or course.quadratic is None:
        return course
    return course._replace(misfit=misfit_of(task, problem, course.theta))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    if weights is not None:
        return float(np.average(values, weights=weights))
    return float(np.add.reduce(values)) / len(values)


def _neighbours(residual: np.ndarray, along: np.ndarray) -> float:
    """Return the sum of products of neighbours in the order of a column."""
    ordered = residual[along.argsort(kind="stable")]
    return float(ordered[1:] @ ordered[:-1])


def misfit_warnings(task: Task, problem: Problem, course: Course) -> tuple[str, ...]:
    """Say so where the curve misses what the data hold."""
    if not problem.squared or problem.rows < FEWEST:
        return ()
    found = course.misfit or misfit_of(task, problem, course.theta)
    if found.beyond > TOLD:
        return (
            f"neighbouring residuals go together (correlation {found.correlation:.2f}): the curve"
            " misses something that the data hold, and the standard errors are too small",
        )
    if found.unexplained > HARDLY and len(task.model.free) > 1:
        return (
            f"the curve leaves {100 * found.unexplained:.4g}% of the variation of the response"
            " unexplained: noise, or a minimum that is not the one meant; look at a plot",
        )
    return ()
