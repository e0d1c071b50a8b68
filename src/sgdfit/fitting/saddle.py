"""Stationary points that are no minima, and the way down from them.

A step follows the first derivatives. Where a column of the Jacobian is zero, as that of s in s²x at
s = 0, or two are alike, as those of the rates of two exponentials that are equal, no step moves
along it, although the loss may fall there to both sides, or to the one that a bound leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Outcome, Problem, joined
from sgdfit.fitting.sampling import FEW
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.roles import roles_of
from sgdfit.model.separation import stepped_names
from sgdfit.starts.space import draw_points, observe, range_of

# A fall by a smaller share of the loss is none.
FALL = 1e-9
# How far to look along a direction, beside the length that would change the curve as much as the
# residuals are large if it had the usual effect; beside the parameter or 1, if it has none.
REACHES, DECADES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0), range(-8, 9)
# Other values of parameters without effect.
DRAWS = 256
# Saddles that follow one another.
MOST = 3


def off_saddles(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome, walked on wherever a small step aside lowers the loss."""
    for _ in range(MOST):
        below = _below(problem, outcome)
        if below is None:
            break
        # Linear parameters solved anew may lead back onto the saddle.
        plain = problem._replace(linear=problem.linear[:0])
        again = walk(plain, below, [problem.rows])
        if not again.loss < outcome.loss:
            break
        outcome = joined(outcome, again)
    return outcome


def _below(problem: Problem, outcome: Outcome) -> np.ndarray | None:
    """Return the lowest of the points beside a stationary one, None where none is lower."""
    quadratic, theta = outcome.quadratic, outcome.theta
    if quadratic is None or quadratic.regular or outcome.is_called_off:
        return None
    spectrum = quadratic.spectrum
    if spectrum.positive.all():
        return None
    chunk = problem.data.sample(FEW, problem.seed)
    stepped = stepped_names(problem.model.prediction)
    idle = [name not in stepped for name in problem.names]
    alone = np.flatnonzero((quadratic.norms == 0) & idle)
    moves = [np.eye(len(theta))[i] * (abs(theta[i]) or 1.0) for i in alone]
    if moves[1:]:
        # A product of two that are zero changes with both alone.
        moves += [np.array(signs) @ moves for signs in product((1, -1), repeat=len(moves))][:8]
    ladders = [[10.0**k * move for k in DECADES] for move in moves]
    size = math.sqrt(2 * abs(quadratic.loss))
    for row in spectrum.null_rows():
        if row[quadratic.norms > 0].any():
            ladders.append([reach * size * row / spectrum.scales for reach in REACHES])
    here = problem.kernel.sums(theta, chunk).loss
    lower = here - FALL * abs(here) - quadratic.rounding * chunk.rows / problem.rows
    best, least = None, lower
    for ladder, sign in product(ladders, (1, -1)):
        # To the first minimum: beyond it, others are no longer beside this point.
        last = here
        for move in ladder:
            point = problem.box.clip(theta + sign * move)
            loss = problem.kernel.sums(point, chunk).loss
            if last < lower and not loss < last:
                break
            last = loss
            if loss < least:
                best, least = point, loss
    for point in _elsewhere(problem, theta, alone, chunk):
        loss = problem.kernel.sums(point, chunk).loss
        if loss < least:
            best, least = point, loss
    return best


def _elsewhere(
    problem: Problem, theta: np.ndarray, idle: np.ndarray, chunk: Chunk
) -> Iterator[np.ndarray]:
    """Yield points where other values of parameters without effect let go what a bound holds.

    An amplitude that is held at 0 may be larger for another rate, which then has no effect.
    """
    model, box = problem.model, problem.box
    bound = ~(box.held | box.free(theta, problem.kernel.sums(theta, chunk).gradient))
    if not bound.any() or not len(idle):
        return
    roles = roles_of(model.prediction, model.free, model.variables)
    seen = observe(model, chunk, {})
    ranges = [range_of(roles[model.free[i]], box.low[i], box.high[i], seen) for i in idle]
    for values in draw_points(ranges, DRAWS, problem.seed)[0]:
        there = theta.copy()
        there[idle] = values
        sums = problem.kernel.sums(there, chunk)
        curvature = np.diag(sums.curvature)
        step = np.divide(sums.gradient, curvature, out=np.zeros(len(theta)), where=curvature > 0)
        yield box.clip(there - np.where(bound, step, 0.0))
