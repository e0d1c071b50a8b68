"""The order in which an epoch visits the rows: as they stand, or shuffled.

A shuffle reads memory in order yet mixes well: the rows are cut into blocks of 64, which are
permuted; 64 blocks fill a buffer of 4,096 rows, which is permuted within. A batch so draws from
all over the data, even where they are sorted, while memory is read in runs of a few cache lines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BLOCK", "BUFFER", "Order", "in_order", "shuffled"]

BLOCK = 64
BUFFER = 64 * BLOCK


class Order(NamedTuple):
    """An order of rows: whole buffers, then a tail.

    Attributes
    ----------
    blocks : int64[k * 64]
        First row of each block, 64 blocks a buffer.
    within : int64[4096]
        The order within each buffer.
    tail : int64[m]
        The remaining rows, each named; m < 2 * 4096.
    rows : int
        How many rows there are in all.
    sequential : bool
        Whether the rows are visited as they stand (the other fields are then empty).
    """

    blocks: np.ndarray
    within: np.ndarray
    tail: np.ndarray
    rows: int
    sequential: bool

    def indices(self) -> np.ndarray:
        """Return every row's number in the order of the visit, int64[rows]."""
        if self.sequential:
            return np.arange(self.rows)
        buffers = self.blocks.reshape(-1, BUFFER // BLOCK)
        inside = buffers[:, self.within // BLOCK] + self.within % BLOCK
        return np.concatenate([inside.ravel(), self.tail])


_NONE = np.empty(0, dtype=np.int64)


def in_order(rows: int) -> Order:
    """Return the order in which the rows stand.

    Examples
    --------
    >>> in_order(3).indices()
    array([0, 1, 2])
    """
    return Order(_NONE, _NONE, _NONE, rows, sequential=True)


def shuffled(rows: int, seed: int, epoch: int) -> Order:
    """Return a shuffled order that depends on ``rows``, ``seed`` and ``epoch`` alone.

    Examples
    --------
    >>> sorted(shuffled(10_000, seed=1, epoch=0).indices()) == list(range(10_000))
    True
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    if rows < 2 * BUFFER:
        return Order(_NONE, _NONE, random.permutation(rows), rows, sequential=False)
    # The grid of blocks shifts from epoch to epoch, so that rows change neighbours.
    shift = int(random.integers(BLOCK))
    count = (rows - shift) // BLOCK
    blocks = shift + BLOCK * random.permutation(count)
    whole = count - count % (BUFFER // BLOCK)
    left = (blocks[whole:, None] + np.arange(BLOCK)).ravel()
    tail = np.concatenate([left, np.arange(shift), np.arange(shift + count * BLOCK, rows)])
    return Order(
        blocks[:whole], random.permutation(BUFFER), random.permutation(tail), rows, sequential=False
    )
