"""Rows that are kept as they came, in arrays that grow at their end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Buffer"]

FIRST = 256


class Buffer(NamedTuple):
    """The first ``filled`` columns of arrays that may hold more.

    What stands behind them belongs to nobody: rows are written there, and are part of the buffer
    that `with_rows` returns, not of the one that it was called on.

    Attributes
    ----------
    columns : float64[k, capacity]
    weights : float64[capacity]
    filled : int
    """

    columns: np.ndarray
    weights: np.ndarray
    filled: int

    @classmethod
    def empty(cls, columns: int) -> Buffer:
        """Return a buffer of no rows."""
        return cls(np.empty((columns, FIRST)), np.empty(FIRST), 0)

    def with_rows(self, columns: tuple[np.ndarray, ...], weights: np.ndarray) -> Buffer:
        """Return the buffer with further rows.

        Examples
        --------
        >>> held = Buffer.empty(1).with_rows((np.array([1.0, 2.0]),), np.ones(2))
        >>> held.filled, held.rows(1)[0][0].tolist()
        (2, [2.0])
        """
        end = self.filled + len(weights)
        grown = self if end <= len(self.weights) else self._of(max(end, 2 * len(self.weights)))
        for place, column in zip(grown.columns, columns, strict=True):
            place[self.filled : end] = column
        grown.weights[self.filled : end] = weights
        return grown._replace(filled=end)

    def rows(self, first: int = 0) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return columns and weights from a row on."""
        some = slice(first, self.filled)
        return tuple(column[some] for column in self.columns), self.weights[some]

    def _of(self, capacity: int) -> Buffer:
        columns, weights = np.empty((len(self.columns), capacity)), np.empty(capacity)
        columns[:, : self.filled] = self.columns[:, : self.filled]
        weights[: self.filled] = self.weights[: self.filled]
        return Buffer(columns, weights, self.filled)
