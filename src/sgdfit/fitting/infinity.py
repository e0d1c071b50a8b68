"""Optima at infinity: the loss falls towards a limit as a parameter grows, or shrinks, for ever.

A walk then ends anywhere on its way. Here the others are fitted with this one held, ever farther
out. Where in the end nothing changes any more and no nearer place is better, the limit is reached;
the estimates are those of the nearest place that is as good.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from sgdfit.errors import FormulaError
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Limit, Outcome, Problem, errors_of, merge_runs
from sgdfit.fitting.saddle import ARRIVED, has_arrived
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.trust_region import relative_offset
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol
from sgdfit.inference.spectrum import column_norms, root_spectrum
from sgdfit.model.asymptotes import LIKE_LEVEL, Asymptote, along, asymptote, leading, merging
from sgdfit.model.model import build
from sgdfit.model.separation import stepped_names

# From one place to the next, how many are looked at farther out, and how many nearer.
FACTOR, OUTWARDS, INWARDS = 2.0, 40, 200
# Of these, where others follow.
FITS = 60
# A place is as good if its loss is larger by no more than this share of the residuals' variance: a
# hundredth of a standard error. One that is worse by that variance itself is not near.
AS_GOOD = 1e-4
# Of more rows than these, or what is not in memory, a sample is looked at.
ALL = 1 << 19
# So many times what rounding may change the loss by is nothing.
ROUNDINGS = 4.0
# Where they may change it by a larger share of what is as good, it is not seen.
VISIBLE = 0.3
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
# than this share may become equal.
MOVED, EQUAL = 0.25, 0.2
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
    if problem.calls_for_many:
        return outcome
    if has_arrived(problem, outcome) and not _is_vague(problem, outcome):
        return outcome
    if _hides_amplitude(problem, outcome):
        return outcome
    vanished = _vanished(problem, outcome)
    if vanished is not None:
        return outcome._replace(limit=vanished)
    outcome = _without_idle(problem, outcome)
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
    best = outcome.loss
    for i, factor in sorted(ways, key=lambda way: problem.names[way[0]] in linear):
        if problem.names[i] in stepped or not outcome.theta[i]:
            continue
        line = _Line(problem, some, begun, i, factor)
        near = line.nearest()
        best = min(best, outcome.loss - line.fall)
        if near is None:
            continue
        plain = problem._replace(callback=None)
        lower = line.across(near)
        if lower is not None:
            # From +∞ the way may lead on from −∞, as it does for 1/k through 0.
            found = walk(plain, lower, [problem.rows])
            is_lower = first and found.loss < outcome.loss
            return at_infinity(problem, merge_runs(outcome, found), False) if is_lower else outcome
        at = walk(plain.holding([i]), near if line.bound is None else line.bound, [problem.rows])
        limit = line.limit(at.theta)._replace(is_bound=line.bound is not None)
        at = merge_runs(outcome, at)._replace(limit=limit, gaps=limit.gaps)
        known = [(limit.asymptote, limit.ways)]
        curves = known if limit.asymptote else _curves(problem, at, i, factor)
        return at if limit.gaps else _fitted(plain.holding([i]), at, curves) or at
    # Without effect a parameter is at no limit, but far from where it has one.
    is_there = has_arrived(problem, outcome) or problem.is_exact(outcome.theta, outcome.quadratic)
    if is_there or outcome.quadratic is None or not outcome.quadratic.norms.all():
        return outcome
    # Floating point may end before the loss stops falling.
    plain = problem._replace(callback=None)
    fits = (_fitted(plain, outcome, _curves(plain, outcome, i, f), best) for i, f in ways)
    return next(filter(None, fits), outcome)


Curves = Iterable[tuple[Asymptote | None, tuple[str, ...]]]


def _curves(problem: Problem, place: Outcome, i: int, factor: float) -> Curves:
    """Yield limits where a parameter grows or shrinks as the curve stays, and what goes whereto."""
    model, values = problem.model, problem.model.values(place.theta.tolist())
    pairs = itertools.combinations([name for name in model.free if name not in model.linear], 2)
    near = ((a, b) for a, b in pairs if abs(values[a] - values[b]) <= EQUAL * abs(values[a]))
    ways = [*itertools.starmap(merging, near), *along(model, _powers(problem, place, i, factor))]
    # A limit in one level is no formula of a user's.
    for way in () if model.formula.levels else ways:
        yield leading(model, way), way.told(values)
    name = problem.names[i]
    if model.formula.levels or not values[name]:
        return
    known = {**model.named(problem.data.sample(FEW, 0).columns), **values}
    end = _way(name, values[name], values[name] * factor**math.inf)
    step = asymptote(model, known, name, math.inf, LIKE_LEVEL)
    yield step if step and "where(" in step.text else None, (end,)


def _powers(problem: Problem, place: Outcome, i: int, factor: float) -> dict[str, int]:
    """Return with which powers nonlinear parameters go along with one, where the curve stays."""
    assert place.quadratic is not None  # a place has one
    shares, others = place.quadratic.root * place.theta, np.arange(len(problem.names)) != i
    paces = np.full(len(problem.names), math.log(factor))
    if np.isfinite(shares).all():
        paces[others] = np.linalg.lstsq(shares[:, others], -paces[i] * shares[:, i])[0]
    moved = {
        name: pace
        for name, pace in zip(problem.names, paces.tolist(), strict=True)
        if name not in problem.model.linear and abs(pace) >= MOVED * abs(paces[i])
    }
    least = min(map(abs, moved.values()), default=1.0)
    powers = {name: round(pace / least) for name, pace in moved.items()}
    return dict(sorted(powers.items(), key=lambda power: abs(power[1])))


def _fitted(
    problem: Problem, outcome: Outcome, curves: Curves, best: float | None = None
) -> Outcome | None:
    """Return the outcome at the first limit whose formula, fitted, does as well.

    As well, that is, as anything that was found, whose mean loss is ``best``.
    """
    own, names, theta = problem.model, np.array(problem.names), outcome.theta.copy()
    values, best = own.values(theta.tolist()), outcome.loss if best is None else best
    for curve, told in curves:
        if curve is None:
            continue
        try:
            model = build(curve.text, own.columns, loss=own.loss)
        except FormulaError:  # no text calls a function
            continue
        with np.errstate(all="ignore"):
            start = np.array([float(evaluate(curve.whole(n), values)) for n in model.free])
        if model.columns != own.columns or not np.isfinite(start).all():
            continue
        simpler = problem.with_model(model)
        found = walk(simpler, start, [problem.rows])
        # What the curve of the last step is worse by does not show.
        if not found.loss <= best * (1 + 1 / problem.rows):
            continue
        quadratic = found.quadratic if has_arrived(simpler, found) else None
        if quadratic is None or not quadratic.spectrum.positive.all():
            continue
        plain = [name for name in model.free if symbol(name) not in curve.combinations]
        known = np.isin(names, plain)
        theta[known] = found.theta[[model.free.index(name) for name in names[known]]]
        at = walk(problem.holding(np.flatnonzero(known).tolist()), theta, [problem.rows])
        if at.loss <= outcome.loss * (1 + SAME / problem.rows):
            outcome = merge_runs(outcome, at)
        else:
            known[:] = False
        limit = Limit(told[0].split()[0], told, curve, known, ~known, fitted=(simpler, found))
        return outcome._replace(limit=limit)
    return None


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


def _hides_amplitude(problem: Problem, outcome: Outcome) -> bool:
    """Whether exact data leave an amplitude that is but rounding: what it scales has no limit."""
    errors = errors_of(problem, outcome)
    if errors is None or not problem.is_exact(outcome.theta, outcome.quadratic):
        return False
    linear = np.isin(problem.names, sorted(problem.model.linear))
    return bool((np.abs(outcome.theta) <= errors)[linear].any())


def _without_idle(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome, walked on by the others where parameters hardly have an effect.

    Their slopes, however small, ask for steps so long that none of any length leads down.
    """
    assert outcome.quadratic is not None  # the caller has looked
    deviation = math.sqrt(outcome.quadratic.noise_sum / 2 / problem.rows)
    idle = np.abs(outcome.theta) * outcome.quadratic.norms <= SAME * deviation
    if not idle.any() or idle.all():
        return outcome
    rest = problem.holding(np.flatnonzero(idle).tolist())._replace(callback=None)
    other = walk(rest, outcome.theta, [problem.rows])
    return merge_runs(outcome, other) if other.loss < outcome.loss else outcome


def _is_vague(problem: Problem, outcome: Outcome) -> bool:
    """Whether a nonlinear parameter may as well be many times as large."""
    errors = errors_of(problem, outcome)
    others = {*problem.model.linear, *outcome.on_edge}
    curved = np.array([name not in others for name in problem.names])
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
        self.visible = VISIBLE * AS_GOOD * noise + ROUNDINGS * rounding
        self.fall = 0.0  # by how much the mean loss of the best place is lower
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
        return is_near and place.quadratic.rounding <= self.visible

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
        self.fall = max(0.0, self.least - least) / self.problem.rows
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

    def limit(self, theta: np.ndarray) -> Limit:
        """Return what is known of the limit near which the estimates are."""
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
        curve = asymptote(model, values, names[i], SAME * deviation)
        known = ~(idle | carried | shrunk)
        return Limit(names[i], tuple(ways), curve, known, idle, tuple(gaps))

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
