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

import functools
import itertools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.callbacks import StopRequested, ending_of
from sgdfit.fitting.gauss_newton import nonnegative_hess, walk
from sgdfit.fitting.kinks import DAMPING, Break, are_coupled, breaks_of, rest_on_rows, thresholds_of
from sgdfit.fitting.multistart import BETTER, find_minimum, with_starts
from sgdfit.fitting.problem import Outcome, Problem, merge_runs
from sgdfit.fitting.sampling import FEW
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import make_numpy
from sgdfit.kernel.summation import PANEL
from sgdfit.model.separation import separate, stepped_names
from sgdfit.starts.separable import Projection
from sgdfit.starts.space import draw_points, observations_of, ranges_of

# Bins of one, two and three parameters each, of the first grid and of others at the most; how many
# values are gone through one by one, where the first grid does not do; and grids until the answer
# has to do, which only steps need that are hardly seen.
FIRST, MOST, FULL, GRIDS = (2_048, 64, 12), (1 << 20, 256, 32), (0, 512, 48), (30, 10, 10)
# Over so many rows values are drawn, at first so many times the rows, and at the most so many; of
# these the best are kept on each island, and drawn anew so often, then those on the best alone.
ROWS_DRAWN, DRAWN, MOST_DRAWN = 2_048, 1 << 22, 1 << 14
ISLANDS, POPULATION, GENERATIONS = 32, 16, (40, 200)
# Towards one of so small a part, by a share between these, in each parameter with this probability.
BETTER_ONES, SHARES, CROSSED = 8, (0.1, 1.0), 0.7
# How often gaps and the rest are found anew, each given the other.
ROUNDS = 20
# What rounding of sums may change a loss by, as a share of its value where parameters begin.
LOSS_ROUNDING = 1e-13
# Where rows count: below their threshold, above, or in the bin that holds it, of several.
BELOW, ABOVE, INSIDE = range(3)


class Split(NamedTuple):
    """The best gaps, each between two neighbouring thresholds."""

    loss: float
    values: np.ndarray  # float64[d]: their middles, or where one is open a value near its end
    is_proven: bool  # whether all others were ruled out


