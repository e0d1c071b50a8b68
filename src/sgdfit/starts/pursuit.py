"""A sum of components found one after another: the best partial sums are kept and extended.

Matching pursuit (S. Mallat and Z. Zhang, IEEE Trans. Signal Process. 41 (1993) 3397-3415) with
everything chosen so far solved anew (orthogonal least squares; S. Chen, S. A. Billings and W. Luo,
Int. J. Control 50 (1989) 1873-1896), in a beam of several partial sums instead of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.starts.dictionary import Dictionary
from sgdfit.starts.projection import orthonormal

__all__ = ["pursue"]

WIDTH = 24
# A basis whose part that is new is smaller than this is no new basis.
NEW = 1e-7
# How finely two entries of a dictionary have to differ to be kept side by side.
CELLS = (48, 12, 7, 5, 4)


class Partial(NamedTuple):
    """A partial sum.

    Attributes
    ----------
    picks : dict of int to int
        Which entry was chosen for which component.
    span : float64[m, n]
        Orthonormal: what the chosen bases (and the plain one) span.
    residual : float64[n]
        What they leave of the target.
    """

    picks: dict[int, int]
    span: np.ndarray
    residual: np.ndarray

    @property
    def loss(self) -> float:
        """Its sum of squares."""
        return float(self.residual @ self.residual)


def pursue(
    target: np.ndarray, plain: np.ndarray, books: Sequence[Dictionary], most: int
) -> list[list[int]]:
    """Return the best combinations of entries, one of each dictionary, best first.

    Parameters
    ----------
    target : float64[n]
    plain : float64[m, n]
        What is fitted in any case.
    books : sequence of Dictionary
        One a component; components of the same form share one.
    most : int
        How many combinations to return at most.
    """
    span, _ = orthonormal(plain[None])
    first = Partial({}, span[0], target - span[0].T @ (span[0] @ target))
    beam = [first]
    for depth in range(len(books)):
        last = depth == len(books) - 1
        beam = _extended(beam, books, most if last else WIDTH, spread=3 if last else 2)
    if len(books) > 1:
        beam = _distinct([*beam, *_improved(first, beam[: WIDTH // 2], books)], books)[:most]
    return [[partial.picks[i] for i in range(len(books))] for partial in beam]


def _extended(
    beam: Sequence[Partial], books: Sequence[Dictionary], width: int, spread: int
) -> list[Partial]:
    """Extend every partial sum by every component that it lacks; keep the best of each make-up."""
    options: list[tuple[float, int, int, int]] = []
    for c in range(len(books)):
        able = [b for b, partial in enumerate(beam) if c in _lacking(partial, books)]
        losses = scores([beam[b] for b in able], books[c])
        cells = _cells(books[c])
        for b, own in zip(able, losses, strict=True):
            options += [(float(own[e]), b, c, e) for e in _best(own, cells, width, spread)]
    made: dict[object, Partial] = {}
    counts: Counter[object] = Counter()
    for _, b, c, entry in sorted(options):
        key = _key(beam[b].picks | {c: entry}, books)
        makeup = tuple(form for form, _ in key)
        if key not in made and counts[makeup] < width:
            made[key] = _with(beam[b], c, entry, books)
            counts[makeup] += 1
    return sorted(made.values(), key=lambda partial: partial.loss)


def _best(losses: np.ndarray, cells: np.ndarray, width: int, spread: int) -> list[int]:
    """Return the best entries, at most ``spread`` of a cell."""
    first = np.argsort(losses, kind="stable")[: 20 * width]
    first = first[np.isfinite(losses[first])]
    by_cell = np.argsort(cells[first], kind="stable")
    ordered = cells[first][by_cell]
    rank = np.arange(len(first)) - np.searchsorted(ordered, ordered)
    kept = np.sort(by_cell[rank < spread])[:width]
    return first[kept].tolist()  # type: ignore[no-any-return]


def _lacking(partial: Partial, books: Sequence[Dictionary]) -> list[int]:
    """Return the components that are not chosen yet, one of each form."""
    left = [c for c in range(len(books)) if c not in partial.picks]
    return [c for i, c in enumerate(left) if not any(books[d] is books[c] for d in left[:i])]


def _key(picks: dict[int, int], books: Sequence[Dictionary]) -> tuple[tuple[int, int], ...]:
    """Return what is equal for two sums that differ in the order of like components."""
    return tuple(sorted((id(books[c].points), entry) for c, entry in picks.items()))


def _distinct(beam: Sequence[Partial], books: Sequence[Dictionary]) -> list[Partial]:
    seen = {_key(partial.picks, books): partial for partial in reversed(beam)}
    return sorted(seen.values(), key=lambda partial: partial.loss)


def _cells(book: Dictionary) -> np.ndarray:
    """Number the cell of the unit cube that each entry lies in."""
    cells = CELLS[min(book.cube.shape[1], len(CELLS)) - 1]
    at = np.minimum((book.cube * cells).astype(np.int64), cells - 1)
    return np.asarray(at @ cells ** np.arange(at.shape[1]))


def _with(partial: Partial, c: int, entry: int, books: Sequence[Dictionary]) -> Partial:
    """Return the partial sum with one more component."""
    book = books[c]
    residual = partial.residual
    if book.offset is not None:
        offset = book.offset[entry]
        residual = residual - (offset - partial.span.T @ (partial.span @ offset))
    span, _ = orthonormal(np.concatenate([partial.span, book.basis[entry]])[None])
    new = span[0, len(partial.span) :]
    residual = residual - new.T @ (new @ residual)
    return Partial(partial.picks | {c: entry}, span[0], residual)


def _improved(
    start: Partial, beam: Sequence[Partial], books: Sequence[Dictionary]
) -> list[Partial]:
    """Choose each component anew, the others held, twice."""
    for c in (*range(len(books)), *range(len(books))):
        rest = [_without(start, partial, c, books) for partial in beam]
        best = np.argmin(scores(rest, books[c]), axis=1)
        beam = [_with(r, c, int(entry), books) for r, entry in zip(rest, best, strict=True)]
    return list(beam)


def _without(start: Partial, partial: Partial, c: int, books: Sequence[Dictionary]) -> Partial:
    for other, entry in partial.picks.items():
        if other != c:
            start = _with(start, other, entry, books)
    return start


def scores(beam: Sequence[Partial], book: Dictionary) -> np.ndarray:
    """Return the sum of squares that each entry would leave to each sum: float64[len(beam), k]."""
    if not beam:
        return np.empty((0, len(book.points)))
    k, b, n = book.basis.shape
    flat = book.basis.reshape(k * b, n)
    # One product for the whole beam reads the dictionary once.
    ends = np.cumsum([1 + len(partial.span) for partial in beam])
    stacked = np.concatenate([[partial.residual, *partial.span] for partial in beam])
    onto = np.split((flat @ stacked.T).reshape(k, b, len(stacked)), ends[:-1], axis=2)
    return np.array([_left(partial, book, own) for partial, own in zip(beam, onto, strict=True)])


def _left(partial: Partial, book: Dictionary, onto: np.ndarray) -> np.ndarray:
    """Return the sum of squares that each entry would leave; ``onto`` is float64[k, b, 1 + m]."""
    residual, span, inner, along = partial.residual, partial.span, onto[:, :, 0], onto[:, :, 1:]
    loss = np.full(len(onto), residual @ residual)
    if book.offset is not None:
        shift = book.offset - (book.offset @ span.T) @ span
        inner = inner - np.einsum("kbn,kn->kb", book.basis, shift)
        loss = loss - 2.0 * shift @ residual + np.einsum("kn,kn->k", shift, shift)
    if inner.shape[1] == 0:
        return loss
    gram = book.gram - np.matmul(along, along.transpose(0, 2, 1))
    if inner.shape[1] == 1:
        new = gram[:, 0, 0]
        return loss - np.where(new > NEW, inner[:, 0] ** 2 / np.maximum(new, NEW), 0.0)
    if inner.shape[1] == 2:
        return loss - _pair(gram, inner)
    gram += NEW * np.eye(inner.shape[1])
    gain = np.linalg.solve(gram, inner[:, :, None])[:, :, 0]
    return loss - np.einsum("kb,kb->k", gain, inner)


def _pair(gram: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return hᵀ G⁻¹ h of two bases, written out."""
    a, d = gram[:, 0, 0] + NEW, gram[:, 1, 1] + NEW
    cross, (g, h) = gram[:, 0, 1], inner.T
    return np.asarray((d * g * g - 2.0 * cross * g * h + a * h * h) / (a * d - cross * cross))
