"""How a walk of the optimizer ``auto`` ended: the facts weighed into one named status."""

from __future__ import annotations

import numpy as np

from sgdfit.fits.centring import centred, far_columns, hides
from sgdfit.fits.ending import ARRIVED, FLAT, out_of_domain
from sgdfit.fits.gauss_newton import Course
from sgdfit.fits.task import Task
from sgdfit.fits.trouble import find_trouble
from sgdfit.inference.quadratic import Quadratic
from sgdfit.models.model import Model
from sgdfit.results.search import Rival
from sgdfit.results.status import Status, status_of

__all__ = ["lost_directions", "pronounce"]

UNKNOWN = (
    "no step lowers the loss any more; a loss without curvature does not tell what that is in"
    " standard errors"
)


def pronounce(
    task: Task,
    course: Course,
    distance: float,
    undetermined: tuple[str, ...],
    better: Rival | None,
    reach: float | None,
) -> Status:
    """Return how a walk ended.

    Parameters
    ----------
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    undetermined : tuple of str
        Combinations of parameters on which the loss does not depend at the estimates.
    better : Rival or None
        A lower minimum that a search found.
    reach : float or None
        The distance that was asked for.
    """
    if course.quadratic is None or course.first is None:
        return _nowhere(task, course)
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=_steps(course))
    if better is not None:
        return _beaten(task.model, course, better)
    if undetermined and hides(task):
        return _hidden(task, course, undetermined)
    if undetermined and lost_directions(course.first, course.quadratic):
        return _plateau(task.model, course, undetermined)
    enough = ARRIVED if reach is None else max(reach, 0.0)
    if distance <= enough:
        cause = f"nearer than the {enough:g} standard errors that count"
        return status_of("converged", cause=cause)
    if course.ending == "steps":
        return status_of("step_limit", steps=_steps(course), cure="raise steps, or start nearer")
    return _resting(task, course, distance)


def lost_directions(first: Quadratic, last: Quadratic) -> int:
    """Return how many directions the loss depended on at the start, and no longer does."""
    return int(first.spectrum.positive.sum()) - int(last.spectrum.positive.sum())


def _steps(course: Course) -> int:
    return course.way[-1].step if course.way else 0


def _nowhere(task: Task, course: Course) -> Status:
    found = find_trouble(task, [course.theta], overflow=True)
    if found is None:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    return out_of_domain(task, found, _steps(course))


def _beaten(model: Model, course: Course, better: Rival) -> Status:
    assert course.quadratic is not None  # the caller has looked
    start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
    rows = course.way[-1].rows
    return status_of(
        "local_minimum",
        cause=(
            f"the start leads to a minimum with a mean loss of {course.quadratic.loss / rows:.6g};"
            f" a search found one of {better.loss:.6g}"
        ),
        cure=f"leave out the start, or start there: start='{start}'",
    )


def _hidden(task: Task, course: Course, undetermined: tuple[str, ...]) -> Status:
    middles = far_columns(task)
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            f"so far from 0 as {', '.join(middles)} lies, rounding hides {', '.join(undetermined)},"
            " which the data do determine"
        ),
        cure=f"centre the columns: fit '{centred(task.model.formula, middles)}'",
    )


def _plateau(model: Model, course: Course, undetermined: tuple[str, ...]) -> Status:
    moved = [f"{name} = {value:.4g}" for name, value in zip(model.free, course.theta, strict=True)]
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            "the steps led to a plateau, not the optimum: there the loss no longer depends on"
            f" {', '.join(undetermined)} ({', '.join(moved)})"
        ),
        cure="start nearer, bound the parameters, or leave out the start so that one is searched",
    )


def _resting(task: Task, course: Course, distance: float) -> Status:
    assert course.quadratic is not None  # the caller has looked
    if not course.quadratic.offset.any():
        return status_of("stalled", step=_steps(course), cure=FLAT)
    if not np.isfinite(distance):
        return status_of("stalled", step=_steps(course), cause=UNKNOWN, cure="")
    left = f"{distance:.2g} standard errors"
    middles = far_columns(task)
    centre = f"centre the columns: fit '{centred(task.model.formula, middles)}'"
    return status_of(
        "stalled",
        step=_steps(course),
        cause=f"rounding hides the rest of the way ({left}): no step lowers the loss any more",
        cure=centre if middles else "rescale the columns so that they are of like size",
    )
