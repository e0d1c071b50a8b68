"""Optima at infinity: the loss falls towards a limit as a parameter grows, or shrinks, for ever.

A walk then ends anywhere on its way. Here the others are fitted with this one held, ever farther
out. Where in the end nothing changes any more and no nearer place is better, the limit is reached;
the estimates are those of the nearest place that is as good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Limit, Outcome, Problem, joined
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.status import has_arrived
from sgdfit.inference.spectrum import column_norms
from sgdfit.model.asymptotes import asymptote
from sgdfit.model.separation import stepped_names

# From one place to the next, and how many are looked at.
FACTOR, MOST = 2.0, 120
# A place is as good if its loss is larger by no more than this share of the residuals' variance: a
# hundredth of a standard error. One that is worse by so many times that variance is not near.
AS_GOOD, WORSE = 1e-4, 1.0
# Steps that a fit of the others may take.
STEPS = 30
# An error so many times as large as its parameter says that this has none.
VAGUE = 50.0
# So many places farther out are looked at. The estimates and all places beyond them, so many at
# least, have to be as good: what may as well be doubled has no error to speak of.
BEYOND, LEVEL = 20, 2
# So many places beyond the estimates the curve of the limit may differ by this share of the
# residuals' standard deviation.
ALONG, SAME = 8, 0.03
# What is larger or smaller than this and its inverse is near to an overflow.
LARGEST = 1e50
# What changes by a larger share from the estimates to there is carried along.
CARRIED = 0.1


def at_infinity(problem: Problem, outcome: Outcome, first: bool = True) -> Outcome:
    """Return the outcome; where its optimum lies at infinity with that limit, and moved near it."""
    quadratic, left = outcome.quadratic, problem.rows - len(problem.names)
    if quadratic is None or outcome.is_called_off or problem.options.steps or left <= 0:
        return outcome
    if not problem.squared or problem.quadratic:
        return outcome
    if has_arrived(problem, outcome) and not _is_vague(problem, outcome):
        return outcome
    some = problem if problem.rows <= FEW else problem.on_rows(problem.data.sample(FEW, 0))
    some = some._replace(callback=None, steps=STEPS)
    nonlinear = set(problem.names) - set(problem.model.linear)
    nonlinear -= stepped_names(problem.model.prediction)
    for i, name in enumerate(problem.names):
        for factor in (FACTOR, 1 / FACTOR) if name in nonlinear and outcome.theta[i] else ():
            near = _nearest(some, outcome, i, factor)
            lower = None if near is None else _across(some, near, i, factor, outcome.loss)
            if lower is not None:
                # From +∞ the way may lead on from −∞, as it does for 1/k through 0.
                found = walk(problem._replace(callback=None), lower, [problem.rows])
                is_lower = first and found.loss < outcome.loss
                return at_infinity(problem, joined(outcome, found), False) if is_lower else outcome
            if near is not None:
                alone = _held(problem._replace(callback=None), i)
                at = walk(alone, near, [problem.rows])
                limit = _limit(some, at.theta, i, factor, outcome.loss)
                return joined(outcome, at)._replace(limit=limit, search=outcome.search)
    return outcome


def _is_vague(problem: Problem, outcome: Outcome) -> bool:
    """Whether a nonlinear parameter may as well be many times as large."""
    quadratic = outcome.quadratic
    inverse = None if quadratic is None else quadratic.inverse
    if quadratic is None or inverse is None:
        return False
    # Not from the loss itself, which as that of counts may be negative.
    noise = quadratic.spread / max(1, problem.rows - len(problem.names))
    errors = column_norms(inverse.T) * math.sqrt(noise)
    curved = np.array([name not in problem.model.linear for name in problem.names])
    return bool((errors > VAGUE * np.abs(outcome.theta))[curved].any())


def _nearest(problem: Problem, outcome: Outcome, i: int, factor: float) -> np.ndarray | None:
    """Return the nearest place that is as good as the limit, if the loss comes down to one."""
    rows = problem.rows
    noise = outcome.loss * rows / (rows - len(problem.names))
    tolerance = AS_GOOD * noise + (0.0 if outcome.quadratic is None else outcome.quadratic.blur)

    def is_hidden(place: Outcome) -> bool:
        """Whether rounding may change the loss by more than that: terms cancel out there."""
        moved, _ = problem.rounding(place.theta, _norms(place))
        return (2 * math.sqrt(place.loss * rows) + moved) * moved > tolerance

    line, least = list[Outcome](), outcome.loss * rows
    for place in islice(_places(problem, outcome.theta, i, factor), BEYOND):
        if line and is_hidden(place):
            break
        if place.loss * rows > least + WORSE * noise:
            return None
        line.append(place)
    for place in islice(_places(problem, outcome.theta, i, 1 / factor), 1, None):
        line.insert(0, place)
        if place.loss * rows > least + WORSE * noise:
            break
        least = min(least, place.loss * rows)
    else:
        return None
    line = [place for place in line if not is_hidden(place)]
    least = min((place.loss * rows for place in line), default=math.inf)
    level = [place.loss * rows <= least + tolerance for place in line]
    first = level.index(True) if any(level) else len(level)
    return line[first].theta if all(level[first:]) and len(level) - first >= LEVEL else None


def _across(
    problem: Problem, near: np.ndarray, i: int, factor: float, loss: float
) -> np.ndarray | None:
    """Return a place with the other sign of a parameter that is better than the limit, if any."""
    noise = loss * problem.rows / (problem.rows - len(problem.names))
    theta, best = near.copy(), None
    theta[i] = -theta[i]
    if problem.box.clip(theta)[i] != theta[i]:
        return None
    least = loss * problem.rows - AS_GOOD * noise
    for place in _places(problem, theta, i, 1 / factor):
        total = place.loss * problem.rows
        if total > least + WORSE * noise:
            break
        if total < least:
            best, least = place.theta, total
    return best


def _norms(place: Outcome) -> np.ndarray:
    """Return the norms of the columns of the Jacobian; the loss is r², whose curvature is 2JᵀJ."""
    assert place.quadratic is not None  # a place has one
    return place.quadratic.norms / math.sqrt(2)


def _limit(problem: Problem, theta: np.ndarray, i: int, factor: float, loss: float) -> Limit:
    """Return what is known of the limit near which the estimates are."""
    model, names, chunk = problem.model, problem.names, problem.data.sample(FEW, 0)
    deviation = math.sqrt(loss * problem.rows / (problem.rows - len(names)))
    *_, far = islice(_places(problem, theta, i, factor), ALONG)
    columns = {
        name: column.astype(np.float64)
        for name, column in zip(model.columns, chunk.columns, strict=True)
    }
    known = {**columns, **model.values(far.theta.tolist())}
    curve = asymptote(model, known, names[i], factor > 1, SAME * deviation)
    effect = np.abs(far.theta) * _norms(far)
    idle = (effect <= SAME * deviation) | (np.arange(len(names)) == i)
    carried = np.abs(far.theta - theta) > CARRIED * np.abs(theta)
    towards = "0" if factor < 1 else "∞" if theta[i] > 0 else "−∞"
    return Limit(names[i], towards, curve, ~(idle | carried), idle)


def _held(problem: Problem, i: int) -> Problem:
    """Return the problem of the other parameters."""
    held = problem.box.held | (np.arange(len(problem.names)) == i)
    linear = problem.linear[problem.linear != i]
    return problem._replace(
        box=replace(problem.box, held=held),
        linear=linear,
        quadratic=len(linear) == np.count_nonzero(~held),
    )


def _places(problem: Problem, theta: np.ndarray, i: int, factor: float) -> Iterator[Outcome]:
    """Yield the fits of the others where a parameter is held, each time farther by a factor."""
    alone = _held(problem, i)
    for _ in range(MOST):
        place = walk(alone, theta, [problem.rows])
        if place.quadratic is None or not math.isfinite(place.loss):
            return
        yield place
        theta = place.theta.copy()
        theta[i] *= factor
        if problem.box.clip(theta)[i] != theta[i] or np.abs(theta).max() > LARGEST:
            return
