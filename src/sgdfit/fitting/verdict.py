"""How a walk of the optimizer ``auto`` ended: the facts weighed into one named status."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.centring import centred, could_determine, far_columns
from sgdfit.fitting.ending import ARRIVED, FLAT, out_of_domain
from sgdfit.fitting.foresight import condition
from sgdfit.fitting.growth import RESERVED_WHOLE
from sgdfit.fitting.kinks import has_kink
from sgdfit.fitting.problem import Course
from sgdfit.fitting.task import Task
from sgdfit.fitting.trouble import find_trouble
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.directions import EPS
from sgdfit.inference.quadratic import Quadratic
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.result.search import Rival
from sgdfit.result.status import Status, status_of

__all__ = ["pronounce"]

UNKNOWN = (
    "no step lowers the loss any more; a loss without curvature does not tell what that is in"
    " standard errors"
)
JUMPS = (
    "{:.2g} standard errors away from the minimum no step comes nearer, since the gradient of a"
    " loss with a kink jumps from row to row"
)


def pronounce(
    task: Task,
    course: Course,
    distance: float,
    undetermined: tuple[str, ...],
    downhill: tuple[str, ...],
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
    downhill : tuple of str
        Combinations along which it bends down.
    better : Rival or None
        A lower minimum that a search found.
    reach : float or None
        The distance that was asked for.
    """
    if course.quadratic is None or course.first is None:
        return _nowhere(task, course)
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=_steps(course))
    if better is not None and course.ending != "steps":
        return _beaten(task.model, course, better)
    if downhill:
        return _no_minimum(course, downhill)
    if undetermined and (could_determine(task) or _is_flat(task.model, undetermined)):
        if far_columns(task):
            return _hidden(task, course, f"rounding hides {', '.join(undetermined)}")
        return _plateau(task, course, undetermined)
    if _digits_left(course.quadratic) < 1 and far_columns(task):
        return _hidden(task, course, "rounding leaves no digit of the parameters")
    enough = ARRIVED if reach is None else reach
    if distance <= enough:
        cause = f"nearer than the {enough:g} standard errors that count"
        return status_of("converged", cause=cause)
    if course.ending == "steps":
        return status_of(
            "step_limit",
            steps=_steps(course),
            cure=f"raise steps, or start nearer{_unseen(task)}",
        )
    return _resting(task, course, distance)


def _unseen(task: Task) -> str:
    """Say what a search among a few of many rows cannot see."""
    searched = any(p.origin == "search" for p in task.model.parameters.values())
    if not searched or task.rows <= RESERVED_WHOLE:
        return ""
    return (
        f": the search for starts looked at 512 of {task.rows:,} rows, and cannot see what is"
        " narrower than the distance between them, such as a narrow peak; give start"
    )


def _is_flat(model: Model, undetermined: tuple[str, ...]) -> bool:
    """Whether a parameter that curves the formula has no effect at all, which is no property of it.

    Two that only act together are; so is one that acts in steps.
    """
    acting = set(model.free) - set(model.linear) - stepped_names(model.prediction)
    return not acting.isdisjoint(undetermined)


def _digits_left(quadratic: Quadratic) -> float:
    """Return how many digits of the parameters the conditioning of the rows leaves."""
    lost = 1.0 if quadratic.regular else condition(quadratic)
    return -math.log10(EPS * lost) if np.isfinite(lost) else 0.0


def _steps(course: Course) -> int:
    return course.way[-1].step if course.way else 0


def _nowhere(task: Task, course: Course) -> Status:
    found = find_trouble(task, [course.theta], overflow=True)
    if found is None:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    if not _response_is_finite(task):
        cure = f"correct row {found.row + 1}, or leave it out: no parameter changes that value"
    else:
        cure = "start where every row has a finite value, or bound the parameters"
        cure += _unsought(task.model)
    return out_of_domain(task, found, _steps(course), cure=cure)


def _response_is_finite(task: Task) -> bool:
    response = task.model.formula.response
    return all(bool(np.isfinite(evaluate(response, known)).all()) for _, known in task.named())


def _unsought(model: Model) -> str:
    """Advise to leave out a start, where one was given."""
    given = any(parameter.origin == "given" for parameter in model.parameters.values())
    return ", or leave out the start so that one is searched" if given else ""


def _beaten(model: Model, course: Course, better: Rival) -> Status:
    assert course.quadratic is not None  # the caller has looked
    start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
    rows = course.way[-1].rows
    return status_of(
        "local_minimum",
        cause=(
            f"the start leads to a mean loss of {course.quadratic.loss / rows:.6g}; a search found"
            f" a minimum of {better.loss:.6g}"
        ),
        cure=f"leave out the start, or start there: start='{start}'",
    )


def _no_minimum(course: Course, downhill: tuple[str, ...]) -> Status:
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            f"this is no minimum: along {', '.join(downhill)} the loss bends down, and falls on"
            " either side"
        ),
        cure="use a loss that has a minimum, or start elsewhere",
    )


def _hidden(task: Task, course: Course, what: str) -> Status:
    middles = far_columns(task)
    return status_of(
        "stalled",
        step=_steps(course),
        cause=f"so far from 0 as {', '.join(middles)} lies, {what}, which the data do determine",
        cure=_centre(task),
    )


def _centre(task: Task) -> str | None:
    """Advise the same formula about the middle of its columns, where these lie far from 0."""
    middles = far_columns(task)
    if not middles:
        return None
    return f"centre the columns: fit '{centred(task.model.formula, middles)}'"


def _plateau(task: Task, course: Course, undetermined: tuple[str, ...]) -> Status:
    pairs = zip(task.model.free, course.theta, strict=True)
    moved = [f"{name} = {value:.4g}" for name, value in pairs]
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            "the steps ended on flat ground, not at the optimum: here the loss does not depend on"
            f" {', '.join(undetermined)} ({', '.join(moved)})"
        ),
        cure="start nearer, or bound the parameters" + (_unseen(task) or _unsought(task.model)),
    )


def _at_the_edge(task: Task, course: Course, beyond: np.ndarray, left: str) -> Status:
    found = find_trouble(task, [beyond], overflow=True)
    what = "the loss" if found is None else f"{found.part} on row {found.row + 1}"
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            f"no step lowers the loss any more, and longer ones leave the formula's domain, where"
            f" {what} has no finite value; what the curvature says is left to go: {left}"
        ),
        cure=_centre(task)
        or "bound the parameters so that every row keeps a value, as in b > 0, or start elsewhere",
    )


def _resting(task: Task, course: Course, distance: float) -> Status:
    assert course.quadratic is not None  # the caller has looked
    if not course.quadratic.offset.any():
        return status_of("stalled", step=_steps(course), cure=FLAT)
    known = np.isfinite(distance)
    if has_kink(task.model):
        cause = JUMPS.format(distance) if known else UNKNOWN
        return status_of("stalled", step=_steps(course), cause=cause, cure="")
    left = f"{distance:.2g} standard errors" if known else "how far is not known"
    if course.beyond is not None:
        return _at_the_edge(task, course, course.beyond, left)
    centre = _centre(task)
    return status_of(
        "stalled",
        step=_steps(course),
        cause=f"rounding hides the rest of the way ({left}): no step lowers the loss any more",
        cure=centre or "rescale the columns so that they are of like size",
    )
