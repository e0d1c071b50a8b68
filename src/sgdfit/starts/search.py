"""Starting values from nothing but the formula and the data.

Linear parameters are solved exactly, nonlinear ones drawn in the data's own scale, sums built one
component at a time, and the best points polished by least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.formula.formula import symbol
from sgdfit.inference.quadratic import TERM
from sgdfit.inference.statistics import serial_correlation
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.roles import roles_of
from sgdfit.model.separation import Harmonic, break_names, harmonics, separate
from sgdfit.starts.components import (
    Dictionary,
    Partial,
    exchange,
    first_partial,
    make_grid,
    pursue,
)
from sgdfit.starts.separable import Projection, Whole, by_loss, lengths, polish
from sgdfit.starts.space import Range, observations_of, ranges_of

# How many sums are polished, each time; of exchanged ones twice as many.
POLISHED = 8
KEPT = 8
# Of a component with kinks that leaves a signal: a maximum of lines has few low minima of many.
POLISHED_AGAIN = 256
# Of how many minima components are exchanged.
EXCHANGED = 2
# A minimum at which parts of the formula divide by zero on some row, as in 0**-p, is passed over
# for one with fewer unless it is so many times lower: who writes exp(-k*t**p) means p > 0. That is
# told.
POLE = 1.5
# At most so many rounds; a sum of many components is given up after so many in a row that find none
# whose loss is lower by a share of it. One component is looked for once more.
ROUNDS, PATIENCE, WORTH = 10, 3, 1e-3
# Bounds such as -3.14 … 3.14 are meant as a whole turn.
WHOLE_TURN = 0.99 * 2 * np.pi
# By how much the seeds of two rounds differ.
SEED_STRIDE = 1_000
# Neighbouring residuals go together so many standard deviations beyond chance: then it is worth it.
MOST_CORRELATION = 2.5
# A share of the target's squares that rounding may leave.
EXACT_SHARE = 1e-20
# Two curves that differ by less than this share of the residuals (squared) are one minimum.
SAME, PERFECT = 1e-6, 1e-24


class Candidate(NamedTuple):
    """One minimum of the sum of squares."""

    start: np.ndarray  # float64[p]: what it was polished from, in the order of `Model.free`
    theta: np.ndarray  # float64[p]: the minimum
    loss: float  # the mean weighted squared residual there, over the rows that were given


class Search(NamedTuple):
    """What a search found, and how it went."""

    candidates: tuple[Candidate, ...]  # distinct minima, best first; none without a finite value
    passed: tuple[Candidate, ...]  # lower ones that were passed over, since a row is at a pole
    points: int  # how many were evaluated
    polished: int  # how many of them were polished
    ranges: dict[str, str]  # from where each nonlinear parameter was drawn, in words
    linear: tuple[str, ...]  # the parameters that were solved exactly


@np.errstate(all="ignore")
def find_starts(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> Search:
    """Return the best minima of the mean squared residual over a few hundred rows.

    The loss of ``model`` is passed over: the candidates are those of least squares. ``given`` free
    parameters are held; ``seed`` shifts the points that are drawn.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> x = np.linspace(0.0, 5.0, 30)
    >>> model = build("y = a*exp(-b*x)", ["x", "y"])
    >>> found = find_starts(model, Chunk((x, 4.0 * np.exp(-0.5 * x)), None), {}, seed=0)
    >>> found.linear, found.candidates[0].theta.round(6).tolist()
    (('a',), [4.0, 0.5])
    """
    model, turned = _with_linear_phases(model, given, chunk)
    seen = observations_of(model, chunk, given)
    parts = separate(model.prediction, tuple(name for name in model.free if name not in given))
    ranges = dict[str, Range]()
    for part in parts.components:
        for name, at in zip(part.names, ranges_of(model, part.names, seen), strict=True):
            ranges[name] = at._replace(negative=0.0) if part.is_mirrored(name) else at
    words = {name: at.text for name, at in ranges.items()}
    if not seen.rows:
        return Search((), (), 0, 0, words, parts.linear)
    projection = Projection(model, parts, seen)
    paths, drawn = _searched(projection, ranges, seed)
    minima, passed = (
        tuple(one._replace(start=turned(one.start), theta=turned(one.theta)) for one in some)
        for some in _minima(projection, paths, given)
    )
    return Search(minima, passed, drawn, paths.polished, words, parts.linear)


def _with_linear_phases(
    model: Model, given: Mapping[str, float], chunk: Chunk
) -> tuple[Model, Callable[[np.ndarray], np.ndarray]]:
    """Return the model with phases rewritten as linear, and what turns its parameters back.

    Amplitudes become positive, phases lie within half a period of 0, and positions of a wave of the
    middle of their column.
    """
    ends = {name: (model.parameters[name].low, model.parameters[name].high) for name in model.free}
    able = tuple(name for name in model.free if name not in given)
    prediction, found = harmonics(model.prediction, able)
    while bound := [one for one in found if not _is_open(one, ends)]:
        able = tuple(name for name in able if name not in {bound[0].amplitude, bound[0].phase})
        prediction, found = harmonics(model.prediction, able)
    if not found:
        return model, lambda theta: theta
    roles = roles_of(model.prediction, model.free, model.variables)
    columns = dict(zip(model.columns, chunk.columns, strict=True))

    def turned(theta: np.ndarray) -> np.ndarray:
        theta = theta.copy()
        for amplitude, phase, rate in found:
            both = [model.free.index(amplitude), model.free.index(phase)]
            cosine, sine = theta[both]
            at = {symbol(name): value for name, value in zip(model.free, theta, strict=True)}
            place, period = np.array([np.arctan2(sine, cosine), 2 * np.pi]) / float(
                rate.xreplace(at)
            )
            if (column := columns.get(roles[phase].variable or "")) is not None:
                middle = np.nanmean(column)
                place += period * np.rint((middle - place) / period)
            low, high = ends[phase]
            if low > -np.inf or high < np.inf:
                turns = (low - place) / period if low > -np.inf else (high - place) / period - 1
                place = np.clip(place + period * np.ceil(turns), low, high)
            theta[both] = np.hypot(cosine, sine), place
        return theta

    formula = replace(model.formula, text=None, expression=prediction)
    parameters = {name: model.parameters[name] for name in model.free}
    for name in {name for one in found for name in (one.amplitude, one.phase)}:
        parameters[name] = replace(parameters[name], low=-np.inf, high=np.inf)
    return replace(model, formula=formula, parameters=parameters), turned


def _is_open(wave: Harmonic, ends: Mapping[str, tuple[float, float]]) -> bool:
    """Whether bounds leave room for every phase, and for a positive amplitude of any size."""
    low, high = ends[wave.phase]
    every = np.isinf(high - low)
    if not every and wave.rate.is_number:
        every = (high - low) * abs(float(wave.rate)) >= WHOLE_TURN
    return bool(every) and ends[wave.amplitude][0] <= 0 and ends[wave.amplitude][1] == np.inf


class _Paths(NamedTuple):
    """Where polishing began, where each led to, and how many set out."""

    starts: np.ndarray  # float64[k, q]: nonlinear parameters
    ends: np.ndarray  # float64[k, p]: these and the linear ones
    losses: np.ndarray
    polished: int

    def concatenate(self, more: _Paths) -> _Paths:
        """Return both together."""
        starts, ends, losses = (np.concatenate(p) for p in zip(self[:3], more[:3], strict=True))
        return _Paths(starts, ends, losses, self.polished + more.polished)

    def distinct(self, most: int) -> np.ndarray:
        """Return the best ends, at most so many, of those with unequal losses."""
        order = np.argsort(self.losses, kind="stable")
        apart = np.diff(self.losses[order], prepend=-np.inf) > 1e-6 * self.losses[order]
        return self.ends[order[apart][:most]]


def _searched(projection: Projection, ranges: Mapping[str, Range], seed: int) -> tuple[_Paths, int]:
    """Search in rounds while the residuals look like signal; also return how many points it took.

    Every other round tries sums whose like components agree in sign: the greedy choice of one wide
    peak where there are two, or of an exponential that takes in a peak, is undone by dips.
    """
    parts, first = projection.parts.components, first_partial(*projection.plain())
    none = np.empty((1 - bool(parts), len(projection.names)))
    paths = _Paths(none, projection.whole(none), np.full(len(none), first.loss), 0)
    drawn = fruitless = 0
    is_broken = bool(break_names(projection.model.prediction, projection.names))
    exact = EXACT_SHARE * float(projection.seen.target @ projection.seen.target)
    for k in range(ROUNDS if parts else 0):
        dictionaries = _dictionaries(projection, ranges, seed + SEED_STRIDE * k)
        drawn += sum({id(one): len(one.points) for one in dictionaries}.values())
        if not all(len(one.points) for one in dictionaries):
            break
        before = paths.losses.min(initial=np.inf)
        most = POLISHED_AGAIN if k and is_broken and len(parts) == 1 else POLISHED
        sums = pursue(first, dictionaries, most, agree=k % 2 == 1)
        paths = paths.concatenate(_polished(projection, sums))
        if k and len(parts) > 1 and len(paths.ends):
            sums = _exchanged(projection, first, dictionaries, paths)
            paths = paths.concatenate(_polished(projection, sums[: 2 * POLISHED]))
        fruitless += 1
        if paths.losses.min(initial=np.inf) < before * (1 - WORTH):
            fruitless = 0
        if fruitless == min(len(parts), PATIENCE) or not len(paths.ends):
            break
        if paths.losses.min() <= exact:
            break
        # What a sum lacks may hide in noise: the last round is one that finds nothing lower.
        if (fruitless or len(parts) == 1) and not _is_signal(projection, paths.distinct(1)):
            break
    return paths, drawn


def _dictionaries(
    projection: Projection, ranges: Mapping[str, Range], seed: int
) -> list[Dictionary]:
    """Return one for each component; one serves all of the same form and ranges."""
    made: dict[object, Dictionary] = {}
    dictionaries = []
    for part in projection.parts.components:
        key = (part.shape, *(ranges[name].form for name in part.names))
        if key not in made:
            made[key] = make_grid(part, ranges, projection.seen, seed + len(made))
        dictionaries.append(made[key])
    return dictionaries


def _exchanged(
    projection: Projection,
    first: Partial,
    dictionaries: Sequence[Dictionary],
    paths: _Paths,
) -> list[Partial]:
    """Return what exchanging components of the best sums makes, best first."""
    parts, made = projection.parts.components, list[Partial]()
    places = np.cumsum([len(part.names) for part in parts])[:-1]
    for end in paths.distinct(EXCHANGED):
        chosen = dict(enumerate(np.split(end[: len(projection.names)], places)))
        made += exchange(first, chosen, parts, dictionaries, projection.seen)
    return sorted(made, key=lambda partial: partial.loss)


def _is_signal(projection: Projection, point: np.ndarray) -> bool:
    """Whether residuals at the point, float64[1, p], go together as those of noise do not."""
    seen, whole = projection.seen, Whole(projection.model, projection.all_names, projection.seen)
    left = whole.residuals(point)
    residual, slopes = left[0], whole.slopes(point, whole.names, left)[0][0]
    columns = [np.asarray(seen.data[seen.names.index(name)]) for name in whole.model.variables]
    return serial_correlation(residual, slopes, columns)[1] > MOST_CORRELATION


def _polished(projection: Projection, sums: Sequence[Partial]) -> _Paths:
    """Polish the nonlinear parameters of ``sums``."""
    ordered = [np.concatenate([p.chosen[c] for c in sorted(p.chosen)]) for p in sums]
    starts = np.array(ordered).reshape(len(sums), len(projection.names))
    followed, ends, losses = polish(projection, starts)
    return _Paths(starts[followed], projection.whole(ends), losses, len(sums))


def _minima(
    projection: Projection, paths: _Paths, given: Mapping[str, float]
) -> tuple[list[Candidate], list[Candidate]]:
    """Return the distinct minima, with all parameters, best first, and lower ones passed over.

    The same curve is the same minimum, however its parameters are exchanged.
    """
    first, last, names = projection.whole(paths.starts), paths.ends, projection.all_names
    whole = Whole(projection.model, names, projection.seen)
    if projection.bounded:
        followed, last, _ = polish(whole, last)
        first = first[followed]
    residual = whole.residuals(last)
    losses = np.einsum("kn,kn->k", residual, residual)
    slopes, doubt = whole.slopes(last, names, residual)
    poles = np.unique(whole.poles(last, doubt), return_inverse=True)[1]
    # Where terms of 1e16 cancel, or a row lies on a pole, rounding is all there is of a low sum.
    moved = TERM * np.einsum("kp,kpn->kn", np.abs(last), np.abs(slopes))
    ranks = losses + 2 * lengths(residual * moved) + lengths(moved) ** 2
    kept: list[int] = []
    for i in by_loss(ranks * POLE**poles, last).tolist():
        near = residual[kept] - residual[i]
        same = np.einsum("kn,kn->k", near, near) <= SAME * losses[i] + PERFECT
        if np.isfinite(losses[i]) and not same.any():
            kept.append(i)
    worth = [i for i in kept if poles[i] <= poles[kept[0]]]
    passed = [i for i in kept if losses[i] < (1 - WORTH) * losses[worth[0]] and i not in worth]

    def full(values: np.ndarray) -> np.ndarray:
        known = {**dict(zip(names, values, strict=True)), **given}
        return np.array([known[name] for name in projection.model.free])

    scale = float(np.square(projection.seen.unit) / projection.seen.rows)

    def candidates(chosen: list[int]) -> list[Candidate]:
        return [Candidate(full(first[i]), full(last[i]), float(losses[i]) * scale) for i in chosen]

    return candidates(worth[:KEPT]), candidates(passed)
