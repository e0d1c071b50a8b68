"""Parameters that act in steps alone, as b in where(x < b, p, q): their optimum over all rows.

The loss is flat between neighbouring thresholds, the values of b at which a row changes sides, and
jumps at each, so its minimum is one of the gaps between them. The rest of the formula is taken as
linear at the point at hand, which is exact where it is linear: each row adds a loss, a gradient and
a curvature, whose sums, cumulated over bins of thresholds, tell the least loss of the gap between
two bins. Without the rows of a bin they tell a lower bound of that of any gap within. Most bins are
ruled out by that; the others are cut further until none is left (branch and bound: Land & Doig
1960, Econometrica 28(3), 497-520). Up to three such parameters are taken together, on a grid.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.callbacks import StopRequested, ending_of
from sgdfit.fitting.gauss_newton import steering, walk
from sgdfit.fitting.kinks import Break, are_coupled, breaks_of, thresholds_of
from sgdfit.fitting.multistart import BETTER, find_minimum, with_starts
from sgdfit.fitting.problem import Outcome, Problem, joined
from sgdfit.fitting.sampling import FEW
from sgdfit.kernel.kernel import Chunk, Rows
from sgdfit.kernel.numpy_kernel import rows_of
from sgdfit.kernel.summation import PANEL

Expr = Any  # SymPy ships no types

# Bins of one, two and three parameters each, of the first grid and of others at the most; and grids
# until the answer has to do, which only steps need that are hardly seen.
FIRST, MOST, GRIDS = (2_048, 64, 12), (1 << 20, 256, 32), (30, 16, 16)
# How often thresholds that depend on one another are drawn anew.
REDRAWN = 24
# How often gaps and the rest are found anew, each given the other, where the rest is not linear.
ROUNDS = 20
# What rounding of sums may change a loss by, as a share of its value where parameters begin; and
# how many such roundings of a loss are enough for its digits.
ROUNDING, ENOUGH = 1e-13, 1e6
# This share of the largest curvature is added to each, lest what no row determines have none.
DAMPING = 1e-13
# Where rows count: below their threshold, in the bin that holds it, or above.
BELOW, INSIDE, ABOVE = range(3)


class Split(NamedTuple):
    """The best gaps, each between two neighbouring thresholds."""

    loss: float
    gaps: np.ndarray  # float64[d, 2]
    values: np.ndarray  # float64[d]: their middles, or where one is open a value near its end
    is_proven: bool  # whether all others were ruled out
    is_rounded: bool  # whether rounding has left few digits of the loss


def gaps_about(problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> dict[int, Any]:
    """Return the thresholds on both sides of the parameters at ``theta``."""
    gaps = {each.place: [each.low, each.high] for each in breaks}
    for chunk in problem.data.chunks():
        ats = thresholds_of(problem.model, breaks, theta, chunk)
        for (k, gap), at in zip(gaps.items(), ats, strict=True):
            gap[0] = max(gap[0], float(at[at < theta[k]].max(initial=-np.inf)))
            gap[1] = min(gap[1], float(at[at >= theta[k]].min(initial=np.inf)))
    return gaps


class Terms:
    """What rows add to the sums, on whichever side of their thresholds."""

    def __init__(self, problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> None:
        self.model, self.breaks, self.theta = problem.model, breaks, theta
        self.rows = rows_of(problem.model)
        # In parameters in which the curvature is about the unit matrix sums lose the least.
        chunk = problem.data.sample(FEW // 4, problem.seed)
        states = itertools.product(*self.states(self.thresholds(chunk)))
        slopes = np.concatenate([self.at(chunk, state).jacobian.T for state in states])
        slopes[:, problem.box.held] = 0.0
        norms = np.sqrt(np.einsum("ij,ij->j", slopes, slopes))
        norms = np.where(norms > 0, norms, 1.0)
        _, sizes, right = np.linalg.svd(slopes / norms, full_matrices=False)
        kept = sizes > 1e-12 * sizes[0]
        self.basis = right[kept].T / sizes[kept] * math.sqrt(len(slopes)) / norms[:, None]
        self.pairs = np.triu_indices(self.basis.shape[1])

    def thresholds(self, chunk: Chunk) -> list[np.ndarray]:
        """Return those of each parameter, float64[c, n], in ascending order; NaN where none is."""
        return thresholds_of(self.model, self.breaks, self.theta, chunk)

    @staticmethod
    def states(thresholds: list[np.ndarray]) -> list[list[np.ndarray]]:
        """Return values of each parameter below, between and above each row's thresholds."""
        found = []
        for at in thresholds:
            first, last = at[0], np.fmax.reduce(at, axis=0)
            low, high = (
                end - s * np.maximum(np.abs(end), 1) for end, s in ((first, 1), (last, -1))
            )
            inner = (a / 2 + b / 2 for a, b in itertools.pairwise(at))
            inner = (np.where(np.isnan(each), high, each) for each in inner)
            found.append([np.nan_to_num(each) for each in (low, *inner, high)])
        return found

    def at(self, chunk: Chunk, values: tuple[np.ndarray, ...]) -> Rows:
        """Return the kernel's rows with such values of the parameters, float64[n] each."""
        theta = np.repeat(self.theta[:, None], chunk.rows, axis=1)
        theta[[each.place for each in self.breaks]] = values
        return self.rows(theta, chunk)

    def of(self, chunk: Chunk, values: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return loss, gradient and curvature of each row there, float64[q, n]."""
        rows, (i, j) = self.at(chunk, values), self.pairs
        weight = 1.0 if chunk.weights is None else chunk.weights
        slopes = self.basis.T @ rows.jacobian
        bent = slopes[i] * (weight * steering(rows)) * slopes[j]
        return np.concatenate([(weight * rows.loss)[None], slopes * (weight * rows.slope), bent])

    def least(self, sums: np.ndarray) -> np.ndarray:
        """Return the least loss of sums of terms, float64[k] of float64[q, k]."""
        m, (i, j) = self.basis.shape[1], self.pairs
        curvature = np.empty((sums.shape[1], m, m))
        curvature[:, i, j] = curvature[:, j, i] = np.nan_to_num(sums[1 + m :]).T
        curvature[:, range(m), range(m)] += DAMPING * np.abs(curvature).max(initial=1e-300)
        pull = np.nan_to_num(sums[1 : 1 + m]).T
        step = np.linalg.solve(curvature, pull[:, :, None])[:, :, 0]
        loss = sums[0] - np.einsum("ki,ki->k", step, pull) / 2
        return np.where(np.isfinite(loss), loss, np.inf)


class Grid:
    """The least losses at edges between bins of thresholds, and lower bounds within bins."""

    def __init__(
        self,
        terms: Terms,
        problem: Problem,
        edges: list[np.ndarray],  # of each parameter
        within: list[np.ndarray],  # float64[k, 2]: bins of it outside of which nothing is better
    ) -> None:
        self.edges = edges
        # Rows that never change sides are in a last bin, at which nothing is looked.
        shape = [len(each) + 2 for each in edges]
        self.lows, self.highs = ([np.full(n, s * np.inf) for n in shape] for s in (1, -1))
        d, size = len(edges), 1 + sum(terms.basis.shape[1:]) + len(terms.pairs[0])
        sums = np.zeros((3,) * d + (size, *shape))
        for chunk in problem.data.chunks():
            for first in range(0, chunk.rows, PANEL):
                self._add(sums, terms, chunk.part(first, first + PANEL))
        for axis in range(-d, 0):
            sums = _positions(sums, axis)
        self.blur = ROUNDING * float(np.abs(sums[0]).max())
        self.losses = terms.least(sums.reshape(size, -1)).reshape(sums.shape[1:])
        # Gaps at edges, and which bins can be cut.
        self.gaps, self.cut = [], []
        for axis, each in enumerate(terms.breaks):
            low, high = self.lows[axis][:-1], self.highs[axis][:-1]
            left = np.append(-np.inf, np.maximum.accumulate(high))
            right = np.append(np.minimum.accumulate(low[::-1])[::-1], np.inf)
            self.gaps.append(np.stack([np.maximum(left, each.low), np.minimum(right, each.high)]))
            begin, end = np.append(-np.inf, edges[axis]), np.append(edges[axis], np.inf)
            k = np.searchsorted(within[axis][:, 0], begin, side="right") - 1
            inside = (k >= 0) & (end <= within[axis][k, 1]) if len(within[axis]) else k >= 0
            self.cut.append(inside & (low < high) & (high > each.low) & (low < each.high))
            gone = np.ones(2 * len(low) + 1, dtype=bool)
            gone[::2], gone[1::2] = self.gaps[axis][0] >= self.gaps[axis][1], ~self.cut[axis]
            np.moveaxis(self.losses, axis, 0)[gone] = np.inf

    def _add(self, sums: np.ndarray, terms: Terms, chunk: Chunk) -> None:
        """Add the terms of rows to the bins of their thresholds.

        By its k-th threshold a row adds how its state changes there, so that what it has added up
        to an edge is its state; in a bin that holds a threshold it adds nothing.
        """
        thresholds, ways = terms.thresholds(chunk), []
        for axis, at in enumerate(thresholds):
            bins = np.searchsorted(self.edges[axis], at)
            bins[np.isnan(at)] = len(self.edges[axis]) + 1
            np.minimum.at(self.lows[axis], bins, at)
            np.maximum.at(self.highs[axis], bins, at)
            own: list[tuple[np.ndarray, int, int, Any]]
            own = [(bins[0], BELOW, 0, 1.0), (bins[0], ABOVE, 1, 1.0)]
            for k in range(1, len(at)):
                own += [(bins[k], ABOVE, k + 1, 1.0), (bins[k], ABOVE, k, -1.0)]
                own.append((bins[k], INSIDE, k, -1.0 * (bins[k] != bins[k - 1])))
            ways.append(own)
        states, known = terms.states(thresholds), dict[tuple[int, ...], np.ndarray]()
        for way in itertools.product(*ways):
            places, modes, at_states, factors = zip(*way, strict=True)
            if at_states not in known:
                values = tuple(state[k] for state, k in zip(states, at_states, strict=True))
                known[at_states] = terms.of(chunk, values)
            flat = np.ravel_multi_index(places, sums.shape[-len(ways) :])
            for total, term in zip(sums[modes], math.prod(factors) * known[at_states], strict=True):
                total += np.bincount(flat, term, total.size).reshape(total.shape)

    def best(self) -> Split:
        """Return the best gaps; where rounding leaves several, the middle one of the inner ones."""
        at = self.losses[(slice(None, None, 2),) * self.losses.ndim]
        places = np.argwhere(at <= at.min() + self.blur).tolist()
        gaps = np.array([[g[:, i] for g, i in zip(self.gaps, p, strict=True)] for p in places])
        outer = np.isinf(gaps).sum(axis=(1, 2))
        inner = np.flatnonzero(outer == outer.min())
        gap = gaps[inner[len(inner) // 2]]
        spans = [h[:-1].max() - n[:-1].min() for n, h in zip(self.lows, self.highs, strict=True)]
        beyond = gap[:, ::-1] + np.sign(gap) * np.reshape(spans, (-1, 1)) / 50
        ends, loss = np.where(np.isinf(gap), beyond, gap), float(at.min())
        values = np.nan_to_num(ends[:, 0] / 2 + ends[:, 1] / 2)
        return Split(loss, gap, values, False, loss < ENOUGH * self.blur)

    def finer(self, best: float, most: int) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
        """Return edges that cut each bin which may hold less than a loss, and these bins.

        With them comes whether these are all of them: an axis has at most so many edges.
        """
        may, exact = self.losses < best - self.blur, (slice(None, None, 2),) * self.losses.ndim
        may[exact] = False
        edges, within, is_all = list[np.ndarray](), list[np.ndarray](), True
        for axis, own in enumerate(self.edges):
            bounds = np.moveaxis(np.where(may, self.losses, np.inf), axis, 0)
            bounds = bounds.reshape(len(bounds), -1).min(axis=1)
            chosen = np.flatnonzero(np.isfinite(bounds[1::2]))
            count = min(max(FIRST[may.ndim - 1], 4 * len(chosen)), most)
            is_all &= len(chosen) <= count // 2
            chosen = chosen[np.argsort(bounds[1::2][chosen], kind="stable")[: count // 2]]
            low, high = self.lows[axis][chosen], self.highs[axis][chosen]
            parts = max(2, count // max(1, len(chosen)))
            inner = low[:, None] + np.arange(1, parts) / parts * (high - low)[:, None]
            sides = np.stack([np.append(-np.inf, own), np.append(own, np.inf)], axis=1)[chosen]
            # A single edge with an open bin of another parameter.
            single = own[np.isfinite(bounds[2:-1:2])][:count]
            every = np.concatenate([sides.ravel(), inner.ravel(), single])
            edges.append(np.unique(every[np.isfinite(every)]))
            within.append(sides[np.argsort(sides[:, 0])])
        return edges, within, is_all


def _positions(sums: np.ndarray, axis: int) -> np.ndarray:
    """Return the sums at every edge, the outermost too, and without each bin, in turn."""
    below, inside, above = (np.moveaxis(each, axis, 0) for each in sums)
    zero = np.zeros_like(above[:1])
    up = np.concatenate([zero, np.cumsum(above, 0)])
    down = np.concatenate([np.cumsum(below[::-1], 0)[::-1], zero])
    found = np.empty((2 * len(up) - 1, *up.shape[1:]))
    found[::2], found[1::2] = up + down, up[:-1] + down[1:] + inside
    return np.moveaxis(found[:-2], 0, axis)


def best_split(problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> Split:
    """Return the best gaps of all rows, the rest of the formula linear at ``theta``."""
    terms, d, edges, best = Terms(problem, breaks, theta), len(breaks), list[np.ndarray](), None
    for at in terms.thresholds(problem.data.subsample):
        values = np.unique(at[np.isfinite(at)])
        values = values[:-1] / 2 + values[1:] / 2
        places = np.linspace(0, len(values) - 1, min(len(values), FIRST[d - 1]))
        edges.append(np.unique(values[places.astype(np.int64)]))
    within, is_all = [np.array([[-np.inf, np.inf]])] * d, True
    for _ in range(GRIDS[d - 1]):
        grid = Grid(terms, problem, edges, within)
        found = grid.best()
        best = found if best is None or found.loss < best.loss - grid.blur else best
        edges, within, all_chosen = grid.finer(best.loss, MOST[d - 1])
        is_all &= all_chosen
        if not any(map(len, within)):
            return best._replace(is_proven=is_all)
    assert best is not None  # there is at least one grid
    return best


def minimize_steps(problem: Problem) -> tuple[Problem, Outcome]:
    """Return the minimum of all parameters, also of those that act in steps."""
    breaks, model = breaks_of(problem.model), problem.model
    if not breaks:
        return find_minimum(problem)
    steps, outcome = {model.free[each.place] for each in breaks}, None
    exact = problem.squared and steps.union(model.linear).issuperset(model.free)
    exact = exact and len(breaks) <= len(FIRST) and not are_coupled(breaks, model)
    if exact:
        known = [model.parameters[name] for name in model.free]
        given = [p.start if p.origin == "given" else 0.0 for p in known]
        theta = problem.box.clip(np.array(given))
        problem = problem._replace(model=with_starts(model, theta, "solved"))
    else:
        problem, outcome = find_minimum(problem)
        theta = outcome.theta
        is_over = outcome.is_called_off or outcome.step >= problem.steps
        if outcome.quadratic is None or is_over:
            return problem, outcome
        if outcome.better is not None:
            theta = np.array([outcome.better.values[name] for name in model.free])
            outcome = outcome._replace(better=None)
        if are_coupled(breaks, model):
            theta = redrawn(problem, breaks, theta)
    if exact and problem.rows > FEW:
        some = problem.on_rows(problem.data.sample(FEW, problem.seed))._replace(callback=None)
        theta = alternated(some, breaks, theta, None, exact)[0].theta
    outcome, is_proven = alternated(problem, breaks, theta, outcome, exact)
    if not is_proven or are_coupled(breaks, model):
        told = (
            f"{', '.join(sorted(steps))}: not all other values could be ruled out, of which some"
            " may describe the rows a little better"
        )
        problem = problem._replace(warnings=(*problem.warnings, told))
    return problem, outcome


def redrawn(problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> np.ndarray:
    """Return the best of what thresholds of random rows lead to, over a sample.

    Where each threshold is the best given the others, another set of them may be better still.
    """
    chunk, random = problem.data.sample(FEW // 4, problem.seed), np.random.default_rng(problem.seed)
    some = problem.on_rows(chunk)._replace(callback=None)
    found = [alternated(some, breaks, theta, None, exact=False)[0]]
    for _ in range(REDRAWN):
        begun = theta.copy()
        for k in random.permutation(len(breaks)).tolist():
            at = thresholds_of(problem.model, (breaks[k],), begun, chunk)[0]
            if np.isfinite(at).any():
                begun[breaks[k].place] = random.choice(at[np.isfinite(at)])
        found.append(alternated(some, breaks, problem.box.clip(begun), None, exact=False)[0])
    return min(found, key=lambda outcome: outcome.loss).theta


def alternated(
    problem: Problem,
    breaks: tuple[Break, ...],
    theta: np.ndarray,
    outcome: Outcome | None,
    exact: bool,
) -> tuple[Outcome, bool]:
    """Find the gaps and the rest in turn, each given the other, until neither moves.

    Where the rest is linear (``exact``) the first gaps are the best, but for rounding. Returns how
    that ended, and whether all other gaps were ruled out.
    """
    held = problem.box.held.copy()
    held[[each.place for each in breaks]] = True
    # Of the others, which may all be linear.
    solved = problem.quadratic or len(problem.linear) == np.count_nonzero(~held)
    rest = problem._replace(box=replace(problem.box, held=held), quadratic=solved)
    groups: list[tuple[Break, ...]] = [breaks]
    if are_coupled(breaks, problem.model):
        groups = []
    elif len(breaks) > len(FIRST):
        groups = [*itertools.combinations(breaks, 2)]
    groups += [(each,) for each in breaks] if len(breaks) > 1 else []
    found, is_proven, stuck = dict[int, list[float]](), True, held
    try:
        for _ in range(ROUNDS):
            start, is_proven, moves, again = theta.copy(), True, False, not exact
            gaps = dict[int, list[float]]()
            # What stands on a bound stays there, whatever the gaps.
            loose = rest._replace(box=replace(problem.box, held=stuck))
            for group in groups:
                if is_proven and groups[0] is not group and len(group) == 1 and len(groups[0]) > 1:
                    continue
                split = best_split(loose, group, start)
                is_proven &= split.is_proven
                again |= split.is_rounded or not is_proven
                ends = split.gaps.tolist()
                for each, value, gap in zip(group, split.values, ends, strict=True):
                    moves |= not gap[0] < start[each.place] < gap[1]
                    start[each.place], gaps[each.place] = value, gap
            other = walk(rest, start, None if outcome is None else [rest.rows])
            if moves and outcome is not None and not other.loss < outcome.loss:
                found = found or gaps_about(problem, breaks, theta)
                middle = theta.copy()
                for k, gap in found.items():
                    middle[k] = sum(gap) / 2 if np.isfinite(gap).all() else theta[k]
                other = walk(rest, middle, [rest.rows])
                if other.loss <= outcome.loss + BETTER * abs(outcome.loss):
                    outcome = joined(outcome, other)
                break
            outcome = other if outcome is None else joined(outcome, other)
            theta, found = outcome.theta, gaps
            if outcome.quadratic is not None:
                stuck = ~rest.box.free(theta, outcome.quadratic.gradient)
                again |= bool((stuck & ~held).any())
            if outcome.is_called_off or not (moves and again):
                break
    except (KeyboardInterrupt, StopRequested) as end:
        outcome = outcome or walk(rest._replace(steps=0), theta)
        outcome = outcome._replace(ending=ending_of(end))
    assert outcome is not None  # there is at least one round
    places = tuple((rest.names[k], found[k][0], found[k][1]) for k in sorted(found))
    return outcome._replace(gaps=places), is_proven
