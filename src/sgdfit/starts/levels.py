"""Starting values of parameters that have a value for each level of a column.

A search over all of them has too many dimensions. So the formula is fitted to some levels by
themselves, or, where these have too few rows, to all as if there were no levels. With the usual
ones of the parameters that levels share, those of each level follow from its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.separation import separate
from sgdfit.model.symmetry import canonical_theta, equivalents
from sgdfit.starts.search import Candidate, Search, find_starts
from sgdfit.starts.separable import Projection, Whole, polish
from sgdfit.starts.space import observations_of

# So many levels, those with the most rows, are searched by themselves, or so many rows as a whole.
SEARCHED, POOLED_ROWS = 6, 512
# A level is searched, too, where the others lead it to so many times the usual squared residual.
MISFIT = 4.0


class _Level(NamedTuple):
    """The rows of one level, or of one of each column, and the formula there."""

    model: Model  # of one level, within the bounds that hold here
    names: tuple[str, ...]  # what its free parameters are called in the model of all levels
    chunk: Chunk  # without the codes
    held: dict[str, float]  # those of its free parameters that are given, or fixed here


def has_indexed(model: Model, names: tuple[str, ...]) -> bool:
    """Whether one of the ``names`` has a value for each level and enters nonlinearly."""
    members = {name for some in model.formula.families.values() for name in some}
    return bool(members) and not members.isdisjoint(separate(model.prediction, names).nonlinear)


@np.errstate(all="ignore")
def find_level_starts(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> Search:
    """Return what `sgdfit.starts.search.find_starts` does, found level by level."""
    levels = sorted(_levels(model, chunk, given), key=lambda level: -level.chunk.rows)
    free = model.base.free
    some = [level for level in levels[:SEARCHED] if level.chunk.rows >= len(free)]
    some = some or [_pooled(model, chunk, given, seed)]
    found = [find_starts(level.model, level.chunk, level.held, seed) for level in some]
    best = [(at, s.candidates[0]) for at, s in zip(some, found, strict=True) if s.candidates]
    candidates: tuple[Candidate, ...] = ()
    if best:
        common = [own == name for own, name in zip(free, best[0][0].names, strict=True)]
        points = _alike([_orbit(at, one.theta) for at, one in best], np.array(common))
        usual = float(np.median([one.loss for _, one in best]))
        theta = _assembled(model, levels, points, usual, seed)
        seen = observations_of(model, chunk, {})
        left = Whole(model, model.free, seen).residuals(theta[None])[0] * seen.unit
        candidates = (Candidate(theta, theta, float(left @ left) / seen.rows),)
    return Search(
        candidates,
        (),
        sum(search.points for search in found),
        sum(search.polished for search in found),
        found[0].ranges,
        found[0].linear,
    )


def _orbit(level: _Level, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the equivalents of a minimum, which keep what is held."""
    moving = [name for name in level.model.free if name not in level.held]
    theta = canonical_theta(level.model, theta, moving)[0]
    return (theta,) if level.held else equivalents(level.model, theta)


def _alike(orbits: Sequence[tuple[np.ndarray, ...]], common: np.ndarray) -> np.ndarray:
    """Return one of each orbit, float64[k, q], so that the ``common`` parameters agree best.

    Of a peak at m[site] beside one at k a level by itself does not tell which is which.
    """

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        size = np.abs(one) + np.abs(other)
        return float((np.abs(one - other) / np.where(size > 0, size, 1.0))[common].sum())

    chosen = [[min(orbit, key=partial(apart, at)) for orbit in orbits] for at in orbits[0]]
    return np.array(min(chosen, key=lambda some: sum(apart(some[0], one) for one in some)))


def _levels(model: Model, chunk: Chunk, given: Mapping[str, float]) -> Iterator[_Level]:
    """Yield the rows of each level, or of each combination of levels of several columns."""
    formula, base = model.formula, model.base
    columns = dict(zip(model.columns, chunk.columns, strict=True))
    codes = np.array([columns[name] for name in formula.levels], dtype=np.intp)
    combinations, place = np.unique(codes, axis=1, return_inverse=True)
    for k, combination in enumerate(combinations.T.tolist()):
        code = dict(zip(formula.levels, combination, strict=True))
        member = {
            formula.subscripts[name][0]: members[code[formula.subscripts[name][1]]]
            for name, members in formula.families.items()
        }
        names = tuple(member.get(name, name) for name in base.free)
        held, parameters = dict[str, float](), dict(base.parameters)
        for own, name in zip(base.free, names, strict=True):
            here = model.parameters[name]
            parameters[own] = replace(parameters[own], low=here.low, high=here.high)
            if name in given or here.role == "fixed":
                held[own] = given.get(name, here.start)
        some = chunk.taken(np.flatnonzero(place.ravel() == k))
        yield _Level(replace(base, parameters=parameters), names, _without_codes(model, some), held)


def _pooled(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> _Level:
    """Return some of all rows as those of a single level."""
    order = np.random.default_rng(seed).permutation(chunk.rows)[:POOLED_ROWS]
    held = {name: given[name] for name in model.base.free if name in given}
    some = _without_codes(model, chunk.taken(np.sort(order)))
    return _Level(model.base, model.base.free, some, held)


def _without_codes(model: Model, chunk: Chunk) -> Chunk:
    columns = dict(zip(model.columns, chunk.columns, strict=True))
    return Chunk(tuple(columns[name] for name in model.base.columns), chunk.weights)


def _assembled(
    model: Model, levels: Sequence[_Level], points: np.ndarray, usual: float, seed: int
) -> np.ndarray:
    """Return all free parameters, float64[p]: with the usual common ones what fits each level."""
    base = model.base.free
    usually = dict(zip(base, np.median(points, axis=0).tolist(), strict=True))
    known: dict[str, list[float]] = {}
    for level in levels:
        both = [*zip(base, level.names, strict=True)]
        held = {own: usually[own] for own, name in both if own == name} | level.held
        values = _fitted(level, points, held, usual, seed)
        for own, name in both:
            known.setdefault(name, []).append(values[own])
    # A level of which the sample has no row is like the others.
    rest = {name: [usually[name.partition("[")[0]]] for name in model.free if name not in known}
    return np.array([float(np.median((known | rest)[name])) for name in model.free])


def _fitted(
    level: _Level, points: np.ndarray, held: dict[str, float], usual: float, seed: int
) -> dict[str, float]:
    """Return what fits a level, some parameters ``held``, from where others were led to."""
    free = level.model.free
    parts = separate(level.model.prediction, tuple(name for name in free if name not in held))
    seen = observations_of(level.model, level.chunk, held)
    projection = Projection(level.model, parts, seen)
    places = [free.index(name) for name in projection.names]
    starts = np.clip(points[:, places], projection.low, projection.high)
    _, ends, losses = polish(projection, np.unique(starts, axis=0))
    best = float(losses.min(initial=np.inf)) * seen.unit**2 / max(1, seen.rows)
    if not best <= MISFIT * usual:
        search = find_starts(level.model, level.chunk, held, seed)
        if search.candidates and search.candidates[0].loss < best:
            return dict(zip(free, map(float, search.candidates[0].theta), strict=True))
    if not len(losses):
        return dict(zip(free, map(float, points[0]), strict=True)) | held
    whole = projection.whole(ends[[int(losses.argmin())]])[0]
    return dict(zip(projection.all_names, map(float, whole), strict=True)) | held
