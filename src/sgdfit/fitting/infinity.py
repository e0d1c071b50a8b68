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
from sgdfit.formula.evaluation import evaluate
from sgdfit.model.asymptote import asymptote
from sgdfit.model.separation import stepped_names

# From one place to the next, how many are looked at, and how many as good as the last are enough.
FACTOR, MOST, ENOUGH = 4.0, 60, 3
# A place is as good if its loss is larger by no more than this share of the residuals' variance; a
# place that is worse by so many times that variance is no longer near.
AS_GOOD, WORSE = 1e-6, 1.0
# Steps that a fit of the others may take.
STEPS = 60
# The limit is looked at so many places beyond the estimates, where its curve differs by no more
# than this share of the residuals' standard deviation.
BEYOND, SAME = 5, 0.03
# What changes by a larger share from the estimates to there is carried along.
CARRIED = 0.1


def at_infinity(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome; where its optimum lies at infinity with that limit, and moved near it."""
    quadratic, left = outcome.quadratic, problem.rows - len(problem.names)
    if quadratic is None or outcome.is_called_off or problem.options.steps or left <= 0:
        return outcome
    if not problem.squared or problem.quadratic or has_arrived(problem, outcome):
        return outcome
    some = problem if problem.rows <= FEW else problem.on_rows(problem.data.sample(FEW, 0))
    some = some._replace(callback=None, steps=STEPS)
    nonlinear = set(problem.names) - set(problem.model.linear)
    nonlinear -= stepped_names(problem.model.prediction)
    for i, name in enumerate(problem.names):
        for factor in (FACTOR, 1 / FACTOR) if name in nonlinear and outcome.theta[i] else ():
            near = _nearest(some, outcome, i, factor)
            if near is not None:
                alone = _held(problem._replace(callback=None), i)
                at = walk(alone, near, [problem.rows])
                limit = _limit(some, at.theta, i, factor, outcome.loss)
                return joined(outcome, at)._replace(limit=limit, search=outcome.search)
    return outcome


def _nearest(problem: Problem, outcome: Outcome, i: int, factor: float) -> np.ndarray | None:
    """Return the nearest place that is as good as the limit, if the loss comes down to one."""
    rows = problem.rows
    noise = outcome.loss * rows / (rows - len(problem.names))
    tolerance = AS_GOOD * noise + (0.0 if outcome.quadratic is None else outcome.quadratic.blur)
    first, last = None, [math.inf]
    for place in _places(problem, outcome.theta, i, factor):
        first = place if first is None else first
        last.append(place.loss * rows)
        if last[-1] > last[-2] + tolerance:
            return None
        if len(last) > ENOUGH and max(last[-ENOUGH:]) - min(last[-ENOUGH:]) <= tolerance:
            break
    else:
        return None
    assert first is not None  # enough were looked at
    near, least = place, last[-1]
    # Inwards, as long as that is as good: out there any number would do.
    for place in _places(problem, near.theta, i, 1 / factor):
        loss = place.loss * rows
        if loss < least - tolerance:
            return None
        if loss > least + WORSE * noise:
            return near.theta
        near = place if loss <= least + tolerance else near
    return None


def _limit(problem: Problem, theta: np.ndarray, i: int, factor: float, loss: float) -> Limit:
    """Return what is known of the limit near which the estimates are."""
    model, names, chunk = problem.model, problem.names, problem.data.sample(FEW, 0)
    deviation = math.sqrt(loss * problem.rows / (problem.rows - len(names)))
    *_, far = islice(_places(problem, theta, i, factor), BEYOND)
    assert far.quadratic is not None  # a place has one
    columns = {
        name: column.astype(np.float64)
        for name, column in zip(model.columns, chunk.columns, strict=True)
    }
    known = {**columns, **model.values(far.theta.tolist())}
    curve = asymptote(model, known, names[i], factor > 1)
    if curve is not None:
        apart = np.abs(curve.values(known) - evaluate(model.prediction, known)).max()
        curve = curve if apart <= SAME * deviation else None
    # The loss is r², whose curvature is twice JᵀJ.
    effect = np.abs(far.theta) * far.quadratic.norms / math.sqrt(2)
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
        if problem.box.clip(theta)[i] != theta[i]:
            return
