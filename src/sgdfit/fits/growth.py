"""Growing batches: random samples of the rows, each several times the last, then all of them."""

from __future__ import annotations

import numpy as np

from sgdfit.fits.surface import FEW
from sgdfit.kernels.kernel import Chunk

__all__ = ["batch_sizes", "sample"]

# The first sample: enough to be steered by, small enough to cost nothing.
FIRST, SHARE = 4_096, 64
ROWS_A_PARAMETER = 50
# From one batch to the next the standard errors shrink fourfold.
GROWTH = 16
# The last sample holds at most this share of all rows.
LAST = 8
# Larger samples are taken in runs, since memory is read in lines.
RUN = 64


def batch_sizes(rows: int, parameters: int) -> list[int]:
    """Return how many rows to step on, one batch after another, ending with all.

    Examples
    --------
    >>> batch_sizes(20, 3), batch_sizes(20_000_000, 3)
    ([20], [4096, 65536, 1048576, 20000000])
    """
    if rows <= FEW:
        return [rows]
    size = max(min(FIRST, rows // SHARE), ROWS_A_PARAMETER * parameters)
    sizes = []
    while size * LAST <= rows:
        sizes.append(size)
        size *= GROWTH
    return [*sizes, rows]


def sample(chunk: Chunk, rows: int, seed: int) -> Chunk:
    """Return a random sample of the rows, one from each of as many equal stretches.

    Rows that are sorted, by time or by a column, are so represented evenly. Larger samples take
    runs of neighbours.

    Examples
    --------
    >>> whole = Chunk((np.arange(100.0),), None)
    >>> (x,) = sample(whole, 4, seed=0).columns
    >>> (x // 25).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if rows >= chunk.rows:
        return chunk
    length = RUN if rows > FEW and rows * RUN < chunk.rows * LAST * LAST else 1
    taken = _stretches(chunk.rows, -(-rows // length), length, seed)[:rows]
    weights = None if chunk.weights is None else chunk.weights[taken]
    return Chunk(tuple(column[taken] for column in chunk.columns), weights)


def _stretches(rows: int, count: int, length: int, seed: int) -> np.ndarray:
    """Return the rows of ``count`` runs, one at a random place in each equal stretch."""
    edges = np.linspace(0, rows, count + 1)
    room = np.maximum(np.diff(edges) - length, 0.0)
    begin = edges[:-1] + np.random.default_rng(seed).random(count) * room
    runs = np.floor(begin).astype(np.int64)[:, None] + np.arange(length)
    return np.asarray(np.minimum(runs.ravel(), rows - 1))
