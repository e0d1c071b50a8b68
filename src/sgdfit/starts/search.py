"""Starting values from nothing but the formula and the data.

Linear parameters are solved exactly, nonlinear ones drawn in the data's own scale, sums built one
component at a time, and the best points polished by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.roles import roles_of
from sgdfit.model.separation import Separation, separate
from sgdfit.starts.components import Dictionary, Partial, exchanged, first_partial, pursue, tabulate
from sgdfit.starts.separable import Projection, Whole, by_loss, polish, unsettled
from sgdfit.starts.space import Observations, Range, observe, range_of

__all__ = ["Candidate", "Search", "find_starts"]

POLISHED = 32
KEPT = 8
# How often, and of how many minima, components are exchanged while that finds better ones.
ROUNDS, EXCHANGED = 4, 2
# Exchanging goes on as long as it lowers the sum of squares by this share.
GAINED = 1e-4
# Two curves that differ by less than this share of the residuals (squared) are one minimum.
SAME, PERFECT = 1e-6, 1e-24
# A minimum that one more step promises to lower by more than this share is none.
FLAT = 1e-4


class Candidate(NamedTuple):
    """One minimum of the sum of squares.

    Attributes
    ----------
    start : float64[p]
        The point that it was polished from, in the order of `Model.free`.
    theta : float64[p]
        The minimum.
    loss : float
        The mean weighted squared residual there, over the rows that were given.
    """

    start: np.ndarray
    theta: np.ndarray
    loss: float


class Search(NamedTuple):
    """What a search found, and how it went.

    Attributes
    ----------
    candidates : tuple of Candidate
        Distinct minima, best first; none where no point had a finite value.
    points : int
        How many points were evaluated.
    polished : int
        How many of them were polished.
    ranges : dict of str to str
        From where each nonlinear parameter was drawn, in words.
    linear : tuple of str
        The parameters that were solved exactly.
    """

    candidates: tuple[Candidate, ...]
    points: int
    polished: int
    ranges: dict[str, str]
    linear: tuple[str, ...]


def find_starts(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> Search:
    """Return the best minima of the mean squared residual of ``model`` over ``chunk``.

    Parameters
    ----------
    model : Model
        Its loss is passed over: the candidates are those of least squares.
    chunk : Chunk
        A few hundred rows.
    given : mapping of str to float
        Free parameters whose value is held.
    seed : int
        Shifts the points that are drawn.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> x = np.linspace(0.0, 5.0, 30)
    >>> model = build("y = a*exp(-b*x)", ["x", "y"])
    >>> found = find_starts(model, Chunk((x, 4.0 * np.exp(-0.5 * x)), None), {}, seed=0)
    >>> found.linear, found.candidates[0].theta.round(6).tolist()
    (('a',), [4.0, 0.5])
    """
    with np.errstate(all="ignore"):
        return _search(model, chunk, given, seed)


def _search(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> Search:
    seen = observe(model, chunk, given)
    names = tuple(name for name in model.free if name not in given)
    parts = separate(model.prediction, names)
    ranges = _ranges(model, parts, seen)
    words = {name: at.text for name, at in ranges.items()}
    if not seen.rows:
        return Search((), 0, 0, words, parts.linear)
    projection = Projection(model, parts, seen)
    dictionaries = _dictionaries(parts, ranges, seen, seed)
    drawn = sum(
        len(dictionary.points)
        for dictionary in {id(dictionary): dictionary for dictionary in dictionaries}.values()
    )
    paths = _descended(projection, dictionaries)
    found = _minima(projection, paths, given)
    return Search(found, drawn, paths.polished, words, parts.linear)


def _ranges(model: Model, parts: Separation, seen: Observations) -> dict[str, Range]:
    roles = roles_of(model.prediction, model.free, model.variables)
    known = model.parameters
    made = {}
    for part in parts.components:
        for name in part.names:
            made[name] = range_of(roles[name], known[name].low, known[name].high, seen)
            if part.is_mirrored(name):
                made[name] = made[name]._replace(negative=0.0)
    return made


def _dictionaries(
    parts: Separation, ranges: Mapping[str, Range], seen: Observations, seed: int
) -> list[Dictionary]:
    """Return a dictionary a component, the same for those of the same form and ranges."""
    made: dict[object, Dictionary] = {}
    dictionaries = []
    for part in parts.components:
        key = (part.shape, *(ranges[name].form for name in part.names))
        if key not in made:
            made[key] = tabulate(part, ranges, seen, seed + len(made))
        dictionaries.append(made[key])
    return dictionaries


class _Paths(NamedTuple):
    """Nonlinear points, where each led to, and how many set out."""

    starts: np.ndarray
    ends: np.ndarray
    losses: np.ndarray
    polished: int

    def joined(self, other: _Paths) -> _Paths:
        return _Paths(
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.ends, other.ends]),
            np.concatenate([self.losses, other.losses]),
            self.polished + other.polished,
        )


def _descended(projection: Projection, dictionaries: Sequence[Dictionary]) -> _Paths:
    """Build sums, polish them, and exchange their components while that finds better ones."""
    first = first_partial(*projection.plain())
    if not dictionaries:
        return _Paths(np.empty((1, 0)), np.empty((1, 0)), np.array([first.loss]), 0)
    usable = all(len(dictionary.points) for dictionary in dictionaries)
    paths = _polished(projection, pursue(first, dictionaries, POLISHED) if usable else [])
    for _ in range(ROUNDS if len(dictionaries) > 1 and len(paths.ends) else 0):
        best = paths.ends[_distinct(paths.losses)[:EXCHANGED]]
        more = _polished(projection, _exchanged(projection, first, best, dictionaries))
        better = more.losses.min(initial=np.inf) < paths.losses.min() * (1.0 - GAINED)
        paths = paths.joined(more)
        if not better:
            break
    return paths


def _polished(projection: Projection, sums: Sequence[Partial]) -> _Paths:
    """Polish the nonlinear parameters of ``sums``."""
    ordered = [np.concatenate([p.chosen[c] for c in sorted(p.chosen)]) for p in sums]
    starts = np.array(ordered).reshape(len(sums), len(projection.names))
    done = polish(projection, starts)
    return _Paths(starts[done.followed], done.points, done.loss, len(sums))


def _distinct(losses: np.ndarray) -> list[int]:
    """Return the indices of losses that differ, best first."""
    order = np.argsort(losses, kind="stable")
    new = np.diff(losses[order], prepend=-np.inf) > 1e-6 * losses[order]
    return [int(i) for i in order[new]]


def _exchanged(
    projection: Projection, first: Partial, ends: np.ndarray, dictionaries: Sequence[Dictionary]
) -> list[Partial]:
    """Return sums like those at ``ends`` with some components replaced, best first."""
    parts, seen = projection.parts.components, projection.seen
    places = np.cumsum([0, *(len(part.names) for part in parts)])
    made: list[Partial] = []
    for end in ends:
        chosen = {c: end[places[c] : places[c + 1]] for c in range(len(parts))}
        made += exchanged(first, chosen, parts, dictionaries, seen)
    return sorted(made, key=lambda partial: partial.loss)[:POLISHED]


def _minima(
    projection: Projection, paths: _Paths, given: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Return the distinct minima, with all parameters."""
    first, last = projection.whole(paths.starts), projection.whole(paths.ends)
    names = (*projection.names, *projection.parts.order)
    whole = Whole(projection.model, names, projection.seen)
    if projection.bounded:
        done = polish(whole, last)
        first, last = first[done.followed], done.points
    residual = whole.residuals(last)
    losses = np.einsum("kn,kn->k", residual, residual)

    def full(values: np.ndarray) -> np.ndarray:
        known = {**dict(zip(names, values, strict=True)), **given}
        return np.array([known[name] for name in projection.model.free])

    scale = float(np.square(projection.seen.unit) / projection.seen.rows)
    kept = _apart(residual, losses, unsettled(whole, last), by_loss(losses, last))
    return tuple(Candidate(full(first[i]), full(last[i]), float(losses[i]) * scale) for i in kept)


def _apart(
    residual: np.ndarray, losses: np.ndarray, slope: np.ndarray, order: np.ndarray
) -> list[int]:
    """Return which points are distinct minima, best first.

    The same curve is the same minimum, however its parameters are exchanged. Where a curve jumps
    or has a pole, a point may be stuck on a slope: that is no rival of the best.
    """
    kept: list[int] = []
    for i in order[np.isfinite(losses[order])]:
        near = residual[kept] - residual[i]
        same = np.einsum("kn,kn->k", near, near) <= SAME * losses[i] + PERFECT
        if not same.any() and (slope[i] <= FLAT or not kept):
            kept.append(int(i))
    return kept[:KEPT]
