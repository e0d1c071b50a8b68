"""Components of a polished sum chosen anew, one at a time and two at once.

A sum built greedily may hold one wide peak where there are two that blend; taking both away and
looking for the best pair finds them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sgdfit.kernel.candidates import evaluator
from sgdfit.model.separation import Component
from sgdfit.starts.dictionary import Dictionary
from sgdfit.starts.observations import Observations
from sgdfit.starts.partial import NEW, Partial, scores, spread

__all__ = ["exchanged"]

# How many replacements of each component or pair are returned.
EACH = 3
# From so many of a dictionary's first entries pairs are made, by its number of parameters; any
# first entries of it fill the ranges evenly.
PAIRED = (192, 768)
# Two bases that differ by less (one less their squared cosine) make no pair.
APART = 1e-4


def exchanged(
    start: Partial,
    chosen: Mapping[int, np.ndarray],
    parts: Sequence[Component],
    books: Sequence[Dictionary],
    seen: Observations,
) -> list[Partial]:
    """Return sums like ``chosen`` with one or two components replaced by the best others."""
    made: list[Partial] = []
    for c in range(len(books)):
        rest = _without(start, chosen, (c,), parts, seen)
        losses = scores([rest], books[c])[0]
        made += [rest.entry(c, books[c], i) for i in spread(losses, books[c].cube, EACH, 1)]
    simple = [c for c, book in enumerate(books) if book.basis.shape[1] == 1 and book.offset is None]
    for c, d in itertools.combinations(simple, 2):
        if books[c] is not books[d] and len(books) > 2:
            continue
        rest = _without(start, chosen, (c, d), parts, seen)
        for i, j in _pairs(rest, books[c], books[d]):
            made.append(rest.entry(c, books[c], i).entry(d, books[d], j))
    return made


def _without(
    start: Partial,
    chosen: Mapping[int, np.ndarray],
    gone: Sequence[int],
    parts: Sequence[Component],
    seen: Observations,
) -> Partial:
    """Return the sum without the components ``gone``."""
    for c, point in chosen.items():
        if c not in gone:
            evaluate = evaluator((parts[c].offset, *parts[c].basis), parts[c].names, seen.names)
            values = evaluate(point[None], seen.data)[0] * seen.root
            start = start.joined(c, point, values[1:], values[0])
    return start


def _pairs(rest: Partial, left: Dictionary, right: Dictionary) -> list[tuple[int, int]]:
    """Return the best pairs of entries."""
    (u, g), (v, h) = (_projected(rest, book) for book in (left, right))
    cross = u @ v.T
    free = 1.0 - cross * cross
    gain = (g * g)[:, None] + h * h - (2.0 * g)[:, None] * h * cross
    gain = np.where(free > APART, gain / np.maximum(free, APART), 0.0)
    if left is right:
        gain = np.triu(gain)
    count = min(300, gain.size)
    best = np.argpartition(gain, gain.size - count, axis=None)[-count:]
    rows, columns = np.unravel_index(best, gain.shape)
    both = np.hstack([left.cube[rows], right.cube[columns]])
    kept = spread(-gain[rows, columns], both, EACH, 1)
    return [(int(rows[k]), int(columns[k])) for k in kept]


def _projected(rest: Partial, book: Dictionary) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``rest`` does not span of each basis, at length one, along its residual."""
    basis = book.basis[: PAIRED[min(book.points.shape[1], len(PAIRED)) - 1], 0]
    new = basis - (basis @ rest.span.T) @ rest.span
    size = np.sqrt(np.einsum("kn,kn->k", new, new))
    new = new / np.maximum(size, np.sqrt(NEW))[:, None]
    along = new @ (rest.residual / np.sqrt(rest.loss)) if rest.loss else np.zeros(len(new))
    # A ranking needs no more digits than these.
    return new.astype(np.float32), along.astype(np.float32)
