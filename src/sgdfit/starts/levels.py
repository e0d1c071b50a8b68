"""Starting values of parameters that have a value for each level of a column.

A search over all of them has too many dimensions. So the formula is fitted to some levels by
themselves, and to all rows as if there were no levels: either gives the parameters that all levels
share. With these held, those of each level follow from its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.separation import separate
from sgdfit.model.symmetry import canonical_theta
from sgdfit.starts.search import Candidate, Search, find_starts
from sgdfit.starts.separable import Projection, Whole, polish
from sgdfit.starts.space import observations_of

# So many levels, those with the most rows, are searched by themselves, and so many rows as a whole.
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
    pooled, free = _pooled(model, chunk, given, seed), model.base.free
    found = [
        (level, find_starts(level.model, level.chunk, level.held, seed))
        for level in (pooled, *levels[:SEARCHED])
        if level.chunk.rows >= len(free)
    ]
    found = [(level, search) for level, search in found if search.candidates]
    searched = Search(
        (), sum(s.points for _, s in found), sum(s.polished for _, s in found), {}, ()
    )
    if not found:
        return searched
    points = [canonical_theta(at.model, s.candidates[0].theta, free)[0] for at, s in found]
    usual = float(np.median([s.candidates[0].loss for _, s in found[1:] or found]))
    starts = [
        _assembled(model, levels, points, dict(zip(free, guess.tolist(), strict=True)), usual, seed)
        for guess in (points[0], np.median(points[1:] or points, axis=0))
    ]
    seen, names = (
        observations_of(model, chunk, given),
        tuple(n for n in model.free if n not in given),
    )
    whole = Whole(model, names, seen)
    places = [model.free.index(name) for name in names]
    followed, ends, losses = polish(
        whole, np.clip(np.array(starts)[:, places], whole.low, whole.high)
    )
    candidates = []
    for k, end, loss in sorted(zip(followed, ends, losses, strict=True), key=lambda one: one[2]):
        theta = np.array([given.get(name, 0.0) for name in model.free])
        theta[places] = end
        candidates.append(Candidate(starts[k], theta, float(loss) * seen.unit**2 / seen.rows))
    return searched._replace(
        candidates=tuple(candidates), ranges=found[0][1].ranges, linear=found[0][1].linear
    )


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
    model: Model,
    levels: Sequence[_Level],
    points: Sequence[np.ndarray],
    common: dict[str, float],
    usual: float,
    seed: int,
) -> np.ndarray:
    """Return all free parameters, float64[p]: with the common ones what fits each level."""
    known: dict[str, list[float]] = {}
    for level in levels:
        own = zip(model.base.free, level.names, strict=True)
        held = {name: common[name] for name, full in own if name == full} | level.held
        values = _fitted(level, points, held, usual, seed)
        for name, full in zip(model.base.free, level.names, strict=True):
            known.setdefault(full, []).append(values[name])
    # A level of which the sample has no row is like the others.
    usually = {name: [common[name.partition("[")[0]]] for name in model.free if name not in known}
    return np.array([float(np.median((known | usually)[name])) for name in model.free])


def _fitted(
    level: _Level, points: Sequence[np.ndarray], held: dict[str, float], usual: float, seed: int
) -> dict[str, float]:
    """Return what fits a level, some parameters ``held``, from where others were led to."""
    free = level.model.free
    parts = separate(level.model.prediction, tuple(name for name in free if name not in held))
    seen = observations_of(level.model, level.chunk, held)
    projection = Projection(level.model, parts, seen)
    places = [free.index(name) for name in projection.names]
    starts = np.clip(np.array(points)[:, places], projection.low, projection.high)
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
