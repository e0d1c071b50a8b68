"""Equivalent minima, which exchanges and reflections make of one, and which of them is told."""

from __future__ import annotations

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Course, Problem
from sgdfit.fitting.starting import missing
from sgdfit.model.model import Model
from sgdfit.model.symmetry import canonical, equivalents

__all__ = ["nearest", "represented", "settled_on"]


def represented(
    model: Model, raw: np.ndarray, polished: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return both points as they look when the minimum is the canonical one of its equivalents."""
    (there, start), told = canonical(model, np.array([polished, raw]), missing(model))
    return start, there, told


def nearest(model: Model, course: Course) -> np.ndarray:
    """Return the one of the equivalent minima that is most like the given start."""
    orbit = equivalents(model, course.theta)
    if len(orbit) == 1:
        return course.theta
    start = np.array(model.start)
    nonlinear = np.array([name not in model.linear for name in model.free])
    return min(orbit, key=lambda theta: _unlikeness(theta, start, nonlinear))


def settled_on(problem: Problem, course: Course, theta: np.ndarray) -> Course:
    """Return the course, ended at an equivalent minimum."""
    if course.quadratic is None or np.array_equal(theta, course.theta):
        return course
    sizes = [problem.rows]
    again = walk(problem._replace(callback=None, linear=problem.linear[:0]), theta, sizes)
    taken, seen = course.way[-1].step, course.visited
    way = tuple(s._replace(step=s.step + taken, visited=s.visited + seen) for s in again.way[1:])
    return again._replace(
        way=(*course.way, *way), first=course.first, seconds=course.seconds + again.seconds
    )


def _unlikeness(theta: np.ndarray, start: np.ndarray, nonlinear: np.ndarray) -> tuple[int, float]:
    """Return how unlike a start an equivalent minimum is: in order and sign, then in distance."""
    size = np.abs(theta) + np.abs(start)
    apart = float((np.abs(theta - start) / np.where(size > 0, size, 1.0)).sum())
    there, here = theta[nonlinear], start[nonlinear]
    turned = np.sign(np.subtract.outer(there, there)) != np.sign(np.subtract.outer(here, here))
    return int(turned.sum()) + int((np.sign(there) != np.sign(here)).sum()), apart
