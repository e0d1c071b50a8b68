"""Whether a fit looks like a wrong one, so that another minimum is worth looking for."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.problem import Course, Problem
from sgdfit.fitting.residuals import misfit_of
from sgdfit.fitting.task import Task
from sgdfit.inference.directions import column_norms
from sgdfit.model.model import Model
from sgdfit.model.separation import separate

__all__ = ["ENDED", "is_suspicious"]

# An amplitude of fewer standard errors may be that of noise.
FAINT = 4.0
ENDED = ("interrupted", "stopped", "lost")


def is_suspicious(task: Task, problem: Problem, course: Course) -> bool:
    """Whether a fit looks like a wrong one: it did not arrive, or its residuals are no noise."""
    if course.ending in ENDED:
        return False
    if not course.distance <= 1.0 or not problem.squared:
        return True
    misfit = course.misfit or misfit_of(task, problem, course.theta)
    if misfit.is_doubtful:
        return True
    return _is_faint(task.model, problem, course)


def _is_faint(model: Model, problem: Problem, course: Course) -> bool:
    """Whether a nonlinear part hardly rises from the noise, and so may well lie elsewhere."""
    quadratic, parts = course.quadratic, separate(model.prediction, model.free)
    amplitudes = {name for part in parts.components for name in part.linear}
    chosen = [i for i, name in enumerate(model.free) if name in amplitudes]
    inverse = None if quadratic is None or not chosen else quadratic.inverse
    if quadratic is None or inverse is None:
        return False
    noise = quadratic.spread / max(1, problem.rows - len(model.free))
    errors = column_norms(inverse[chosen].T) * math.sqrt(noise)
    return bool((np.abs(course.theta[chosen]) < FAINT * errors).any())
