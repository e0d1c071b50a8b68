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
from sgdfit.starts.observations import Observations, observe
from sgdfit.starts.polishing import polish
from sgdfit.starts.projection import Projection, Whole
from sgdfit.starts.pursuit import pursue

__all__ = ["Candidate", "Search", "find_starts"]

POLISHED = 40
KEPT = 8


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
    points = sum(len(book.points) for book in {id(book): book for book in books}.values())
    starts = _combined(projection, books)
    minima = _minima(projection, starts, given)
    return Search(minima, max(points, len(starts)), len(starts), words, parts.linear)


def _ranges(model: Model, parts: Separation, seen: Observations) -> dict[str, Range]:
    roles = roles_of(model.prediction, model.free, model.variables)
    known = model.parameters
    return {
        name: range_of(roles[name], known[name].low, known[name].high, seen)
        for name in parts.nonlinear
    }


def _books(
    parts: Separation, ranges: Mapping[str, Range], seen: Observations, seed: int
) -> list[Dictionary]:
    """Return a dictionary a component, the same for those of the same form and ranges."""
    made: dict[object, Dictionary] = {}
    books = []
    for part in parts.components:
        key = (part.shape, *(ranges[name]._replace(role=None) for name in part.names))
        if key not in made:
            made[key] = tabulate(part, ranges, seen, seed + len(made))
        books.append(made[key])
    return books


def _combined(projection: Projection, books: Sequence[Dictionary]) -> np.ndarray:
    """Return the points to polish: float64[k, q]."""
    if not books:
        return np.empty((1, 0))
    if not all(len(book.points) for book in books):
        return np.empty((0, len(projection.names)))
    target, plain = projection.plain()
    picks = pursue(target, plain, books, POLISHED)
    return np.array(
        [
            np.concatenate([book.points[i] for book, i in zip(books, pick, strict=True)])
            for pick in picks
        ]
    ).reshape(len(picks), len(projection.names))


def _minima(
    projection: Projection, starts: np.ndarray, given: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Polish the starts and return the distinct minima."""
    done = polish(projection, starts.copy())
    order = np.argsort(done.loss, kind="stable")
    first = projection.whole(starts[done.index[order]])
    last = projection.whole(done.points[order])
    names = (*projection.names, *projection.parts.order)
    whole = Whole(projection.model, names, projection.seen)
    if projection.bounded:
        last = polish(whole, last.copy()).points
    residual = whole.residuals(last)
    loss = np.einsum("kn,kn->k", residual, residual)
    free = projection.model.free
    kept: list[int] = []
    for i in np.argsort(loss, kind="stable"):
        near = (residual[kept] - residual[i]) if kept else np.empty((0, 1))
        same = np.einsum("kn,kn->k", near, near) <= 1e-6 * loss[i] + 1e-24
        if np.isfinite(loss[i]) and not same.any() and len(kept) < KEPT:
            kept.append(int(i))

    def full(values: np.ndarray) -> np.ndarray:
        known = dict(zip(names, values, strict=True)) | given
        return np.array([known[name] for name in free])

    scale = projection.seen.unit**2 / projection.seen.rows
    return tuple(Candidate(full(first[i]), full(last[i]), float(loss[i]) * scale) for i in kept)
