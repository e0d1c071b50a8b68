"""Starting values from nothing but the formula and the data.

Linear parameters are solved exactly, nonlinear ones drawn in the data's own scale, sums built one
component at a time, and the best points polished by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.kernels.kernel import Chunk
from sgdfit.models.model import Model
from sgdfit.models.roles import roles_of
from sgdfit.models.separation import Separation, separate
from sgdfit.starts.dictionary import Dictionary, tabulate
from sgdfit.starts.draws import Range, range_of
from sgdfit.starts.exchange import exchanged
from sgdfit.starts.observations import Observations, observe
from sgdfit.starts.partial import Partial
from sgdfit.starts.polishing import polish
from sgdfit.starts.projection import Projection, Whole
from sgdfit.starts.pursuit import first_partial, pursue

__all__ = ["Candidate", "Search", "find_starts"]

POLISHED = 32
KEPT = 8
# How often, and of how many minima, components are exchanged while that finds better ones.
ROUNDS, EXCHANGED = 4, 2
# Two curves that differ by less than this share of the residuals (squared) are one minimum.
SAME = 1e-6
EXACT = 1e-24


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
    >>> from sgdfit.models.model import build
    >>> x = np.linspace(0.0, 5.0, 30)
    >>> model = build("y = a*exp(-b*x)", ["x", "y"])
    >>> found = find_starts(model, Chunk((x, 4.0 * np.exp(-0.5 * x)), None), {}, seed=0)
    >>> found.linear, found.candidates[0].theta.round(6).tolist()
    (('a',), [4.0, 0.5])
    """
    seen = observe(model, chunk, given)
    names = tuple(name for name in model.free if name not in given)
    parts = separate(model.prediction, names)
    ranges = _ranges(model, parts, seen)
    words = {name: at.text for name, at in ranges.items()}
    if not seen.rows or not names:
        return Search((), 0, 0, words, parts.linear)
    projection = Projection(model, parts, seen)
    books = _books(parts, ranges, seen, seed)
    drawn = sum(len(book.points) for book in {id(book): book for book in books}.values())
    starts, ends = _descended(projection, books)
    found = _minima(projection, starts, ends, given)
    return Search(found, max(drawn, len(starts)), len(starts), words, parts.linear)


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


def _books(
    parts: Separation, ranges: Mapping[str, Range], seen: Observations, seed: int
) -> list[Dictionary]:
    """Return a dictionary a component, the same for those of the same form and ranges."""
    made: dict[object, Dictionary] = {}
    books = []
    for part in parts.components:
        key = (part.shape, *(ranges[name].form for name in part.names))
        if key not in made:
            made[key] = tabulate(part, ranges, seen, seed + len(made))
        books.append(made[key])
    return books


def _descended(
    projection: Projection, books: Sequence[Dictionary]
) -> tuple[np.ndarray, np.ndarray]:
    """Return nonlinear points, and the minima that they lead to: float64[k, q] both."""
    if not books:
        return np.empty((1, 0)), np.empty((1, 0))
    if not all(len(book.points) for book in books):
        return np.empty((0, len(projection.names))), np.empty((0, len(projection.names)))
    first = first_partial(*projection.plain())
    starts = _points(projection, pursue(first, books, POLISHED))
    done = polish(projection, starts)
    starts, ends, losses = starts[done.index], done.points, done.loss
    for _ in range(ROUNDS if len(books) > 1 else 0):
        best = ends[_distinct(losses)[:EXCHANGED]]
        more = _exchanged(projection, first, best, books)
        done = polish(projection, more)
        better = done.loss.min(initial=np.inf) < losses.min() * (1.0 - 1e-6)
        starts, ends = np.vstack([starts, more[done.index]]), np.vstack([ends, done.points])
        losses = np.concatenate([losses, done.loss])
        if not better:
            break
    return starts, ends


def _distinct(losses: np.ndarray) -> list[int]:
    """Return the indices of losses that differ, best first."""
    order = np.argsort(losses, kind="stable")
    new = np.diff(losses[order], prepend=-np.inf) > 1e-6 * losses[order]
    return [int(i) for i in order[new]]


def _exchanged(
    projection: Projection, first: Partial, ends: np.ndarray, books: Sequence[Dictionary]
) -> np.ndarray:
    parts, seen = projection.parts.components, projection.seen
    places = np.cumsum([0, *(len(part.names) for part in parts)])
    made: list[Partial] = []
    for end in ends:
        chosen = {c: end[places[c] : places[c + 1]] for c in range(len(parts))}
        made += exchanged(first, chosen, parts, books, seen)
    return _points(projection, sorted(made, key=lambda partial: partial.loss)[:POLISHED])


def _points(projection: Projection, sums: Sequence[Partial]) -> np.ndarray:
    """Return the nonlinear parameters of ``sums``, in order: float64[k, q]."""
    ordered = [np.concatenate([p.chosen[c] for c in sorted(p.chosen)]) for p in sums]
    return np.array(ordered).reshape(len(sums), len(projection.names))


def _minima(
    projection: Projection, starts: np.ndarray, ends: np.ndarray, given: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Return the distinct minima, with all parameters."""
    first, last = projection.whole(starts), projection.whole(ends)
    names = (*projection.names, *projection.parts.order)
    whole = Whole(projection.model, names, projection.seen)
    if projection.bounded:
        done = polish(whole, last)
        first, last = first[done.index], done.points
    residual = whole.residuals(last)
    loss = np.einsum("kn,kn->k", residual, residual)
    kept: list[int] = []
    for i in np.argsort(loss, kind="stable"):
        near = residual[kept] - residual[i]
        same = np.einsum("kn,kn->k", near, near) <= SAME * loss[i] + EXACT
        if np.isfinite(loss[i]) and not same.any() and len(kept) < KEPT:
            kept.append(int(i))

    def full(values: np.ndarray) -> np.ndarray:
        known = {**dict(zip(names, values, strict=True)), **given}
        return np.array([known[name] for name in projection.model.free])

    scale = projection.seen.unit**2 / projection.seen.rows
    return tuple(Candidate(full(first[i]), full(last[i]), float(loss[i]) * scale) for i in kept)
