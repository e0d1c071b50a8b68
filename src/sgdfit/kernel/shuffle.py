"""The order in which an epoch visits the rows: as they stand, or shuffled.

A shuffle reads memory nearly in order yet mixes well. The rows are cut into stretches of 512 (a
page of memory a column). Sixteen stretches are open at a time, one at random from each sixteenth
of the data; 64 rows of each fill a buffer of 1,024 rows, small enough for the innermost cache,
which is permuted within. A batch so draws from all over the data, even where they are sorted.
The rows in the gaps that are left between stretches, in other places each epoch, come last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLOCK = 64
PLACES = 16
BUFFER = PLACES * BLOCK
STRETCH = 512


class Order(NamedTuple):
    """An order of rows: whole buffers, then a tail."""

    blocks: np.ndarray  # int64[k * 16]: first row of each block of 64, 16 blocks a buffer
    within: np.ndarray  # uint16[1024]: which of a buffer's rows is visited first, second, …
    tail: np.ndarray  # int64[m]: the remaining rows, each named
    rows: int  # how many rows there are in all
    sequential: bool  # whether they are visited as they stand (the arrays are then empty)

    def indices(self) -> np.ndarray:
        """Return every row's number in the order of the visit, int64[rows]."""
        if self.sequential:
            return np.arange(self.rows)
        if not len(self.blocks):
            return self.tail
        stand = (self.blocks[:, None] + np.arange(BLOCK)).reshape(-1, BUFFER)
        return np.concatenate([stand[:, self.within].ravel(), self.tail])

    def spelled_out(self) -> Order:
        """Return the same order with every row named, which costs memory and no time twice."""
        return Order(_NONE, _NOWHERE, self.indices(), self.rows, sequential=False)


_NONE = np.empty(0, dtype=np.int64)
_NOWHERE = np.empty(0, dtype=np.uint16)


def sequential(rows: int) -> Order:
    """Return the order in which the rows stand.

    Examples
    --------
    >>> sequential(3).indices()
    array([0, 1, 2])
    """
    return Order(_NONE, _NOWHERE, _NONE, rows, sequential=True)


def shuffled(rows: int, seed: int, epoch: int, part: int | None = None) -> Order:
    """Return a shuffled order that depends on these numbers alone.

    ``part`` says which part of the rows this is, where an epoch does not visit all at once.

    Examples
    --------
    >>> sorted(shuffled(20_000, seed=1, epoch=0).indices()) == list(range(20_000))
    True
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch, *([] if part is None else [part])]))
    # The gaps together hold 16 stretches or more, so that what comes last is mixed too.
    each = rows // (PLACES * STRETCH) - 1
    if each < 1:
        return Order(_NONE, _NOWHERE, random.permutation(rows), rows, sequential=False)
    starts, gaps = _stretches(rows, each, random)
    opened = random.permuted(starts.reshape(PLACES, each), axis=1).T
    # Upward or downward, lest the first row of a stretch always come before its last.
    parts = np.arange(0, STRETCH, BLOCK)[:: random.choice([1, -1]), None]
    blocks = (opened[:, None, :] + parts).ravel()
    within = random.permutation(BUFFER).astype(np.uint16)
    return Order(blocks, within, random.permutation(gaps), rows, sequential=False)


def _stretches(rows: int, each: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut the rows into 16 times ``each`` stretches with 16 gaps between them.

    Returns the first row of each stretch, and the rows in the gaps.
    """
    count = PLACES * each
    # Whole stretches keep the grid that memory is quickest on; its shift changes each time.
    shift = int(random.integers(STRETCH))
    whole, rest = divmod(rows - STRETCH * count - shift, STRETCH)
    sizes = STRETCH * random.multinomial(whole, [1 / PLACES] * PLACES)
    sizes[0] += shift
    sizes[-1] += rest
    before = each * np.arange(PLACES) + random.integers(each + 1, size=PLACES)
    passed = np.cumsum(sizes)
    starts = STRETCH * np.arange(count)
    starts += np.concatenate([[0], passed])[np.searchsorted(before, np.arange(count), "right")]
    ends = STRETCH * before + passed
    gaps = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return starts, np.concatenate(gaps)
