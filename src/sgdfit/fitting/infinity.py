"""Optima at infinity: the loss falls towards a limit as a parameter grows, or shrinks, for ever.

A walk then ends anywhere on its way. Here the others are fitted with this one held, ever farther
out. Where in the end nothing changes any more and no nearer place is better, the limit is reached;
the estimates are those of the nearest place that is as good.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Limit, Outcome, Problem, errors_of, kernel_of, merge_runs
from sgdfit.fitting.saddle import ARRIVED, has_arrived
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.trust_region import box_of, relative_offset
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol
from sgdfit.inference.spectrum import column_norms, root_spectrum
from sgdfit.model.asymptotes import Asymptote, Way, along, asymptote, leading, merging
from sgdfit.model.model import build
from sgdfit.model.separation import stepped_names

# From one place to the next, how many are looked at farther out, and how many nearer.
FACTOR, OUTWARDS, INWARDS = 2.0, 12, 200
# Of these, where others follow.
FITS = 60
# A place is as good if its loss is larger by no more than this share of the residuals' variance: a
# hundredth of a standard error. One that is worse by that variance itself is not near.
AS_GOOD = 1e-4
# Of more rows than these, or what is not in memory, a sample is looked at.
ALL = 1 << 19
# So many times what rounding may change the loss by is nothing.
ROUNDINGS = 4.0
# Steps that a fit of the others may take.
REFIT_STEPS = 30
# An error so many times as large as its parameter says that this has none.
VAGUE = 50.0
# So many places have to be as good: what may as well be doubled has no error to speak of.
EQUAL_PLACES = 2
# So many places beyond the estimates the curve of the limit may differ by this share of the
# residuals' standard deviation.
ALONG, SAME = 8, 0.03
# What is larger or smaller than this and its inverse is near to an overflow.
LARGEST_FACTOR = 1e50
# What changes by a larger share from the estimates to there is carried along; an error that falls
# by more than this power of the way is that of the place, none of the limit's.
CARRIED, SETTLED = 0.1, 0.5
# What changes by less than this power of the way does not go along; parameters that differ by less
# than this share are equal.
MOVED, EQUAL, TINY = 0.25, 1e-4, 1e-6
# What changes this many times goes on so.
LONG = 2.0
# A curve that the data allow beside the best: the square of two standard errors.
ALLOWED_LOSS = 4.0


def at_infinity(problem: Problem, outcome: Outcome, first: bool = True) -> Outcome:
    """Return the outcome; where its optimum lies at infinity with that limit, and moved near it."""
    if outcome.quadratic is None or outcome.is_called_off or outcome.limit is not None:
        return outcome
    if problem.kinked or problem.quadratic or problem.options.steps:
        return outcome
    if problem.rows <= len(problem.names):
        return outcome
    if has_arrived(problem, outcome) and not _is_vague(problem, outcome):
        return outcome
    vanished = _vanished(problem, outcome)
    if vanished is not None:
        return outcome._replace(limit=vanished)
    whole = problem.data.whole is not None and problem.rows <= ALL
    some = problem if whole else problem.on_rows(problem.data.sample(FEW, 0))
    some = some._replace(callback=None, steps=REFIT_STEPS)
    # A sample has another loss.
    begun = outcome if some.rows == problem.rows else walk(some, outcome.theta, [some.rows])
    stepped, linear = stepped_names(problem.model.prediction), problem.model.linear
    ways = [(i, FACTOR) for i, name in enumerate(problem.names) if name not in linear]
    ways += [(i, 1 / factor) for i, factor in ways]
    # Amplitudes that cancel grow together.
    ways += [(i, FACTOR) for i, name in enumerate(problem.names) if name in linear]
    lines = []
    for i, factor in sorted(ways, key=lambda way: problem.names[way[0]] in linear):
        if problem.names[i] in stepped or not outcome.theta[i]:
            continue
        line = _Line(problem, some, begun, i, factor)
        near = line.nearest()
        if near is None:
            lines.append(line)
            continue
        plain = problem._replace(callback=None)
        lower = line.across(near)
        if lower is not None:
            # From +∞ the way may lead on from −∞, as it does for 1/k through 0.
            found = walk(plain, lower, [problem.rows])
            is_lower = first and found.loss < outcome.loss
            return at_infinity(problem, merge_runs(outcome, found), False) if is_lower else outcome
        at = walk(plain.holding([i]), near if line.bound is None else line.bound, [problem.rows])
        limit, outwards = line.limit(at.theta)
        limit = limit._replace(is_bound=line.bound is not None)
        if limit.asymptote is None and not limit.gaps:
            found = (_fitted(problem, at, way, limit.ways) for way in outwards)
            limit = next(filter(None, found), limit)
        return merge_runs(outcome, at)._replace(limit=limit, gaps=limit.gaps)
    if has_arrived(problem, outcome):
        return outcome
    return outcome._replace(limit=_beyond_reach(problem, outcome, lines))


def _beyond_reach(problem: Problem, outcome: Outcome, lines: Sequence[_Line]) -> Limit | None:
    """Return the limit that floating point keeps the estimates from, if its curve is as good."""
    names, theta = problem.names, outcome.theta
    curved = [k for k, name in enumerate(names) if name not in problem.model.linear]
    equal = (
        (merging(names[i], names[k]), (f"{names[i]} → {names[k]}",))
        for i, k in itertools.combinations(curved, 2)
        if abs(theta[i] - theta[k]) <= EQUAL * abs(theta[i])
    )
    # Seldom needed, and dear.
    outwards = (line.ways() for line in lines if line.i in curved)
    ways = itertools.chain(equal, itertools.chain.from_iterable(outwards))
    found = (_fitted(problem, outcome, *way) for way in ways)
    return next(filter(None, found), None)


def _fitted(
    problem: Problem, outcome: Outcome, way: Way, told: tuple[str, ...]
) -> Limit | None:
    """Return the limit on a way, its own formula fitted, where that is as good as the outcome."""
    own, curve = problem.model, leading(problem.model, way)
    if curve is None:
        return None
    model = build(curve.text, own.columns, loss=own.loss)
    values = own.values(outcome.theta.tolist())
    with np.errstate(all="ignore"):
        start = np.array([float(evaluate(curve.whole(n), values)) for n in model.free])
    if model.columns != own.columns or not np.isfinite(start).all():
        return None
    simpler = problem._replace(
        model=model,
        kernel=kernel_of(model, problem.data, problem.options),
        box=box_of(model),
        linear=np.flatnonzero([problem.squared and name in model.linear for name in model.free]),
        quadratic=problem.squared and model.is_linear,
        callback=None,
    )
    found = walk(simpler, start, [problem.rows])
    if not found.loss <= outcome.loss * (1 + AS_GOOD / problem.rows):
        return None
    if errors_of(simpler, found) is None or not has_arrived(simpler, found):
        return None
    plain = [n in model.free and symbol(n) not in curve.combinations for n in problem.names]
    known = np.array(plain)
    return Limit(told[0].split()[0], told, curve, known, ~known, fitted=(simpler, found))


def _vanished(problem: Problem, outcome: Outcome) -> Limit | None:
    """Return the limit where a bound holds a term at 0, whose parameters have no effect then."""
    quadratic, theta, box = outcome.quadratic, outcome.theta, problem.box
    assert quadratic is not None  # the caller has looked
    idle, bound = quadratic.norms == 0, ~(box.free(theta, quadratic.gradient) | box.held)
    if not idle.any() or not (bound & (theta == 0)).any():
        return None
    rest = replace(box, held=box.held | idle | bound)
    if not relative_offset(quadratic, theta, rest, problem.rows) <= ARRIVED:
        return None
    return Limit(problem.names[bound.argmax()], (), None, ~(idle | bound), idle | bound, (), True)


def _is_vague(problem: Problem, outcome: Outcome) -> bool:
    """Whether a nonlinear parameter may as well be many times as large."""
    errors = errors_of(problem, outcome)
    curved = np.array([name not in problem.model.linear for name in problem.names])
    return errors is not None and bool((errors > VAGUE * np.abs(outcome.theta))[curved].any())


class _Line:
    """Fits of the other parameters where one is held, each time farther by a factor."""

    def __init__(
        self, whole: Problem, problem: Problem, begun: Outcome, i: int, factor: float
    ) -> None:
        self.whole, self.problem, self.alone = whole, problem, problem.holding([i])
        self.i, self.factor, self.begun = i, factor, begun.theta
        assert begun.quadratic is not None  # a walk from where one ended has one
        self.least, rounding = self.total(begun), begun.quadratic.rounding
        noise = begun.quadratic.noise_sum / 2 / (problem.rows - len(problem.names))
        # Of exact data there is rounding alone.
        self.variance = max(noise, 2 * ROUNDINGS * rounding)
        self.tolerance = AS_GOOD * noise + ROUNDINGS * rounding
        self.bound: np.ndarray | None = None  # of places as good out to a bound, the one on it

    def places(self, theta: np.ndarray, factor: float, count: int) -> Iterator[Outcome]:
        """Yield them until one is worse, or on a bound."""
        low, high = self.problem.box.low[self.i], self.problem.box.high[self.i]
        place, fits = self.fitted(theta), 1
        for _ in range(count):
            if fits > FITS or place.quadratic is None or not math.isfinite(place.loss):
                return
            yield place
            if self.total(place) > self.least + self.variance or theta[self.i] in (low, high):
                return
            theta = place.theta.copy()
            theta[self.i] = min(max(theta[self.i] * factor, low), high)
            loss = self.problem.kernel.sums(theta, self.problem.chunk).loss
            # Where that changes nothing, neither do the others.
            is_same = abs(loss - self.total(place)) <= place.quadratic.rounding
            place = place._replace(theta=theta) if is_same else self.fitted(theta)
            fits += not is_same

    def fitted(self, theta: np.ndarray) -> Outcome:
        """Return the fit of the others."""
        return walk(self.alone, theta, [self.problem.rows])

    def total(self, place: Outcome) -> float:
        """Return the summed loss."""
        return place.loss * self.problem.rows

    def is_visible(self, place: Outcome) -> bool:
        """Whether rounding leaves the loss as it is: not where terms cancel, or nearly overflow."""
        assert place.quadratic is not None  # a place has one
        is_near = bool(np.abs(place.theta).max() <= LARGEST_FACTOR)
        return is_near and place.quadratic.rounding <= self.tolerance

    def is_worse(self, place: Outcome) -> bool:
        """Whether a place is worse, whatever rounding did to its loss."""
        assert place.quadratic is not None  # a place has one
        return self.total(place) - place.quadratic.rounding > self.least + self.tolerance

    def nearest(self) -> np.ndarray | None:
        """Return the nearest place that is as good as the limit, if the loss comes down to one."""
        places = self.places(self.begun, self.factor, OUTWARDS)
        out = list(itertools.takewhile(self.is_visible, places))
        if any(self.total(place) > self.least + self.variance for place in out):
            return None
        line = [*self.places(self.begun, 1 / self.factor, INWARDS)][::-1] + out[1:]
        line = [place for place in line if self.is_visible(place) or self.is_worse(place)]
        least = min(map(self.total, line), default=math.inf)
        level = [self.total(place) <= least + self.tolerance for place in line]
        first = level.index(True) if level else 0
        # Where all are, nothing says where it would be too near.
        if not first or not all(level[first:]) or len(level) - first < EQUAL_PLACES:
            return None
        far = line[-1].theta
        between = far.copy()
        between[self.i] *= self.factor**-0.5
        # A phase of 2π may be doubled as often as one likes, and is at no limit.
        if not self.total(self.fitted(between)) <= least + self.tolerance:
            return None
        if far[self.i] in (self.problem.box.low[self.i], self.problem.box.high[self.i]):
            self.bound = far
        return line[first].theta

    def across(self, near: np.ndarray) -> np.ndarray | None:
        """Return a place with the other sign of the parameter that is better, if any."""
        theta = near.copy()
        theta[self.i] *= -1
        if self.problem.box.clip(theta)[self.i] != theta[self.i]:
            return None
        best = min(self.places(theta, 1 / self.factor, INWARDS), key=self.total, default=None)
        if best is None or self.total(best) >= self.least - self.tolerance:
            return None
        return best.theta

    def powers(self, near: np.ndarray, far: np.ndarray) -> dict[str, int]:
        """Return as which powers of one another nonlinear parameters grow or shrink."""
        with np.errstate(all="ignore"):
            paces = np.log(np.abs(far / near))
        least, linear = max(MOVED * abs(paces[self.i]), TINY), self.problem.model.linear
        curved = zip(self.problem.names, paces.tolist(), strict=True)
        moved = {n: p for n, p in curved if n not in linear and least <= abs(p) < math.inf}
        pace = min(map(abs, moved.values()), default=1.0)
        return dict(sorted(((n, round(p / pace)) for n, p in moved.items()), key=lambda p: abs(p[1])))

    @np.errstate(all="ignore")
    def ways(self) -> Iterator[tuple[Way, tuple[str, ...]]]:
        """Yield how parameters may grow or shrink where the walk ended, also in words."""
        theta = self.begun.copy()
        theta[self.i] /= self.factor
        near, far = self.fitted(theta).theta, self.begun
        paces = np.abs(far / near)
        if not np.isfinite(np.log(paces)).all():
            return
        least = paces[self.i] ** MOVED
        told = (
            _way(name, near[k], far[k] * paces[k] ** math.inf)
            for k, name in enumerate(self.problem.names)
            if max(paces[k], 1 / paces[k]) >= max(least, 1 / least)
        )
        said = tuple(told)
        yield from ((way, said) for way in along(self.problem.model, self.powers(near, far)))

    def limit(self, theta: np.ndarray) -> tuple[Limit, list[Way]]:
        """Return what is known of the limit near which the estimates are, and ways there."""
        problem, i = self.problem, self.i
        model, names, chunk = problem.model, problem.names, problem.data.sample(FEW, 0)
        near, *rest = self.places(theta, self.factor, ALONG)
        far = self.fitted([near, *itertools.takewhile(self.is_visible, rest)][-1].theta)
        deviation, away = math.sqrt(self.variance), far.theta.copy()
        assert far.quadratic is not None  # a place has one
        idle = np.abs(away) * far.quadratic.norms <= SAME * deviation
        idle[i] = True
        carried = np.abs(away - theta) > CARRIED * np.abs(theta)
        way = abs(math.log(away[i] / theta[i]))
        shrunk = _errors(far, idle) < math.exp(-SETTLED * way) * _errors(near, idle)
        ways, gaps = [_way(names[i], theta[i], theta[i] * self.factor**math.inf)], []
        for j in np.flatnonzero(idle | shrunk | carried).tolist():
            gap = None if carried[j] or j == i else self._gap(away, j)
            if gap is not None:
                gaps.append((names[j], *gap))
                away[j] = sum(gap) / 2
            elif not idle[j]:
                ways.append(_way(names[j], theta[j], away[j]))
        values = {**model.named(chunk.columns), **model.values(away.tolist())}
        outwards = along(model, self.powers(theta, far.theta))
        curve = asymptote(model, values, names[i], outwards, SAME * deviation)
        known = ~(idle | carried | shrunk)
        return Limit(names[i], tuple(ways), curve, known, idle, tuple(gaps)), outwards

    def _gap(self, theta: np.ndarray, j: int) -> tuple[float, float] | None:
        """Return between which values of a column a parameter may lie, as the limit is a step."""
        kernel, chunk = self.problem.kernel, self.problem.data.sample(FEW, 0)
        for name in self.problem.model.variables:
            low, high = -math.inf, math.inf
            for _, columns in self.whole.named():
                values, at = columns[name], theta[j]
                low = max(low, float(values[values < at].max(initial=-math.inf)))
                high = min(high, float(values[values >= at].min(initial=math.inf)))
            if math.isinf(high - low):
                continue
            places = [np.where(np.arange(len(theta)) == j, at, theta) for at in (low, high)]
            begin, middle, end = (s * places[1] + (1 - s) * places[0] for s in (0.01, 0.5, 0.99))
            apart = kernel.rows(end, chunk).prediction - kernel.rows(begin, chunk).prediction
            loss = kernel.sums(middle, chunk).loss
            if np.abs(apart).max() <= SAME * math.sqrt(self.variance):
                return (low, high) if loss <= self.least + ALLOWED_LOSS * self.variance else None
        return None


def _way(name: str, near: float, far: float) -> str:
    """Say whereto a parameter goes."""
    ratio = abs(far / near)
    end = "∞" if ratio > LONG else "0" if ratio < 1 / LONG else f"{abs(far):.4g}"
    return f"{name} → {'−' if far < 0 and end != '0' else ''}{end}"


def _errors(place: Outcome, held: np.ndarray) -> np.ndarray:
    """Return the standard errors of a place but for their common factor; NaN where it has none."""
    assert place.quadratic is not None  # a place has one
    spectrum = root_spectrum(place.quadratic.root[:, ~held])
    errors = np.full(len(held), np.nan)
    errors[~held] = column_norms(spectrum.inverse_root.T)
    return errors