class SplitTerms:
    """What rows add to the sums, on whichever side of their thresholds."""

    def __init__(self, problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> None:
        self.model, self.breaks, self.theta = problem.model, breaks, theta
        self.basis = np.eye(len(theta))
        # In parameters in which the curvature is about the unit matrix sums lose the least.
        chunk = problem.data.sample(FEW // 4, problem.seed)
        states = itertools.product(*map(states_of, self.thresholds(chunk)))
        slopes = np.concatenate([self.at(chunk, state)[1] for state in states], axis=1).T
        slopes[:, problem.box.held] = 0.0
        norms = np.linalg.norm(slopes, axis=0)
        kept = norms > 0
        self.basis = np.diag(math.sqrt(len(slopes)) / np.where(kept, norms, 1.0))[:, kept]
        self.pairs = np.triu_indices(self.basis.shape[1])
        self.size = 1 + self.basis.shape[1] + len(self.pairs[0])

    def thresholds(self, chunk: Chunk) -> list[np.ndarray]:
        """Return those of each parameter, float64[c, n], in ascending order; NaN where none is."""
        return thresholds_of(self.model, self.breaks, self.theta, chunk)

    def at(self, chunk: Chunk, values: tuple[np.ndarray, ...]) -> tuple[Any, np.ndarray]:
        """Return rows, and slopes, with such values of the parameters, float64[n] each."""
        theta = np.repeat(self.theta[:, None], chunk.rows, axis=1)
        theta[[each.place for each in self.breaks]] = values
        rows = make_numpy(self.model, None).rows(theta, chunk)
        return rows, self.basis.T @ rows.jacobian

    def of(self, chunk: Chunk, values: tuple[np.ndarray, ...]) -> np.ndarray:
        """Return loss, gradient and curvature of each row there, float64[q, n]."""
        (rows, slopes), (i, j) = self.at(chunk, values), self.pairs
        weight = 1.0 if chunk.weights is None else chunk.weights
        bent = slopes[i] * (weight * nonnegative_hess(rows)) * slopes[j]
        return np.concatenate([(weight * rows.loss)[None], slopes * (weight * rows.grad), bent])

    def least(self, sums: np.ndarray) -> np.ndarray:
        """Return the least loss of sums of terms, float64[...] of float64[q, ...]."""
        m, (i, j), shape = self.basis.shape[1], self.pairs, sums.shape[1:]
        sums = np.nan_to_num(sums.reshape(self.size, -1), nan=np.inf)
        curvature = np.empty((sums.shape[1], m, m))
        curvature[:, i, j] = curvature[:, j, i] = np.nan_to_num(sums[1 + m :]).T
        curvature[:, range(m), range(m)] += DAMPING * np.abs(curvature).max(initial=1e-300)
        pull = np.nan_to_num(sums[1 : 1 + m]).T
        step = np.linalg.solve(curvature, pull[:, :, None])[:, :, 0]
        found = sums[0] - np.einsum("ki,ki->k", step, pull) / 2
        return np.where(np.isnan(found), np.inf, found).reshape(shape)


def states_of(thresholds: np.ndarray) -> list[np.ndarray]:
    """Return values of a parameter below, between and above each row's thresholds, float64[n]."""
    first, last = thresholds[0], np.fmax.reduce(thresholds, axis=0)
    # Of the same sign: it may stand in a root or a logarithm.
    low = np.where(first > 0, first / 2, 2 * first - (first == 0))
    high = np.where(last < 0, last / 2, 2 * last + (last == 0))
    inner = (a / 2 + b / 2 for a, b in itertools.pairwise(thresholds))
    return [np.nan_to_num(each) for each in (low, *(np.fmin(each, high) for each in inner), high)]


class Grid:
    """The least losses at edges between bins of thresholds, and lower bounds within bins."""

    def __init__(
        self,
        terms: SplitTerms,
        problem: Problem,
        edges: list[np.ndarray],  # of each parameter
        within: list[np.ndarray],  # float64[k, 2]: bins of it outside of which nothing is better
    ) -> None:
        self.edges, d = edges, len(edges)
        # Rows that never change sides are in a last bin, at which nothing is looked.
        shape = [len(each) + 2 for each in edges]
        self.lows, self.highs = ([np.full(n, s * np.inf) for n in shape] for s in (1, -1))
        modes = 2 + any(len(at) > 1 for at in terms.thresholds(problem.data.subsample.part(0, 1)))
        sums = np.zeros((modes,) * d + (terms.size, *shape))
        for chunk in problem.data.chunks():
            for first in range(0, chunk.rows, PANEL):
                self._add(sums, terms, chunk.part(first, first + PANEL))
        ends, bins = sums, sums
        for axis in range(-d, 0):
            ends, bins = _summed(ends, axis)[0], _summed(bins, axis)[1]
        self.rounding = LOSS_ROUNDING * float(
            np.abs(ends[0][np.isfinite(ends[0])]).max(initial=0.0)
        )
        self.losses, self.bounds = terms.least(ends), terms.least(bins)
        self.gaps, self.cut = list[np.ndarray](), list[np.ndarray]()
        for axis, each in enumerate(terms.breaks):
            low, high = self.lows[axis][:-1], self.highs[axis][:-1]
            left = np.append(-np.inf, np.maximum.accumulate(high)).clip(each.low)
            right = np.append(np.minimum.accumulate(low[::-1])[::-1], np.inf).clip(None, each.high)
            self.gaps.append(np.stack([left, right]))
            np.moveaxis(self.losses, axis, 0)[left >= right] = np.inf
            begin, end = np.append(-np.inf, edges[axis]), np.append(edges[axis], np.inf)
            k = np.searchsorted(within[axis][:, 0], begin, side="right") - 1
            inside = (k >= 0) & (end <= within[axis][k, 1]) & (high > each.low) & (low < each.high)
            self.cut.append(inside & (low < high))
            np.moveaxis(self.bounds, axis, 0)[~inside] = np.inf

    def _add(self, sums: np.ndarray, terms: SplitTerms, chunk: Chunk) -> None:
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
        states, known = [*map(states_of, thresholds)], dict[tuple[int, ...], np.ndarray]()
        for way in itertools.product(*ways):
            places, modes, at_states, factors = zip(*way, strict=True)
            if at_states not in known:
                values = tuple(state[k] for state, k in zip(states, at_states, strict=True))
                known[at_states] = terms.of(chunk, values)
            flat = np.ravel_multi_index(places, sums.shape[-len(ways) :])
            for total, term in zip(sums[modes], math.prod(factors) * known[at_states], strict=True):
                total += np.bincount(flat, term, total.size).reshape(total.shape)

    def best(self) -> Split:
        """Return the best gaps; where rounding leaves several, the one in their middle."""
        loss = float(self.losses.min())
        ties = np.argwhere(self.losses <= loss + self.rounding)
        gap = np.array([g[:, k] for g, k in zip(self.gaps, ties[len(ties) // 2], strict=True)])
        spans = [h[:-1].max() - n[:-1].min() for n, h in zip(self.lows, self.highs, strict=True)]
        beyond = gap[:, ::-1] + np.sign(gap) * np.reshape(spans, (-1, 1)) / 50
        ends = np.where(np.isinf(gap), beyond, gap)
        values = np.nan_to_num(ends[:, 0] / 2 + ends[:, 1] / 2)
        return Split(loss, values, False)

    def finer(self, best: float) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
        """Return edges that cut each bin which may hold less than a loss, and these bins.

        With them comes whether these are all of them.
        """
        d, is_all = len(self.edges), True
        may = self.bounds < best - self.rounding
        may &= functools.reduce(np.logical_or.outer, self.cut)
        edges, within = list[np.ndarray](), list[np.ndarray]()
        for axis, own in enumerate(self.edges):
            bounds = np.moveaxis(np.where(may, self.bounds, np.inf), axis, 0)
            bounds = bounds.reshape(len(bounds), -1).min(axis=1)
            chosen = np.flatnonzero(np.isfinite(bounds))
            count = min(max(FIRST[d - 1], 4 * len(chosen)), MOST[d - 1])
            is_all &= len(chosen) <= count // 2
            chosen = chosen[np.argsort(bounds[chosen], kind="stable")[: count // 2]]
            low, high = self.lows[axis][chosen], self.highs[axis][chosen]
            parts = max(2, count // max(1, len(chosen)))
            inner = low[:, None] + np.arange(1, parts) / parts * (high - low)[:, None]
            sides = np.stack([np.append(-np.inf, own), np.append(own, np.inf)], axis=1)[chosen]
            every = np.concatenate([sides.ravel(), inner[low < high].ravel()])
            edges.append(np.unique(every[np.isfinite(every)]))
            within.append(sides[np.argsort(sides[:, 0])])
        return edges, within, is_all


def _summed(sums: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums at every edge, the outermost too, and those without each bin."""
    below, above, *inside = (np.moveaxis(each, axis, 0) for each in sums)
    zero = np.zeros_like(above[:1])
    up = np.concatenate([zero, np.cumsum(above, 0)])[:-1]
    down = np.cumsum(below[::-1], 0)[::-1]
    found = (up + down, up[:-1] + down[1:] + sum(each[:-1] for each in inside))
    return (np.moveaxis(found[0], 0, axis), np.moveaxis(found[1], 0, axis))


def best_split(problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray) -> Split:
    """Return the best gaps of all rows, the rest of the formula linear at ``theta``."""
    terms, d, best = SplitTerms(problem, breaks, theta), len(breaks), None
    some, everything = problem.data.subsample, [np.array([[-np.inf, np.inf]])] * d
    values = [np.unique(at[np.isfinite(at)]) for at in terms.thresholds(some)]
    middles = [each[:-1] / 2 + each[1:] / 2 for each in values]
    are_few = some.rows == problem.rows and max(map(len, middles)) < FULL[d - 1]
    ranks = [np.linspace(0, len(each), FIRST[d - 1] + 2)[1:-1] for each in middles]
    edges = [np.unique(each[k.astype(int)]) for each, k in zip(middles, ranks, strict=True)]
    within, is_all = everything, True
    for k in range(GRIDS[d - 1]):
        grid = Grid(terms, problem, edges, within)
        found = grid.best()
        best = found if best is None or found.loss < best.loss - grid.rounding else best
        edges, within, all_chosen = grid.finer(best.loss)
        is_all &= all_chosen
        if not any(map(len, within)):
            return best._replace(is_proven=is_all)
        if are_few and k == 0:
            edges, within, is_all = middles, everything, True
    assert best is not None  # there is at least one grid
    return best


def minimize_steps(problem: Problem) -> tuple[Problem, Outcome]:
    """Return the minimum of all parameters, also of those that act in steps."""
    breaks, model, outcome = breaks_of(problem.model), problem.model, None
    steps = {model.free[each.place] for each in breaks}
    kinks = {model.free[each.place] for each in breaks_of(model, smooth=True)}
    sampled = stepped_names(model.prediction).intersection(model.free) - steps - kinks
    coupled = are_coupled(breaks, model)
    exact = problem.squared and steps.union(model.linear).issuperset(model.free)
    exact = exact and 0 < len(breaks) <= len(FIRST) and not coupled
    if exact:
        known = [model.parameters[name] for name in model.free]
        given = [p.start if p.origin == "given" else 0.0 for p in known]
        theta = problem.box.clip(np.array(given))
        problem = problem._replace(model=with_starts(model, theta, "solved"))
        if problem.rows > FEW:
            some = problem.on_rows(problem.data.sample(FEW, problem.seed))._replace(callback=None)
            theta = alternate(some, breaks, theta)[0].theta
    else:
        problem, outcome = find_minimum(problem)
        theta = outcome.theta
        is_over = outcome.is_called_off or outcome.step >= problem.steps
        if outcome.quadratic is None or is_over:
            return problem, outcome
        if (breaks or sampled) and outcome.better is not None:
            theta = np.array([outcome.better.values[name] for name in model.free])
            outcome = outcome._replace(better=None)
        if coupled or sampled:
            theta = search_steps(problem, theta)
    if breaks or sampled:
        outcome, is_proven = alternate(problem, breaks, theta, outcome)
        outcome = rest_on_rows(problem, outcome)
        sampled |= steps if coupled or not (is_proven and problem.squared) else set()
    assert outcome is not None
    if sampled:
        told = (
            f"{', '.join(sorted(sampled))}: not all other values could be ruled out, of which some"
            " may describe the rows a little better"
        )
        problem = problem._replace(warnings=(*problem.warnings, told))
    return problem, outcome


def search_steps(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Return the best of values drawn for the nonlinear parameters, over a sample; or ``theta``.

    Where each threshold is the best given the others, another set of them may be better still; and
    a rounding has as many as whole numbers. The loss is taken as squared, the rest solved.
    """
    model = problem.model
    seen = observations_of(model, problem.data.sample(ROWS_DRAWN, problem.seed), {})
    projection = Projection(model, separate(model.prediction, model.free), seen)
    places = [model.free.index(name) for name in projection.names]
    count = min(DRAWN // (seen.rows + 1), MOST_DRAWN)
    drawn = draw_points(ranges_of(model, projection.names, seen), count, problem.seed)[0]
    points = np.where(problem.box.held[places], theta[places], np.vstack([theta[places], drawn]))
    whole = projection.whole(_differential_evolution(projection, points, problem.seed)[None])[0]
    values = dict(zip(projection.all_names, whole, strict=True))
    found = np.array([values[name] for name in model.free])
    return problem.box.clip(np.where(problem.box.held, theta, found))


def _differential_evolution(projection: Projection, points: np.ndarray, seed: int) -> np.ndarray:
    """Return the best of the points, and of those that differences between these lead to.

    That is differential evolution (Storn & Price 1997, J. Glob. Optim. 11(4), 341-359), towards the
    better ones (Zhang & Sanderson 2009, IEEE Trans. Evol. Comput. 13(5), 945-958), on islands by
    the size of the first parameter: fine steps, of which any are fair, would oust all others.
    """

    def losses(points: np.ndarray) -> np.ndarray:
        residual = projection.solve(points.reshape(-1, points.shape[-1])).residual
        least = np.nan_to_num(np.einsum("kn,kn->k", residual, residual), nan=np.inf)
        return np.asarray(least.reshape(points.shape[:-1]))

    random, least = np.random.default_rng(seed), losses(points)
    parts = np.array_split(np.abs(points[:, 0]).argsort(kind="stable"), ISLANDS)
    chosen = np.array([part[least[part].argsort(kind="stable")[:POPULATION]] for part in parts])
    points, least = points[chosen], least[chosen]
    for generation in range(sum(GENERATIONS)):
        if generation == GENERATIONS[0]:
            best = least.min(axis=1).argmin()
            points, least = points[[best]], least[[best]]
        count, own = least.shape[1], np.arange(len(least))[:, None]
        ranks = random.integers(count // BETTER_ONES, size=least.shape)
        better = points[own, least.argsort(axis=1, kind="stable")[own, ranks]]
        one, other = (points[own, each] for each in random.integers(count, size=(2, *least.shape)))
        share = random.uniform(*SHARES, size=(*least.shape, 1))
        moved = points + share * (better - points + one - other)
        tried = np.where(random.random(points.shape) < CROSSED, moved, points)
        tried = np.clip(tried, projection.low, projection.high)
        there = losses(tried)
        lower = there <= least
        points[lower], least[lower] = tried[lower], there[lower]
    return np.asarray(points[0][least[0].argmin()])


def alternate(
    problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray, outcome: Outcome | None = None
) -> tuple[Outcome, bool]:
    """Find the gaps and the rest in turn, each given the other, until the loss falls no more.

    Where the rest is linear the first gaps are the best, but for rounding. Returns how that ended,
    and whether all other gaps were ruled out.
    """
    rest = problem.holding([each.place for each in breaks])
    is_proven, loose = False, rest
    try:
        if outcome is None or not np.array_equal(theta, outcome.theta):
            outcome = _lower(outcome, walk(rest, theta, outcome and [rest.rows]))
        for k in range(ROUNDS if breaks else 0):
            if outcome.is_called_off or outcome.quadratic is None:
                break
            start, is_proven = _best_gaps(loose, breaks, outcome.theta)
            before, outcome = outcome, _lower(outcome, walk(rest, start, [rest.rows]))
            # From afar, as where parameters begin, rounding leaves sums few digits: once more.
            if (k or problem.rows > FEW) and (rest.quadratic or outcome is before):
                break
            if outcome.quadratic is not None:
                # What stands on a bound stays there, whatever the gaps.
                stuck = ~rest.box.free(outcome.theta, outcome.quadratic.gradient)
                loose = rest._replace(box=replace(problem.box, held=stuck))
        gaps, middle = gaps_about(problem, breaks, outcome.theta), outcome.theta.copy()
        for k, gap in gaps.items():
            middle[k] = gap[0] / 2 + gap[1] / 2 if np.isfinite(gap).all() else middle[k]
        if not np.array_equal(middle, outcome.theta):
            outcome = _lower(outcome, walk(rest, middle, [rest.rows]), BETTER)
        outcome = outcome._replace(gaps=tuple((rest.names[k], g[0], g[1]) for k, g in gaps.items()))
    except (KeyboardInterrupt, StopRequested) as end:
        outcome = outcome or walk(rest._replace(steps=0), theta)
        outcome = outcome._replace(ending=ending_of(end))
    return outcome, is_proven


def _lower(outcome: Outcome | None, other: Outcome, share: float = 0.0) -> Outcome:
    """Return the other one after the first, if its loss is lower, or higher by a share at most."""
    if outcome is None:
        return other
    is_lower = other.loss < outcome.loss or other.loss <= outcome.loss + share * abs(outcome.loss)
    return merge_runs(outcome, other) if is_lower or other.is_called_off else outcome


def _best_gaps(
    problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return where the best gaps are, and whether that is proven."""
    start, groups = theta.copy(), [breaks]
    if are_coupled(breaks, problem.model):
        groups = []
    elif len(breaks) > len(FIRST):
        groups = [*itertools.combinations(breaks, 2)]
    is_proven = len(groups) == 1
    for group in itertools.chain(groups, ((each,) for each in breaks)):
        if len(group) == 1 and is_proven and groups[0] is not group:
            break
        split = best_split(problem, group, start)
        start[[each.place for each in group]] = split.values
        is_proven &= split.is_proven
    return start, is_proven


def gaps_about(
    problem: Problem, breaks: tuple[Break, ...], theta: np.ndarray
) -> dict[int, list[float]]:
    """Return the thresholds on both sides of the parameters at ``theta``."""
    gaps = {each.place: [each.low, each.high] for each in breaks}
    for chunk in problem.data.chunks():
        ats = thresholds_of(problem.model, breaks, theta, chunk)
        for (k, gap), at in zip(gaps.items(), ats, strict=True):
            gap[0] = max(gap[0], float(at[at < theta[k]].max(initial=-np.inf)))
            gap[1] = min(gap[1], float(at[at >= theta[k]].min(initial=np.inf)))
    return gaps


def lowest(problem: Problem, start: np.ndarray) -> Outcome:
    """Return the minimum near by over all rows, its gaps the best."""
    breaks = breaks_of(problem.model)
    return alternate(problem, breaks, start)[0] if breaks else walk(problem, start, [problem.rows])
