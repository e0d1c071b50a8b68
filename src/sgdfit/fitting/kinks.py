"""Kinks and jumps: parameters at whose thresholds rows change sides, as d in maximum(x - d, 0).

Between neighbouring thresholds the loss is smooth. At each it has a kink, or a jump, and as many
minima as a sample cannot tell apart. Near the end of a walk each gap is therefore looked at: the
residuals are taken as linear in the parameters, on whichever side a row is, so that the sum of
squares within a gap is a quadratic, whose sums cumulate from gap to gap (Hudson 1966, JASA 61(316),
1097-1129).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Outcome, Problem, merge_runs
from sgdfit.fitting.saddle import ARRIVED, along_edge
from sgdfit.fitting.sampling import FEW
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk, chunk_of
from sgdfit.kernel.numpy_kernel import make_numpy
from sgdfit.model.model import Model
from sgdfit.model.separation import Root, break_names, thresholds

# Gaps are looked at within so many standard errors, or among so many rows or such a share of all.
REACH, MOST_ROWS, SHARE = 1.0, 1 << 14, 1 / 256
# How often they are, each time from the best of the last ones.
KINK_ROUNDS = 10
# So many directions are tried at each distance, and again from each lower point, so often.
DIRECTIONS, TRIES = 32, 300
# How near to its end the best place in a gap may be, as a share of it.
INSIDE = 1e-7
# Of another loss than squares so many gaps are looked at, with so many steps of the others.
GAPS, GAP_STEPS = 64, 10
# So far from a threshold, as a share of where gaps are looked at, rows are on one of its sides; and
# so many standard errors from a row a kink leaves it.
ASIDE = 1e-3
# This share of the curvature is added, lest what no row determines have none.
DAMPING = 1e-13


class Break(NamedTuple):
    """A parameter that moves rows from one side to the other, and where it does."""

    place: int  # among the free parameters
    roots: tuple[Root, ...]  # thresholds, as expressions of columns and other parameters
    low: float  # its bounds
    high: float


def breaks_of(model: Model, *, smooth: bool = False) -> tuple[Break, ...]:
    """Return the free parameters with thresholds that have no slope between these; or a slope.

    >>> from sgdfit.model.model import build
    >>> model = build("y = where(2*x < b, p, q*x) + maximum(x - d, 0)", ["x", "y"])
    >>> [each.roots[0].value for each in (*breaks_of(model), *breaks_of(model, smooth=True))]
    [2*x, x]
    """
    found, names = [], break_names(model.prediction, model.free)
    for place, name in enumerate(model.free):
        if name in names and (model.gradient[place] != 0) == smooth:
            roots, known = thresholds(model.prediction, name, smooth), model.parameters[name]
            if roots:
                found.append(Break(place, roots, known.low, known.high))
    return tuple(found)


def are_coupled(breaks: tuple[Break, ...], model: Model) -> bool:
    """Whether thresholds depend on other parameters, as those of x*k + z > b do."""
    held = {s.name for each in breaks for root in each.roots for s in root.value.free_symbols}
    return not held.isdisjoint(model.free)


def thresholds_of(
    model: Model, breaks: tuple[Break, ...], theta: np.ndarray, chunk: Chunk
) -> list[np.ndarray]:
    """Return those of each parameter, float64[c, n], in ascending order; NaN for none.

    A parameter that is compared for equality has one on both sides of the value.
    """
    known: dict[str, Any] = model.named(chunk.columns)
    known |= dict(zip(model.free, theta, strict=True))
    found = []
    for each in breaks:
        at = list[np.ndarray]()
        for root in each.roots:
            value = np.broadcast_to(evaluate(root.value, known), chunk.rows)
            at += [np.nextafter(value, s) for s in (-np.inf, np.inf)] if root.equal else [value]
        found.append(np.sort(np.where(np.isfinite(at), at, np.nan), axis=0))
    return found


def settle_kinks(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome at the best place between rows near by, of each kink in turn."""
    model = problem.model
    if problem.kinked or not break_names(model.prediction, model.free):
        return along_edge(problem, outcome)
    if outcome.quadratic is None or outcome.is_called_off:
        return outcome
    kinks = [each for each in breaks_of(model, smooth=True) if not are_coupled((each,), model)]
    if not problem.squared:
        for each in kinks if problem.rows <= FEW and problem.data.whole is not None else ():
            outcome = _best_of_gaps(problem, each, outcome)
        return rest_on_rows(problem, outcome)
    if not kinks:
        return rest_on_rows(problem, outcome)
    theta, data, kernel = outcome.theta, problem.data, problem.kernel
    for _ in range(KINK_ROUNDS):
        before, on_rows = theta, []
        for each in kinks:
            point, is_on_row = _best_place(problem, each, theta)
            if data.sums(kernel, point).loss < data.sums(kernel, theta).loss:
                theta = point
            on_rows += [each.place] * is_on_row
        if np.array_equal(theta, before):
            break
    # The others' distance is the whole where the slopes on both sides lead towards a row.
    rest = problem.holding(on_rows)._replace(callback=None)
    other = walk(rest, theta, [problem.rows])
    outcome = merge_runs(outcome, other) if other.loss <= outcome.loss else outcome
    return rest_on_rows(problem, outcome)


