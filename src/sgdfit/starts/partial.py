"""Partial sums: some components of a prediction chosen, and what they leave of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sgdfit.starts.dictionary import Dictionary

__all__ = ["Partial", "extended", "scores", "spread"]

# A basis whose part that is new is smaller than this (squared, of length one) is no new basis.
NEW = 1e-7
# How finely two entries of a dictionary have to differ to be kept side by side.
CELLS = (48, 12, 7, 5, 4)


@dataclass(frozen=True)
class Partial:
    """A partial sum.

    Attributes
    ----------
    chosen : mapping of int to float64[q]
        The nonlinear parameters of each component that is in it.
    span : float64[m, n]
        Orthonormal: what the bases of these components (and the plain one) span.
    residual : float64[n]
        What they leave of the target.
    """

    chosen: Mapping[int, np.ndarray]
    span: np.ndarray
    residual: np.ndarray

    @property
    def loss(self) -> float:
        """Its sum of squares."""
        return float(self.residual @ self.residual)

    def key(self, books: Sequence[Dictionary]) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """Return what is equal for two sums that differ in the order of like components."""
        return tuple(sorted((id(books[c]), tuple(at.tolist())) for c, at in self.chosen.items()))

    def joined(
        self, c: int, point: np.ndarray, basis: np.ndarray, offset: np.ndarray | None
    ) -> Partial:
        """Return the sum with one more component, whose basis is float64[b, n]."""
        residual = self.residual
        if offset is not None:
            residual = residual - (offset - self.span.T @ (self.span @ offset))
        span = extended(self.span, basis)
        new = span[len(self.span) :]
        return Partial({**self.chosen, c: point}, span, residual - new.T @ (new @ residual))

    def entry(self, c: int, book: Dictionary, i: int) -> Partial:
        """Return the sum with one more component, an entry of its dictionary."""
        offset = None if book.offset is None else book.offset[i]
        return self.joined(c, book.points[i], book.basis[i], offset)


def extended(span: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return orthonormal rows that span ``basis`` besides ``span``: float64[at most m + b, n].

    Examples
    --------
    >>> extended(np.array([[1.0, 0.0, 0.0]]), np.array([[3.0, 2.0, 0.0], [5.0, 0.0, 0.0]]))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    for column in basis:
        rest = column - span.T @ (span @ column)
        rest = rest - span.T @ (span @ rest)
        squares = rest @ rest
        if squares > NEW * 1e-7 * (column @ column):
            span = np.vstack([span, rest / np.sqrt(squares)])
    return span


def spread(losses: np.ndarray, cube: np.ndarray, most: int, each: int) -> list[int]:
    """Return the best entries, best first, at most ``each`` of a cell of the unit cube."""
    count = min(20 * most, len(losses))
    first = np.argpartition(losses, count - 1)[:count]
    first = first[np.argsort(losses[first], kind="stable")]
    first = first[np.isfinite(losses[first])]
    cells = CELLS[min(cube.shape[1], len(CELLS)) - 1]
    at = np.minimum((cube[first] * cells).astype(np.int64), cells - 1)
    numbers = at @ cells ** np.arange(at.shape[1])
    by_cell = np.argsort(numbers, kind="stable")
    ordered = numbers[by_cell]
    rank = np.arange(len(first)) - np.searchsorted(ordered, ordered)
    kept = np.sort(by_cell[rank < each])[:most]
    return [int(i) for i in first[kept]]


def scores(beam: Sequence[Partial], book: Dictionary) -> np.ndarray:
    """Return the sum of squares that each entry would leave to each sum: float64[len(beam), k]."""
    k, b, n = book.basis.shape
    flat = book.basis.reshape(k * b, n)
    # One product for the whole beam reads the dictionary once.
    ends = np.cumsum([1 + len(partial.span) for partial in beam])
    stacked = np.concatenate([[partial.residual, *partial.span] for partial in beam])
    onto = np.split((stacked @ flat.T).reshape(len(stacked), k, b), ends[:-1])
    return np.array([_left(partial, book, own) for partial, own in zip(beam, onto, strict=True)])


def _left(partial: Partial, book: Dictionary, onto: np.ndarray) -> np.ndarray:
    """Return the sum of squares that each entry would leave; ``onto`` is float64[1 + m, k, b]."""
    residual, span, inner, along = partial.residual, partial.span, onto[0], onto[1:]
    loss = np.full(len(inner), residual @ residual)
    if book.offset is not None:
        shift = book.offset - (book.offset @ span.T) @ span
        inner = inner - np.einsum("kbn,kn->kb", book.basis, shift)
        loss = loss - 2.0 * shift @ residual + np.einsum("kn,kn->k", shift, shift)
    return loss if inner.shape[1] == 0 else loss - _gain(book.gram, inner, along)


def _gain(gram: np.ndarray, inner: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return hᵀ G⁻¹ h, where G is the Gram matrix less what is spanned already."""
    count = inner.shape[1]
    if count == 1:
        new = gram[:, 0, 0] - np.einsum("mk,mk->k", along[:, :, 0], along[:, :, 0])
        return np.where(new > NEW, inner[:, 0] ** 2 / np.maximum(new, NEW), 0.0)
    if count == 2:
        (u, v), (g, h) = along.transpose(2, 0, 1), inner.T
        a = gram[:, 0, 0] + NEW - np.einsum("mk,mk->k", u, u)
        d = gram[:, 1, 1] + NEW - np.einsum("mk,mk->k", v, v)
        cross = gram[:, 0, 1] - np.einsum("mk,mk->k", u, v)
        return np.asarray((d * g * g - 2.0 * cross * g * h + a * h * h) / (a * d - cross * cross))
    taken = along.transpose(1, 2, 0)
    new = gram - np.matmul(taken, taken.transpose(0, 2, 1)) + NEW * np.eye(count)
    solved = np.linalg.solve(new, inner[:, :, None])[:, :, 0]
    return np.asarray(np.einsum("kb,kb->k", solved, inner))
