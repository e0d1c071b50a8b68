"""The order in which an epoch visits the rows: as they stand, or shuffled.

A shuffle reads memory nearly in order yet mixes well. The rows are cut into stretches of 512 (a
page of memory a column), which are permuted. Sixteen stretches are open at a time; 64 rows of
each fill a buffer of 1,024 rows, small enough for the innermost cache, which is permuted within.
A batch so draws from all over the data, even where they are sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BLOCK", "BUFFER", "Order", "in_order", "shuffled"]

BLOCK = 64
PLACES = 16
BUFFER = PLACES * BLOCK
STRETCH = 512


class Order(NamedTuple):
    """An order of rows: whole buffers, then a tail.

    Attributes
    ----------
    blocks : int64[k * 16]
        First row of each block of 64, 16 blocks a buffer.
    within : uint16[1024]
        The place in the buffer that each of its rows is visited at.
    tail : int64[m]
        The remaining rows, each named.
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
        if not len(self.blocks):
            return self.tail
        stand = (self.blocks[:, None] + np.arange(BLOCK)).reshape(-1, BUFFER)
        visited = np.empty_like(stand)
        visited[:, self.within] = stand
        return np.concatenate([visited.ravel(), self.tail])


_NONE = np.empty(0, dtype=np.int64)
_NOWHERE = np.empty(0, dtype=np.uint16)


def in_order(rows: int) -> Order:
    """Return the order in which the rows stand.

    Examples
    --------
    >>> in_order(3).indices()
    array([0, 1, 2])
    """
    return Order(_NONE, _NOWHERE, _NONE, rows, sequential=True)


def shuffled(rows: int, seed: int, epoch: int) -> Order:
    """Return a shuffled order that depends on ``rows``, ``seed`` and ``epoch`` alone.

    Examples
    --------
    >>> sorted(shuffled(20_000, seed=1, epoch=0).indices()) == list(range(20_000))
    True
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    if rows < 2 * PLACES * STRETCH:
        return Order(_NONE, _NOWHERE, random.permutation(rows), rows, sequential=False)
    # The grid shifts from epoch to epoch, so that rows change neighbours.
    shift = int(random.integers(STRETCH))
    count = (rows - shift) // STRETCH
    stretches = shift + STRETCH * random.permutation(count)
    whole = count - count % PLACES
    opened = stretches[:whole].reshape(-1, 1, PLACES)
    blocks = (opened + np.arange(0, STRETCH, BLOCK)[:, None]).ravel()
    left = (stretches[whole:, None] + np.arange(STRETCH)).ravel()
    tail = np.concatenate([left, np.arange(shift), np.arange(shift + count * STRETCH, rows)])
    within = random.permutation(BUFFER).astype(np.uint16)
    return Order(blocks, within, random.permutation(tail), rows, sequential=False)
