"""Stationary points that are no minima, the way down from them, edges of domains, flat ground.

A step follows the first derivatives. Where a column of the Jacobian is zero, as that of s in s²x at
s = 0, or two are alike, as those of the rates of two exponentials that are equal, no step moves
along it, although the loss may fall there to both sides, or to the one that a bound leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Outcome, Problem, merge_runs
from sgdfit.fitting.sampling import FEW
from sgdfit.inference.spectrum import named, root_spectrum
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.asymptotes import on_edge
from sgdfit.model.model import Model
from sgdfit.model.roles import roles_of
from sgdfit.model.separation import stepped_names
from sgdfit.starts.space import draw_points, observations_of, range_of, ranges_of

# A fall by a smaller share of the loss is none.
FALL = 1e-9
# How far to look along a direction, beside the length that would change the curve as much as the
# residuals are large if it had the usual effect; beside the parameter or 1, if it has none.
REACHES, DECADES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0), range(-8, 9)
# Other values of parameters without effect.
DRAWS = 256
# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# Places in the space of the parameters at which the centred formula is looked at.
PLACES = 8
# Saddles that follow one another, or edges.
MOST_SADDLES = 3
# A loss that differs by a smaller share is that of the edge. Slopes are looked at beside it, by at
# most such a share of a parameter, where the loss differs by less than this share of a row's.
ON_EDGE, CLOSE, WAYS_IN = 1e-6, 1e-4, [0.25**k for k in range(2, 27)]


def off_saddles(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome, walked on wherever a small step aside lowers the loss."""
    for _ in range(MOST_SADDLES):
        below = _below(problem, outcome)
        if below is None:
            break
        # Linear parameters solved anew may lead back onto the saddle.
        plain = problem._replace(linear=problem.linear[:0])
        again = walk(plain, below, [problem.rows])
        if not again.loss < outcome.loss:
            break
        outcome = merge_runs(outcome, again)
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
    ranges = ranges_of(model, [model.free[i] for i in idle], observations_of(model, chunk, {}))
    for values in draw_points(ranges, DRAWS, problem.seed)[0]:
        there = theta.copy()
        there[idle] = values
        sums = problem.kernel.sums(there, chunk)
        curvature = np.diag(sums.curvature)
        step = np.divide(sums.gradient, curvature, out=np.zeros(len(theta)), where=curvature > 0)
        yield box.clip(there - np.where(bound, step, 0.0))


def along_edge(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome, walked on along the edge of the formula's domain where one stops it.

    Where a root of a row is 0 its slope is infinite, so that steps, however short, lead beyond,
    although the loss may fall along the edge. There one parameter follows from the others.
    """
    for _ in range(MOST_SADDLES):
        model = _edge_model(problem, outcome)
        if model is None:
            break
        quiet = problem._replace(callback=None)
        known = dict(zip(problem.names, outcome.theta.tolist(), strict=True))
        tied, start = quiet.with_model(model), np.array([known[name] for name in model.free])
        along = along_edge(tied, walk(tied, start, [problem.rows]))
        values = model.values(along.theta.tolist())
        edge = np.array([values[name] for name in problem.names])
        beside = _beside(problem, edge, along.loss * problem.rows)
        if beside is None or not along.loss <= outcome.loss + ON_EDGE * abs(outcome.loss):
            break
        away = walk(quiet, beside, [problem.rows])
        if away.loss < along.loss - ON_EDGE * abs(along.loss):
            outcome = merge_runs(outcome, away)
            continue
        at = walk(quiet._replace(steps=0), beside, [problem.rows])
        return merge_runs(outcome, at)._replace(
            distance=along.distance,
            known_distance=along.distance,
            ending=along.ending,
            beyond=outcome.beyond,
            on_edge=(*along.on_edge, *(n for n, tie in model.ties.items() if tie.is_number)),
        )
    return outcome


def _edge_model(problem: Problem, outcome: Outcome) -> Model | None:
    """Return the model on the edge of the domain that a walk rests at; None if it rests at none."""
    model, beyond = problem.model, outcome.beyond
    if beyond is None or outcome.ending != "rests" or not len(model.free) > 1:
        return None
    if problem.rows > FEW or problem.data.whole is None or problem.box.held.any():
        return None
    columns = model.named(problem.chunk.columns)
    here, there = (model.values(theta.tolist()) for theta in (outcome.theta, beyond))
    return on_edge(model, columns, here, there)


def _beside(problem: Problem, edge: np.ndarray, loss: float) -> np.ndarray | None:
    """Return a point within the domain whose loss is all but that on its edge; None if none is."""
    most = loss + CLOSE * abs(loss) / problem.rows
    for share, i, sign in product(WAYS_IN, range(len(edge)), (1, -1)):
        point = edge.copy()
        point[i] += sign * share * (abs(edge[i]) or 1.0)
        sums = problem.kernel.sums(point, problem.chunk)
        if sums.loss <= most and np.isfinite(sums.gradient).all():
            return point
    return None


def has_arrived(problem: Problem, outcome: Outcome) -> bool:
    """Whether a walk ended near a minimum, and not on flat ground that looks like one."""
    quadratic = outcome.quadratic
    if quadratic is None or not outcome.distance <= (problem.options.tolerance or ARRIVED):
        return False
    if quadratic.regular:
        return True
    # What a bound holds back is settled.
    free = problem.box.free(outcome.theta, quadratic.gradient)
    names = [name for name, is_free in zip(problem.names, free, strict=True) if is_free]
    spectrum = quadratic.spectrum_of(free)
    return not is_flat(problem, named(names, spectrum.null_rows(), spectrum.scales))


def is_flat(problem: Problem, undetermined: Sequence[str]) -> bool:
    """Whether what is undetermined here is determined elsewhere.

    A parameter that curves the formula has an effect somewhere. Two that only act together need not
    have one each, nor one that acts in steps.
    """
    model = problem.model
    stepped = stepped_names(model.prediction)
    if stepped.issuperset(undetermined):
        return False
    acting = set(model.free) - set(model.linear) - stepped
    return could_determine(problem) or not acting.isdisjoint(undetermined)


def could_determine(problem: Problem) -> bool:
    """Whether the formula determines every parameter somewhere, on the columns or centred ones.

    Then what the data leave open is no property of formula and data, but of rounding or of the
    place in the space of the parameters. Draws without a finite value decide nothing: where there
    are no others, that is not ruled out.
    """
    model, random, decided = problem.model, np.random.default_rng(0), False
    roles = roles_of(model.prediction, model.free, model.variables)
    columns, centred = problem.some_columns, list[np.ndarray]()
    for name, column in columns.items():
        if name in model.variables:
            column = column - (column.min() / 2 + column.max() / 2)
            column = column / (float(np.abs(column).max()) or 1.0)
        centred.append(column)
    for rows in (tuple(centred), tuple(columns.values())):
        chunk = Chunk(rows, None)
        seen = observations_of(model, chunk, {})
        units = [range_of(roles[name], -np.inf, np.inf, seen).unit for name in model.free]
        for draw in random.normal(size=(PLACES, len(units))):
            jacobian = problem.kernel.rows(draw * units, chunk).jacobian.T
            if np.isfinite(jacobian).all():
                decided = True
                if root_spectrum(jacobian).positive.all():
                    return True
    return not decided