def _best_of_gaps(problem: Problem, each: Break, outcome: Outcome) -> Outcome:
    """Return the outcome, or another walk from where the others fit best, of many gaps."""
    plain, j, best = problem._replace(callback=None), each.place, outcome
    (at,) = thresholds_of(problem.model, (each,), outcome.theta, problem.chunk)
    places = np.unique(at[(at > each.low) & (at < each.high)])
    places = np.unique(np.quantile(places, np.linspace(0, 1, GAPS))) if len(places) else places
    rest = plain.holding([j])._replace(steps=GAP_STEPS)
    for place in (places[1:] + places[:-1]) / 2:
        theta = outcome.theta.copy()
        theta[j] = place
        there = walk(rest, theta, [problem.rows])
        best = there if there.loss < best.loss else best
    if best is outcome:
        return outcome
    lower = walk(plain, best.theta, [problem.rows])
    return merge_runs(outcome, lower if lower.loss <= best.loss else best)


def rest_on_rows(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome at the lowest point near by, where kinks or jumps end a walk short of it.

    The loss has another slope on each side, which no step follows that goes by one of them. So ever
    shorter ones are tried in random directions; where none leads lower, the minimum is that near.
    """
    outcome = along_edge(problem, outcome)
    theta, quadratic, reach = outcome.theta, outcome.quadratic, min(1.0, outcome.distance)
    if quadratic is None or outcome.ending != "rests" or reach <= ARRIVED:
        return outcome
    if problem.rows > FEW or problem.data.whole is None:
        return outcome
    # Between two jumps of a sawtooth its phase does what its height does.
    root = quadratic.spectrum.inverse_root if quadratic.inverse is None else quadratic.inverse
    error = math.sqrt(quadratic.noise_sum / max(1, problem.rows - len(theta)) / len(theta))
    random, chunk, sums = np.random.default_rng(problem.seed), problem.chunk, problem.kernel.sums
    loss, left = sums(theta, chunk).loss, TRIES
    while reach > ARRIVED / 2 and left:
        for turn in random.normal(size=(DIRECTIONS, root.shape[1])):
            point = problem.box.clip(theta + reach * error * root @ turn)
            if sums(point, chunk).loss < loss:
                theta, loss = point, sums(point, chunk).loss
                break
        else:
            reach /= 2
        left -= 1
    at = walk(problem._replace(callback=None, steps=0), theta, [problem.rows])
    known = None if problem.squared else reach
    at = at._replace(ending="rests", distance=reach, known_distance=known)
    return merge_runs(outcome, at)


def _best_place(problem: Problem, each: Break, theta: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the best of the minima within gaps near by, and whether it is the end of a gap."""
    model, j, sums = problem.model, each.place, problem.data.sums(problem.kernel, theta)
    free = problem.box.free(theta, sums.gradient)
    places = np.flatnonzero(free)
    # The products of each row's slopes and residual with one another, summed, in scaled units.
    whole = np.block([[sums.curvature, sums.gradient[:, None]], [sums.gradient, 2 * sums.loss]]) / 2
    if not free[j] or not np.isfinite(whole).all():
        return theta, False
    chosen = [*places, -1]
    scales, own = np.sqrt(np.diag(whole)[chosen]), int(np.searchsorted(places, j))
    scales[scales == 0] = 1.0
    whole = whole[np.ix_(chosen, chosen)] / np.outer(scales, scales)
    spread = float(np.linalg.pinv(whole[:-1, :-1], DAMPING, hermitian=True)[own, own])
    error = scales[-1] / scales[own] * math.sqrt(spread / sums.rows)
    low, high, near = _near(problem, each, theta, REACH * error)

    def products(rows: Chunk, at: np.ndarray | float) -> np.ndarray:
        """Return them for each row with the parameter there, the residual as seen from here."""
        points = np.repeat(theta[:, None], rows.rows, axis=1)
        points[j] = at
        found = make_numpy(model, None).rows(points, rows)
        residual = found.prediction - found.target - found.jacobian[j] * (at - theta[j])
        table = np.concatenate([found.jacobian, residual[None]])[chosen] / scales[:, None]
        weight = 1.0 if rows.weights is None else rows.weights
        return np.asarray(np.einsum("in,jn->nij", weight * table, table))

    (at,) = thresholds_of(model, (each,), theta, near)
    k, row = np.nonzero((at > low) & (at < high))
    order = np.argsort(at[k, row], kind="stable")
    ends = np.concatenate([[low], at[k, row][order], [high]])
    crossing, aside = near.taken(row[order]), ASIDE * (high - low)
    jumps = products(crossing, ends[1:-1] + aside) - products(crossing, ends[1:-1] - aside)
    jumps = np.concatenate([np.zeros((1, *whole.shape)), np.cumsum(jumps, axis=0)])
    moved = (products(near, theta[j]) - products(near, low)).sum(axis=0)
    gaps = scales[own] / scales[-1] * (np.stack([ends[:-1], ends[1:]]) - theta[j])
    move, is_end = _least(whole - moved + jumps, gaps, own)
    point = theta.copy()
    point[places] += move * scales[-1] / scales[:-1]
    return problem.box.clip(point), is_end


def _near(
    problem: Problem, each: Break, theta: np.ndarray, reach: float
) -> tuple[float, float, Chunk]:
    """Return between which values gaps are looked at, and the rows with thresholds there."""
    here, data = theta[each.place], problem.data
    (some,) = thresholds_of(problem.model, (each,), theta, data.subsample)
    apart = np.abs(some - here)[np.isfinite(some)]
    if len(apart):
        least, most = np.quantile(apart, [SHARE, min(1.0, MOST_ROWS / problem.rows)])
        reach = min(max(reach, least), most)
    low, high = max(here - reach, each.low), min(here + reach, each.high)
    found = []
    for chunk in data.chunks():
        (at,) = thresholds_of(problem.model, (each,), theta, chunk)
        found.append(chunk.taken(np.flatnonzero(((at > low) & (at < high)).any(axis=0))).arrays)
    arrays = tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    return low, high, chunk_of(arrays, weighted=data.weighted)


def _least(products: np.ndarray, gaps: np.ndarray, own: int) -> tuple[np.ndarray, bool]:
    """Return the step to the least of the sums of squares within gaps, float64[2, k].

    With it comes whether that ends at the end of a gap.
    """
    unit, finite = np.eye(products.shape[1] - 1), np.isfinite(products).all(axis=(1, 2))
    # Beside a threshold slopes may be infinite, as those of sqrt(abs(x - b)), or only just not.
    products = np.where(finite[:, None, None], products, 0.0)
    size = np.maximum(np.abs(products[:, :-1, :-1]).max(axis=(1, 2), keepdims=True), 1.0)
    h, g = products[:, :-1, :-1] + DAMPING * size * unit, products[:, :-1, -1]
    sides = np.stack([-g, np.broadcast_to(unit[own], g.shape)], axis=2)
    step, along = np.moveaxis(np.linalg.solve(h, sides), 2, 0)
    edge = INSIDE * (gaps[1] - gaps[0])
    beyond = np.clip(step[:, own], gaps[0] + edge, gaps[1] - edge) - step[:, own]
    rise = beyond / along[:, own]
    loss = products[:, -1, -1] + np.einsum("ki,ki->k", g, step) + beyond * rise
    k = int(np.argmin(np.where((edge > 0) & finite & np.isfinite(loss), loss, np.inf)))
    return step[k] + rise[k] * along[k], bool(beyond[k] != 0)
